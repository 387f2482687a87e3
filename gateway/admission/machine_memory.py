"""How much memory this process may use: the machine's, or what its control group leaves it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

#: Of its memory a process gives so large a part to bodies of requests: each may be there three times for a moment, and
#: pictures that are decoded, answers and the cache need theirs.
PART = 16
LEAST_BYTES = 64 * 2**20
_UNKNOWN_BYTES = 2**30

#: Where a control group's limit stands: version 2, and version 1. In a container its own group is the root of these.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def usual_bytes_in_flight(limits: Iterable[Path] = _LIMITS) -> int:
    """
    Return how many bytes of requests are held at once where the operator names no number.

    Args:
        limits: files that may hold the limit of a control group, in bytes.
    """
    return max(LEAST_BYTES, memory_bytes(limits) // PART)


def memory_bytes(limits: Iterable[Path] = _LIMITS) -> int:
    """Return how much memory there is: the machine's, or less where a control group says so."""
    known = [_UNKNOWN_BYTES]
    with suppress(ValueError, OSError):
        known = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in limits:
        with suppress(ValueError, OSError):  # "max" where there is none; the file is another system's
            known.append(int(file.read_text(encoding="ascii")))
    return min(known)
