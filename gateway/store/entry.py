"""
One line of the ledger, and what becomes of it when it meets the lines that are there already. Pure.

An attempt has at most three entries, one a phase, none of which ever changes:

    phase 0  opened     reserve
    phase 1  ended      settle | release | hold
    phase 2  resolved   settle | release, and only after a hold
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

OPENED, ENDED, RESOLVED = 0, 1, 2


class Kind(StrEnum):
    """What an entry does to the money of its attempt."""

    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"
    HOLD = "hold"


class Verdict(StrEnum):
    """What became of one entry of a batch. An entry that cannot be written fails by its verdict, never by an error."""

    WRITTEN = "written"
    """It is in the ledger, as it was given."""
    RESOLVED = "resolved"
    """It is in the ledger in phase 2: a hold stood in phase 1."""
    HELD = "held"
    """A hold of a held attempt: nothing to write."""
    CLASHED = "clashed"
    """Another entry stands in its place: the attempt has ended otherwise, or its id was used before."""
    UNOPENED = "unopened"
    """An ending of an attempt that has no reservation."""
    EXCESSIVE = "excessive"
    """A settlement of more than was reserved."""
    MALFORMED = "malformed"
    """The database refuses its values."""


class Entry(NamedTuple):
    """
    One line of the ledger, its fields in the order of the table's columns.

    A named tuple and not a dataclass, because it is handed to the database as it is, twice for each attempt.
    The identity of the attempt (`request_id` to `tags`) stands on the reserve alone, so that it exists once.
    """

    attempt_id: str
    phase: int
    kind: str
    amount_microusd: int
    """Reserve and hold: what was reserved. Settle: the charge to the tenant. Release: 0."""
    cost_microusd: int
    """Owed to the provider. Settle: what it costs. Hold: the most it may cost. Reserve and release: 0."""
    reported_microusd: int | None
    """The provider's own figure, where it gave one."""
    upstream_ref: str | None
    """The provider's name for the call."""
    reason: str | None
    """Why it was released or held; None for a reserve and a settle."""
    at: int
    """Microseconds since 1970, UTC."""
    request_id: str | None = None
    prompt_index: int | None = None
    tenant: str | None = None
    key_id: str | None = None
    deployment: str | None = None
    provider: str | None = None
    model: str | None = None
    region: str | None = None
    price_id: str | None = None
    expires_at: int | None = None
    """Microseconds since 1970, UTC: when a reservation that is still open counts as abandoned."""
    tags: str | None = None
    """A JSON object of strings."""


def judge(entry: Entry, standing: Mapping[int, Entry]) -> Verdict | Entry:
    """
    Say what becomes of an entry, given the entries of its attempt by phase.

    Returns:
        The verdict, or the entry to write in its place: itself where its place is free, itself in phase 2 after a hold.
    """
    same = standing.get(entry.phase)
    if same == entry:
        return Verdict.WRITTEN
    if entry.phase == OPENED:
        return entry if same is None else Verdict.CLASHED
    opened = standing.get(OPENED)
    if opened is None:
        return Verdict.UNOPENED
    if entry.amount_microusd > opened.amount_microusd:
        return Verdict.EXCESSIVE
    if same is None:
        return entry
    if same.kind != Kind.HOLD:
        return Verdict.CLASHED
    if entry.kind == Kind.HOLD:
        return Verdict.HELD
    later = entry._replace(phase=RESOLVED)
    resolved = standing.get(RESOLVED)
    if resolved is None:
        return later
    return Verdict.RESOLVED if resolved == later else Verdict.CLASHED
