"""JSON from upstreams: numbers with a point stay exact, and whatever is no JSON is one kind of error."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any


def read_json(text: bytes) -> Any:
    """
    Return the JSON value.

    Raises:
        ValueError: it is no JSON, is not UTF-8, is nested too deeply, or holds a number that is none.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except InvalidOperation:
        raise ValueError("the JSON holds a number of no measure") from None


def _refuse(constant: str) -> Any:
    """Refuse what Python would read and JSON does not have."""
    raise ValueError(f"{constant} is no JSON number")
