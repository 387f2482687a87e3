"""What a provider says of an attempt whose answer was lost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from providers.contract.money import Money


class Fate(StrEnum):
    """What became of the attempt, as far as the provider tells."""

    CHARGED = "charged"
    """It was done, and is billed."""
    NOT_CHARGED = "not_charged"
    """It came there, ended without a result, and is not billed."""
    ABSENT = "absent"
    """The provider knows nothing of it: it never came, or is not yet to be seen."""
    UNKNOWN = "unknown"
    """Nobody can tell, or not yet: it is still under way, or the provider cannot be asked."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of one attempt."""

    fate: Fate
    cost: Money | None = None
    """What the provider bills for a charged one; None where it names no figure."""
    upstream_ref: str | None = None
    """The provider's name for the call, where it has one."""
    seconds: float | None = None
    """Seconds of work of a charged one, as `Usage.seconds` would have them; None where the provider does not say."""
