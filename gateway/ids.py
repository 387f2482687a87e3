"""Names for requests and attempts: sortable by time, unguessable, unique across replicas without asking anybody."""

from __future__ import annotations

import secrets
from collections.abc import Callable

#: Crockford's base 32, as ULIDs use it. Source: https://github.com/ulid/spec
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PAIRS = [first + second for first in ALPHABET for second in ALPHABET]


def new_ids(wall: Callable[[], float]) -> Callable[[str], str]:
    """
    Return what makes ids: a prefix, `_`, and a ULID (48 bits of milliseconds, 80 random bits).

    Args:
        wall: seconds since 1970.
    """

    def new_id(prefix: str) -> str:
        number = (int(wall() * 1000) & (1 << 48) - 1) << 80 | int.from_bytes(secrets.token_bytes(10), "big")
        pairs = [PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)]
        return f"{prefix}_{''.join(pairs)}"

    return new_id
