"""The ledger of a gateway under load, read from its file: when each attempt began, when and how it ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.load_regions import Call

MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt."""

    deployment: str
    begun: float
    """When it was let through, in seconds since 1970."""
    ended: float | None
    """None while it is open."""
    kind: str
    """`settle`, `release`, `hold`, or `open`."""
    job: str | None
    """What the provider calls it; None where it has not said."""

    @property
    def failed(self) -> bool:
        """Whether it has ended without an answer."""
        return self.kind in {"release", "hold"}


def read_attempts(state: Path) -> list[Attempt]:
    """Return every attempt in the order in which they began; of one that ended twice, its first ending."""
    with closing(sqlite3.connect(f"file:{state / 'maskgate.db'}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT begun.deployment, begun.at, ended.at, ended.kind, ended.upstream_ref"
            " FROM entries begun LEFT JOIN entries ended ON ended.attempt_id = begun.attempt_id AND ended.phase = 1"
            " WHERE begun.phase = 0 ORDER BY begun.at"
        ).fetchall()
    return [
        Attempt(deployment, begun / MICROS, None if ended is None else ended / MICROS, kind or "open", job)
        for deployment, begun, ended, kind, job in rows
    ]


def disagreements(attempts: Sequence[Attempt], calls: Sequence[Call]) -> list[str]:
    """Return what differs between the ledger and what the regions billed: open attempts, calls that only one knows."""
    billed = {(call.region, call.job) for call in calls if call.job is not None}
    settled = [(attempt.deployment, attempt.job) for attempt in attempts if attempt.kind == "settle"]
    held = sum(attempt.kind == "hold" for attempt in attempts)
    unbooked = len(billed - set(settled))
    found = {
        "attempts stay open": sum(attempt.kind == "open" for attempt in attempts),
        "attempts are settled twice": len(settled) - len(set(settled)),
        "attempts are settled that nobody billed": len(set(settled) - billed),
        "calls are billed, and neither settled nor held": max(0, unbooked - held),
    }
    return [f"{count} {what}" for what, count in found.items() if count]
