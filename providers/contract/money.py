"""Whole micro-dollars. Decimal strings at the edge, integers inside, never a float."""

from __future__ import annotations

import decimal
from dataclasses import dataclass

MICROS_PER_USD = 1_000_000

#: Largest amount that one int64 ledger column can add up a million times over.
LARGEST_MICROUSD = 2**63 // 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount of US dollars in whole micro-dollars; may be negative in a correction."""

    microusd: int

    def __post_init__(self) -> None:
        """Refuse what is not a whole number: a float here is a bug that costs money."""
        if type(self.microusd) is not int:
            raise TypeError(f"money is whole micro-dollars (int), got {self.microusd!r}")

    @classmethod
    def from_usd(cls, text: str | int | decimal.Decimal) -> Money:
        """
        Read a decimal number of dollars, exactly.

        >>> Money.from_usd("0.005")
        Money(microusd=5000)

        Raises:
            ValueError: not a decimal number, finer than a micro-dollar, or beyond the ledger's range.
        """
        if isinstance(text, float):
            raise ValueError(f'write the amount as a string, so that it stays exact: "{text}"')  # noqa: TRY004 - a value's fault to its writer
        try:
            value = decimal.Decimal(text)
        except (decimal.InvalidOperation, TypeError):
            raise ValueError(f"not a decimal number of dollars: {text!r}") from None
        if not value.is_finite():
            raise ValueError(f"not a finite number of dollars: {text!r}")
        if value.copy_abs() > decimal.Decimal(LARGEST_MICROUSD) / MICROS_PER_USD:
            raise ValueError(f"too large an amount: {text!r}")
        if value and value.adjusted() < -6:
            raise ValueError(f"finer than a micro-dollar (six decimals at most): {text!r}")
        with decimal.localcontext(prec=60):
            micros = value * MICROS_PER_USD
            if micros != micros.to_integral_value():
                raise ValueError(f"finer than a micro-dollar (six decimals at most): {text!r}")
            return cls(int(micros))

    @property
    def usd(self) -> str:
        """
        The amount in dollars with six decimals.

        >>> Money(5000).usd
        '0.005000'
        """
        sign = "-" if self.microusd < 0 else ""
        whole, micros = divmod(abs(self.microusd), MICROS_PER_USD)
        return f"{sign}{whole}.{micros:06d}"

    def __add__(self, other: Money) -> Money:
        """Add two amounts."""
        return Money(self.microusd + other.microusd)

    def __sub__(self, other: Money) -> Money:
        """Take one amount from another."""
        return Money(self.microusd - other.microusd)


NOTHING = Money(0)
