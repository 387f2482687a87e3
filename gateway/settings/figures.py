"""Amounts, factors and rates as they are written in the configuration file, read exactly or refused."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, StringConstraints

from providers.contract import Money

_DECIMAL = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,6})?")
_LARGEST_MARKUP = 1000
_LARGEST_RATE = 1_000_000
_LARGEST_PERCENT = 1_000_000


def _amount(written: Any) -> str:
    """Refuse what is no price; a YAML float would not stay exact, so an amount is text."""
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        raise ValueError('write the amount in dollars as text, as "0.005"')  # noqa: TRY004 - pydantic tells of a ValueError
    if not isinstance(written, str):
        raise ValueError(f'write the amount as text, so that it stays exact: "{written}"')  # noqa: TRY004 - as above
    if Money.from_usd(written).microusd < 0:
        raise ValueError("a price below zero; what nobody pays for costs 0")
    return written


def _markup(written: Any) -> Fraction:
    """Read a factor from decimal text."""
    if isinstance(written, Fraction):
        return written
    if not isinstance(written, str):
        shown = written if isinstance(written, int | float) and not isinstance(written, bool) else "1.15"
        raise ValueError(f'write the markup as text, so that it stays exact: "{shown}"')  # noqa: TRY004 - as above
    factor = _decimal(written, "a markup", example='"1.15" for 15 % more than the cost')
    if factor < 0:
        raise ValueError(f'a markup below zero: {written}; "1" passes the cost on as it is, "0" charges nothing')
    if factor > _LARGEST_MARKUP:
        raise ValueError(f"a markup above {_LARGEST_MARKUP}: {written}; it is a factor, not percent")
    return factor


def _rate(written: Any) -> Fraction:
    """Read requests in one second."""
    rate = _number(written, "a rate", example='10 or "0.5"')
    if rate <= 0:
        raise ValueError(f"a rate above zero, got {written}; leave it out for no limit")
    if rate > _LARGEST_RATE:
        raise ValueError(f"at most {_LARGEST_RATE} requests a second, got {written}; leave it out for no limit")
    return rate


def _percent(written: Any) -> Fraction:
    """Read a share of a hundred."""
    share = _number(written, "a percentage", example="5")
    if not 0 < share <= _LARGEST_PERCENT:
        raise ValueError(f"above 0 and at most {_LARGEST_PERCENT} percent, got {written}; write null for no alarm")
    return share


def _number(written: Any, what: str, *, example: str) -> Fraction:
    """Read a number, with quotation marks or without: as it is written, not as a float holds it."""
    if isinstance(written, Fraction):
        return written
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        raise ValueError(f"{what} is a number, as {example}")  # noqa: TRY004 - as above
    return _decimal(str(written), what, example=example)


def _decimal(text: str, what: str, *, example: str) -> Fraction:
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{what} is a decimal number with six decimals at most, as {example}; got {text[:40]!r}")
    return Fraction(Decimal(text))


Usd = Annotated[str, StringConstraints(max_length=40), BeforeValidator(_amount)]
"""Decimal dollars, as text, from 0 up."""

Markup = Annotated[Fraction, PlainValidator(_markup)]
"""What a cost is multiplied by to make a charge; written as decimal text, from 0 to 1000."""

Rate = Annotated[Fraction, PlainValidator(_rate)]
"""Requests in one second."""

Percent = Annotated[Fraction, PlainValidator(_percent)]
"""A share of a hundred."""
