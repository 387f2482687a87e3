"""Where a call can go, and what may be asked there: data that the router reads, so that adapters need not re-check."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from providers.contract.prompt import PromptKind


class Secret:
    """A credential that prints as stars wherever it is printed."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Hide *value*."""
        self._value = value

    def reveal(self) -> str:
        """Return the credential, for the one header that needs it."""
        return self._value

    def __repr__(self) -> str:
        """Print stars."""
        return "Secret('********')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Compare the hidden values."""
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        """Hash the hidden value."""
        return hash(self._value)

    def __bool__(self) -> bool:
        """Whether there is a credential at all."""
        return bool(self._value)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model takes, as its provider documents it; None where the provider names no limit."""

    min_side: int | None = None
    """Shortest side in pixels, inclusive."""
    max_side: int | None = None
    """Longest side in pixels, inclusive."""
    max_bytes: int | None = None
    """Size of the encoded file."""
    media_types: frozenset[str] = frozenset({"image/png", "image/jpeg", "image/webp"})
    max_prompt_characters: int | None = None
    """Length of a text prompt, in characters."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can be asked."""

    prompt_kinds: frozenset[PromptKind]
    points: bool = False
    """Whether an object prompt may have points."""
    boxes: bool = False
    """Whether an object prompt may have a box."""
    gives_scores: bool = False
    max_masks: int | None = None
    """The most masks it ever returns; None where it returns all it finds."""
    limits: Limits = field(default_factory=Limits)


class PriceUnit(StrEnum):
    """What a price is counted in."""

    SUCCESS = "success"
    """One call that succeeded; failed ones are free."""
    REQUEST = "request"
    """One call, however it ended, once its bytes left."""
    SECOND = "second"
    """One second of work, as `Usage.seconds` counts it."""


@dataclass(frozen=True, slots=True)
class ListPrice:
    """A provider's published price, for the configuration that names none of its own."""

    usd: str
    """Decimal dollars for one unit."""
    unit: PriceUnit
    valid_from: str
    """ISO date from which it is known to hold."""
    source: str
    """Where it was read."""


@dataclass(frozen=True, slots=True)
class Model:
    """One product of a provider."""

    name: str
    """The provider's own name for it."""
    family: str
    """Models of one family answer the same question alike: the cache keeps one answer for all of them."""
    capabilities: Capabilities
    list_price: ListPrice | None = None
    """None where the provider publishes no price: the configuration has to name one, or it takes no traffic."""
    account_options: frozenset[str] = frozenset()
    """The options of a deployment that decide whose call it is, or how it is found again: see `upstream_account`."""
    longest_seconds: float | None = None
    """The most seconds of work that one call is charged for where the price is by the second; None: its deadline."""
    batches: bool = False
    """Whether questions that come together are worked on together, so that calls under way slow no other one down."""
    last_resort: bool = False
    """
    Whether its answers are much worse than other models' to the same prompt: it is asked only where a request names it,
    or where nobody else takes that kind of prompt.
    """
    warnings: tuple[str, ...] = ()
    """What every answer of it warns callers of, in sentences."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model of one provider in one region at one endpoint, paid by one account."""

    name: str
    provider: str
    model: str
    region: str
    """Where the endpoint is; `local` for this machine, `global` where the provider names no region."""
    endpoint: str = ""
    """Base URL without a trailing slash; empty for a model in this process."""
    credential: Secret = field(default_factory=lambda: Secret(""))
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """The provider's own settings; each adapter documents and checks its own (`Provider.check`)."""
    callback_url: str = ""
    """Where the upstream may say that work has ended; empty where the gateway has no public address."""
    callback_secrets: tuple[Secret, ...] = ()
    """What callbacks are signed with, any one of them; none where callbacks come unsigned."""


def upstream_account(deployment: Deployment, model: Model) -> str:
    """
    Return what tells the endpoint and the account of a deployment's calls from all others, as 16 hexadecimal digits.

    A call whose answer was lost can be looked up with the same ones alone: what another endpoint, another credential
    or another form of call does not know may have been billed all the same. It is a digest, so that the credential
    can be kept nowhere by it.
    """
    options = (
        f"{name}={deployment.options[name]}" for name in sorted(model.account_options & deployment.options.keys())
    )
    parts = (deployment.provider, deployment.endpoint, deployment.credential.reveal(), *options)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
