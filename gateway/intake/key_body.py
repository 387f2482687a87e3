"""An API key in JSON, as an administrator asks for it. Unknown fields are refused with their path."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from gateway.intake.body import OR_NULL, WHOLE, Body
from gateway.request import RateLimit, Scope
from gateway.settings.tenants import TenantName
from gateway.store.rates import read_rate

#: A hundred years: beyond it a key had better not expire at all.
MOST_SECONDS = 100 * 366 * 86_400.0


def _is_rate(text: str) -> str:
    """Refuse what is no rate."""
    read_rate(text)
    return text


def _is_printable(text: str) -> str:
    """Refuse a name that would break a table."""
    if not text.isprintable():
        raise ValueError("a name of printable characters; take the others out")
    return text


def _has_zone(moment: datetime) -> datetime:
    """Refuse a moment that is another one elsewhere."""
    if moment.tzinfo is None:
        raise ValueError("a moment without its time zone; write 2026-01-31T12:00:00Z")
    return moment


def _not_empty(scopes: list[Scope]) -> list[Scope]:
    """Refuse no scope at all."""
    if not scopes:
        raise ValueError(f"a key needs at least one scope; there are {', '.join(Scope)}")
    return scopes


class HardBudgetBody(Body):
    """What may be spent with the key, at most."""

    usd: Annotated[str, StringConstraints(max_length=40)] = Field(
        description="dollars above zero as a decimal string, six decimals at most", examples=["100.00"]
    )
    window: Annotated[Literal["total", "day", "month"], OR_NULL] = Field(
        default="total", description="days and months are those of UTC; `total` never resets"
    )


class KeyBody(Body):
    """A key to be made."""

    tenant: TenantName = Field(description="who pays")
    name: Annotated[str, StringConstraints(max_length=100), AfterValidator(_is_printable), OR_NULL] = Field(
        default="", description="what it is called in lists"
    )
    scopes: Annotated[list[Scope], Field(max_length=16), AfterValidator(_not_empty)] = Field(
        description="what it may do: `segment` (and quote), `usage` (read the tenant's), `metrics` (read the "
        "gateway's), `admin` (everything)"
    )
    expires_at: Annotated[datetime, AfterValidator(_has_zone)] | None = Field(
        default=None, description="from then on it is good for nothing; null: never"
    )
    expires_in_seconds: Annotated[float, Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False)] | None = Field(
        default=None, description="the same, counted from now"
    )
    requests_per_second: Annotated[str, StringConstraints(max_length=40), AfterValidator(_is_rate)] | None = Field(
        default=None, description="decimal string above zero; null: only the tenant's limit holds", examples=["50"]
    )
    burst: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = Field(
        default=None, description="requests that may come at once after a pause; null: one second's worth"
    )
    concurrency: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = Field(
        default=None, description="requests that may be worked on at once; null: only the tenant's limit holds"
    )
    hard_budget: HardBudgetBody | None = Field(default=None, description="made together with the key, or neither is")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Refuse two ends, and a burst of nothing."""
        if self.expires_at is not None and self.expires_in_seconds is not None:
            raise ValueError("give one of expires_at and expires_in_seconds, not both")
        if self.burst is not None and self.requests_per_second is None:
            raise ValueError("a burst without requests_per_second limits nothing; write that too, or leave burst out")
        return self

    @property
    def limit(self) -> RateLimit:
        """The key's own limit."""
        rate = None if self.requests_per_second is None else Fraction(self.requests_per_second)
        return RateLimit(rate, self.burst, self.concurrency)


class RotationBody(Body):
    """A key that is to get another secret."""

    grace_seconds: Annotated[float, Field(ge=0, le=90 * 86_400, allow_inf_nan=False), OR_NULL] = Field(
        default=86_400.0, description="how long the earlier secret stays good beside the new one; 0: not at all"
    )
