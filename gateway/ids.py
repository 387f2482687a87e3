"""Names for requests and attempts: sortable by time, unguessable, unique across replicas without asking anybody."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

#: Crockford's base 32, as ULIDs use it. Source: https://github.com/ulid/spec
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
#: Where each pair of digits begins in the 130 bits that 26 digits hold.
SHIFTS = range(120, -1, -10)


#: Random bytes of one id, and how many ids' worth is drawn at once: one system call for each would be the dearest step.
RANDOM_BYTES = 10
DRAWN_AT_ONCE = 256


def new_ids(wall: Callable[[], float]) -> Callable[[str], str]:
    """
    Return what makes ids: a prefix, `_`, and a ULID (48 bits of milliseconds, 80 random bits).

    Args:
        wall: seconds since 1970.
    """
    drawn = _draw()

    def new_id(prefix: str) -> str:
        number = (int(wall() * 1000) & (1 << 48) - 1) << 80 | next(drawn)
        return f"{prefix}_{''.join([PAIRS[number >> shift & 1023] for shift in SHIFTS])}"

    return new_id


def _draw() -> Iterator[int]:
    """Yield random numbers of 80 bits."""
    while True:
        block = secrets.token_bytes(RANDOM_BYTES * DRAWN_AT_ONCE)
        for start in range(0, len(block), RANDOM_BYTES):
            yield int.from_bytes(block[start : start + RANDOM_BYTES], "big")
