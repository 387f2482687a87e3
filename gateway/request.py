"""
The typed values that travel between rooms: what was asked, and what came of it.

A request holds one picture and one to sixteen questions; each question is recalled, routed, attempted and charged on
its own. Nothing here is changed after it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from providers.contract import NOTHING, Deadline, Money, Outcome, Picture, Question, Segmentation

LONGEST_SECONDS = 600
"""The most time that a request may give its answer."""


class Strategy(StrEnum):
    """How candidates are ordered; `gateway.routing.scoring` says by what."""

    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    BALANCED = "balanced"
    PRIORITY = "priority"
    WEIGHTED = "weighted"


class CacheMode(StrEnum):
    """What the cache may do for a request."""

    USE = "use"
    """Answer from it, and keep what was bought."""
    REFRESH = "refresh"
    """Buy anew, and keep that."""
    SKIP = "skip"
    """Neither look nor keep; nor share a call that is in flight."""


class CacheStatus(StrEnum):
    """What the cache did for a question."""

    HIT = "hit"
    MISS = "miss"
    JOINED = "joined"
    """An equal question was in flight: this one waited for its answer, and paid nothing."""
    REFRESH = "refresh"
    SKIP = "skip"


class MaskEncoding(StrEnum):
    """How masks are written in the answer."""

    RLE = "rle"
    PNG = "png"
    POLYGON = "polygon"
    NONE = "none"


class Fit(StrEnum):
    """What happens with a deployment whose limits the picture exceeds."""

    AUTO = "auto"
    """The picture is made to fit it, and the masks are brought back."""
    STRICT = "strict"
    """It is left out."""


class Scope(StrEnum):
    """What a key may do."""

    SEGMENT = "segment"
    """Ask for masks and quotes, and spend for it."""
    USAGE = "usage"
    """Read the tenant's usage and ledger."""
    METRICS = "metrics"
    """Read the gateway's own metrics, every tenant's spending among them."""
    ADMIN = "admin"
    """Everything, of every tenant: keys, budgets, reports."""


class Learned(StrEnum):
    """A delay that is learned instead of given."""

    P95 = "p95"
    """The 95th percentile of what the deployment's calls have lately taken; no hedge while too little is known."""


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """What the operator allows a tenant, and how its requests are routed. None is no restriction."""

    providers: frozenset[str] | None = None
    regions: frozenset[str] | None = None
    share_cache: bool = False
    """Whether answers are shared with every other tenant that shares: bought by one, free for all of them."""
    strategy: Strategy = Strategy.CHEAPEST
    """Of requests that name none."""
    hedge_after: float | Learned | None = None
    """When the requests that do not say are asked a second time, in seconds; None: they are not."""

    def admits(self, provider: str, region: str) -> bool:
        """Whether the tenant may be served from there: by any call, failover and kept answer alike."""
        return (self.providers is None or provider in self.providers) and (
            self.regions is None or region in self.regions
        )


UNRESTRICTED = TenantPolicy()


class UnderWay(StrEnum):
    """What stands in the place of an attempt's outcome while it has none."""

    UNDER_WAY = "under_way"
    """The answer came from another call first; this one goes on, and what it costs is in the ledger when it ends."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How much a caller may ask for. None is no limit."""

    requests_per_second: Fraction | None = None
    burst: int | None = None
    """Requests that may come at once after a pause; None: one second's worth, at least one."""
    concurrency: int | None = None
    """Requests that may be worked on at once."""


UNLIMITED = RateLimit()


#: Of callers without a key. No key can be of it, since no tenant may be called so: nobody's answers are found keyless.
KEYLESS_TENANT = "_keyless"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the tenant that pays, the key that was shown, and what they may do."""

    tenant: str
    key_id: str
    scopes: frozenset[Scope] = frozenset({Scope.SEGMENT, Scope.USAGE})
    policy: TenantPolicy = UNRESTRICTED
    tenant_limit: RateLimit = UNLIMITED
    """Shared by all keys of the tenant."""
    key_limit: RateLimit = UNLIMITED
    """Of this key alone; both hold."""
    keyless: bool = False
    """Whether no key was shown: then only deployments that cost nothing may be asked, and no account is read."""


@dataclass(frozen=True, slots=True)
class Route:
    """The caller's wishes about where to ask. None is no wish."""

    strategy: Strategy = Strategy.CHEAPEST
    deployments: frozenset[str] | None = None
    providers: frozenset[str] | None = None
    regions: frozenset[str] | None = None
    max_charge: Money | None = None
    """The most that one whole request may cost, held money included."""
    max_attempts: int = 3
    """Calls for one question, the first and a hedge included."""
    hedge_after: float | Learned | None = None
    """How long the first call may take before a second is made beside it, in seconds; None: there is no second."""

    @property
    def restricted(self) -> bool:
        """Whether the caller named where to ask; then the cache may answer from there alone, too."""
        return self.deployments is not None or self.providers is not None or self.regions is not None

    def admits(self, deployment: str, provider: str, region: str) -> bool:
        """Whether the caller's wishes leave this deployment in."""
        return (
            (self.deployments is None or deployment in self.deployments)
            and (self.providers is None or provider in self.providers)
            and (self.regions is None or region in self.regions)
        )


@dataclass(frozen=True, slots=True)
class CacheWish:
    """What the caller wants of the cache."""

    mode: CacheMode = CacheMode.USE
    ttl_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """How the caller wants the answer."""

    masks: MaskEncoding = MaskEncoding.RLE
    overlay: bool = False


@dataclass(frozen=True, slots=True)
class SegmentationRequest:
    """One checked request."""

    id: str
    caller: Caller
    picture: Picture
    questions: tuple[Question, ...]
    fields: tuple[str, ...]
    """The path of each question's prompt in the request, for problems: `prompts[0]`, or `prompt`."""
    route: Route
    cache: CacheWish
    output: Output
    deadline: Deadline
    fit: Fit = Fit.AUTO
    explain: bool = False
    """Whether the answer says why each deployment was chosen or was not."""
    tags: tuple[tuple[str, str], ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    held: AbstractContextManager[object] = field(default_factory=nullcontext, compare=False)
    """What the picture takes up: entered by work that may outlive the request, and so keeps the picture for longer."""


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """One call to one deployment, as the caller is told of it."""

    prompt_index: int
    deployment: str
    outcome: Outcome | UnderWay
    duration_ms: int
    charge: Money
    """What the tenant pays for it."""
    held: Money
    """What is kept back because nobody knows yet whether the provider bills it."""
    message: str | None = None
    """Why it failed; None when it succeeded."""
    attempt_id: str = ""
    """The ledger's name for it."""
    price_id: str = ""
    """The terms that were in force."""
    budget_warnings: tuple[str, ...] = ()
    """Soft budgets that stood above their limit once it was reserved, each as an item of the warning header."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Which deployment an answer was bought from."""

    deployment: str
    provider: str
    model: str
    family: str
    region: str
    cost: Money
    """What the provider was owed for it."""
    seconds: float = 0.0
    """Of work, as the provider counted them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one question."""

    segmentation: Segmentation
    origin: Origin
    cache: CacheStatus
    attempts: tuple[AttemptReport, ...] = ()
    saved: Money = NOTHING
    """What this caller's own call would have cost, where the answer was free."""
