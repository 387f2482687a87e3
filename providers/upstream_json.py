"""
JSON from upstreams: numbers with a point stay exact, and whatever is no JSON is one kind of error.

A number of no measure (NaN, Infinity, a thousand digits in the exponent, ten thousand before the point) is no value: it
is read as null, so that a figure which nobody needs never costs an answer that is paid for.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any


def read_json(text: bytes) -> Any:
    """
    Return the JSON value.

    Raises:
        ValueError: it is no JSON, is not UTF-8, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_float=_decimal, parse_int=_integer, parse_constant=_nothing)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _decimal(text: str) -> Decimal | None:
    """Return the exact number; None for one that has no measure."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _integer(text: str) -> int | None:
    """Return the number; None for one of more digits than Python reads."""
    try:
        return int(text)
    except ValueError:
        return None


def _nothing(constant: str) -> None:
    """Read as null what Python would read and JSON does not have: `NaN`, `Infinity`."""
