"""The deployments that the configuration file lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.loopback import leads_to_loopback
from gateway.request import LONGEST_SECONDS
from gateway.settings.figures import Markup
from gateway.settings.prices import Contradiction, PriceSettings, contradictions_of
from gateway.settings.section import Section

NOT_A_SANDBOX = (
    "true, and endpoint is no address of this machine: whoever has no key may use what is marked so, and that must not "
    "be a real service. Give it one of loopback, as http://127.0.0.1:9101, or leave sandbox out"
)

LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._/-]{0,62}$")]


class DeploymentSettings(Section):
    """One model of one provider in one region at one endpoint."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    provider: str
    model: str
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")] = "global"
    endpoint: str = ""
    credential: str = Field(default="", repr=False)
    priority: Annotated[int, Field(ge=0, le=1000)] = 1
    """Lower is asked first under the strategy `priority`, and breaks ties under the others."""
    weight: Annotated[int, Field(ge=0, le=1000)] = 1
    """Its share of the traffic under the strategy `weighted`; 0 is asked only when all others have failed."""
    labels: dict[LabelName, Annotated[str, StringConstraints(max_length=200)]] = Field(
        default_factory=dict, max_length=32
    )
    """The operator's own words about it, shown in GET /v1/deployments: no secrets."""
    max_concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Calls under way at once at most, in one process; None: as many as it turns out to bear."""
    max_queue: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Questions that may wait for it while all its places are taken, in one process; None: the gateway's default."""
    slow_seconds: Annotated[float, Field(gt=0, le=600)] | None = None
    """A call that takes longer counts as slow; None: one that takes much longer than its calls usually do."""
    longest_seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)] | None = None
    """The most seconds that a call is charged for, where its price is by the second; None: as its model says."""
    last_resort: bool | None = None
    """Whether it is asked only where a request names it, or nobody else takes that kind of prompt; None: as its model
    says."""
    price: PriceSettings | None = None
    """The one price. With neither this nor `prices`: the provider's list price; without that, it takes no traffic."""
    prices: tuple[PriceSettings, ...] | None = None
    """Several, in any order: each holds from its moment on, until it ends or a later one begins."""
    markup: Markup | None = None
    """What its cost is multiplied by to make the charge; None: as `pricing.markup` says."""
    sandbox: bool = False
    """Whether a sandbox on this machine plays it, so that its price is nobody's money and nobody needs a key for it."""
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    callback_secrets: tuple[Annotated[str, StringConstraints(min_length=8, max_length=500)], ...] = Field(
        default=(), repr=False
    )
    """What the provider signs its callbacks with; any one of them fits, so that they can be rotated."""

    @property
    def dated_prices(self) -> tuple[PriceSettings, ...]:
        """Every price that the file gives it; none where the provider's list price holds."""
        if self.prices is not None:
            return self.prices
        return () if self.price is None else (self.price,)

    def contradictions(self) -> Iterator[Contradiction]:
        """Find what cannot hold together."""
        if self.sandbox and not leads_to_loopback(self.endpoint):
            yield ("sandbox",), NOT_A_SANDBOX
        if self.price is not None:
            for place, message in contradictions_of((self.price,)):
                yield ("price", *place[1:]), message
        if self.prices is None:
            return
        if self.price is not None:
            yield ("prices",), "price stands beside it; move that into this list, since one of them alone can hold"
        if not self.prices:
            yield ("prices",), "an empty list; leave prices out for the provider's list price"
        for place, message in contradictions_of(self.prices):
            yield ("prices", *place), message
