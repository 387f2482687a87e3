"""Requests a second as text and as an exact number: a binary fraction would let somebody wait for a rounding error."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

_RATE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


def read_rate(text: str) -> Fraction:
    """
    Read a rate as operators write it: `50`, or `0.1` for one in ten seconds.

    Raises:
        ValueError: no decimal above zero with up to six digits on each side of the point.
    """
    if not _RATE.fullmatch(text) or not Fraction(text):
        raise ValueError(
            f"{text[:40]!r} is no rate; write requests a second above 0, with up to six digits on each side of the "
            "point, as 50 or 0.1"
        )
    return Fraction(text)


def write_rate(rate: Fraction) -> str:
    """Return a rate that `read_rate` has read as text, without needless zeros."""
    text = format(Decimal(int(rate * 1_000_000)).scaleb(-6), "f")
    return text.rstrip("0").rstrip(".")
