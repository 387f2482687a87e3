"""What the disk alone takes for a commit's flush: beside it stands whatever waits for commits."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.benchmarks.steady import percentile

#: As many bytes as a small commit appends to SQLite's write-ahead log: two pages and their headers.
COMMIT_BYTES = 2 * (4096 + 24)


def flush_figures(folder: Path, *, count: int, pause_seconds: float = 0.005) -> dict[str, float]:
    """
    Append and flush *count* times, as often as a gateway under a moderate load does, and return how long that takes.

    Args:
        folder: on the disk in question.
        count: of flushes.
        pause_seconds: between two of them.
    """
    spent: list[float] = []
    path = folder / "flushed"
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        for _ in range(count):
            began = time.perf_counter()
            os.write(file, bytes(COMMIT_BYTES))
            os.fdatasync(file)
            spent.append((time.perf_counter() - began) * 1000)
            time.sleep(pause_seconds)
    finally:
        os.close(file)
        path.unlink()
    return {"p50_ms": percentile(spent, 50), "p99_ms": percentile(spent, 99)}
