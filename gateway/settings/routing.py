"""How deployments are chosen and asked, where neither a request nor a deployment says it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator

from gateway.request import Learned, Strategy, TenantPolicy
from gateway.settings.figures import Usd
from gateway.settings.section import Section
from providers.contract import Money

_LONGEST_SECONDS = 300


def _hedge_after(written: Any) -> float | Learned | None:
    """Read seconds, or the word for what is learned."""
    if written is None or isinstance(written, Learned):
        return written
    if written == Learned.P95.value:
        return Learned.P95
    if isinstance(written, bool) or not isinstance(written, int | float) or not 0 < written <= _LONGEST_SECONDS:
        raise ValueError(
            f'write seconds above 0 and up to {_LONGEST_SECONDS}, "{Learned.P95.value}" for what is learned, or null'
        )
    return float(written)


HedgeAfter = Annotated[float | Learned | None, PlainValidator(_hedge_after)]
"""How long a call may take alone before another deployment is asked as well; None: it is not asked."""


class DoubtSettings(Section):
    """The most that may be in doubt, billed perhaps without an answer, before nobody is asked a second time."""

    per_request_usd: Usd | None = "0.5"
    """None: no limit; "0": nobody is asked again after a call that may have been billed."""
    per_minute_usd: Usd | None = "10"
    """Of one process, within the last minute; None: no limit."""

    def per_request(self) -> Money | None:
        """Return the most for one request."""
        return None if self.per_request_usd is None else Money.from_usd(self.per_request_usd)

    def per_minute(self) -> Money | None:
        """Return the most within the last minute."""
        return None if self.per_minute_usd is None else Money.from_usd(self.per_minute_usd)


class RoutingSettings(Section):
    """How deployments are chosen."""

    strategy: Strategy = Strategy.CHEAPEST
    """Of requests that name none."""
    hedge_after_seconds: HedgeAfter = None
    """For requests that say nothing: seconds, or "p95": longer than 95 of 100 calls to the deployment take."""
    hedge_percent: Annotated[int, Field(ge=0, le=5)] = 5
    """Second calls for a hundred questions at most, those that requests ask for included; 0 for none at all."""
    retry_percent: Annotated[int, Field(ge=0, le=100)] = 20
    """Further calls after calls that may have been worked on, or at the same place, for a hundred questions of the last
    minute."""
    retry_at_least: Annotated[int, Field(ge=0, le=1000)] = 3
    """Further calls a minute beside those, so that a gateway with little to do has some."""
    retries_in_place: Annotated[int, Field(ge=0, le=4)] = 1
    """How often a deployment that failed is asked again for a question that nobody else is left to answer; see
    `gateway/routing/again.py`. Such calls count among those of `retry_percent`."""
    doubt: DoubtSettings = DoubtSettings()

    def policy(self) -> TenantPolicy:
        """Return how a tenant is routed that the file does not name."""
        return TenantPolicy(strategy=self.strategy, hedge_after=self.hedge_after_seconds)
