"""
A body's JSON, looked through before anything is made of it: what is not said once and plainly, and what is too much.

Why beside the models: pydantic takes the last of two equal names, and describes every single fault of a body with a
hundred thousand of them, which takes seconds.
"""

from __future__ import annotations

import json
from typing import Any

from gateway.problems import MalformedBody, RequestTooLarge

#: The most values that a body holds: 16 prompts of 64 boxes have some 6,000, and commas in texts count, too.
MOST_VALUES = 20_000

#: The most fields of one object. None of ours has as many, and `metadata` may have 64.
MOST_FIELDS = 128

#: Below this, there is no room for too many values.
_SHORT_BYTES = 2 * MOST_VALUES

_NAME_CHARACTERS = 100


def check_json(raw: bytes) -> None:
    """
    Refuse what can be read in two ways, or holds more than any request needs. Other faults are left to the parser.

    Raises:
        RequestTooLarge: more than 20,000 values, or an object of more than 128 fields.
        MalformedBody: an object with the same name twice.
    """
    if len(raw) >= _SHORT_BYTES and raw.count(b",") >= MOST_VALUES:
        raise RequestTooLarge(f"the body holds more than {MOST_VALUES} values; ask in several requests")
    try:
        _DECODER.decode(str(raw, "utf-8"))
    except (ValueError, RecursionError):  # no JSON, or a number or a depth beyond reading: the parser says where
        return


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose names are told apart."""
    if len(pairs) > MOST_FIELDS:
        raise RequestTooLarge(f"an object of the body has {len(pairs)} fields; at most {MOST_FIELDS} are read")
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)[:_NAME_CHARACTERS]
        raise MalformedBody(f"the field {json.dumps(twice)} stands twice in one object; leave one out", field=twice)
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
