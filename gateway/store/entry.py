"""
One line of the ledger, and what becomes of it when it meets the lines that are there already. Pure.

An attempt has at most one entry a phase, none of which ever changes:

    phase 0   opened      reserve; or import: a call that only the provider's statement knows
    phase 1   ended       settle | release | hold
    phase 2   resolved    settle | release, and only after a hold
    phase 3…  corrected   correct: what the provider's statement says otherwise
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
    CORRECT = "correct"
    IMPORT = "import"


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
    """A settlement of more than was reserved, or an ending that moves other money than was."""
    OVER_BUDGET = "over_budget"
    """A reserve for which a hard budget has no room: nothing of it is written."""
    REVOKED = "revoked"
    """A reserve by a key that is revoked, or whose time is over."""
    MALFORMED = "malformed"
    """The database refuses its values."""


class Entry(NamedTuple):
    """
    One line of the ledger, its fields in the order of the table's columns.

    A named tuple and not a dataclass, because it is handed to the database as it is, twice for each attempt.
    The identity of the attempt (from `request_id` on) stands on the reserve alone, so that it exists once.
    """

    attempt_id: str
    phase: int
    kind: str
    amount_microusd: int
    """Reserve and hold: what was reserved. Settle: the charge to the tenant. Release and import: 0. Correct: by how
    much the charge changes."""
    cost_microusd: int
    """Owed to the provider. Settle and import: what it costs. Hold: the most it may cost. Reserve and release: 0.
    Correct: by how much the cost changes."""
    reported_microusd: int | None
    """The provider's own figure, where it gave one."""
    upstream_ref: str | None
    """The provider's name for the call."""
    reason: str | None
    """Why it was released or held; None for a reserve and a settle."""
    at: int
    """Microseconds since 1970, UTC."""
    available_microusd: int
    """From here to `margin_microusd`: what the entry gives to each account, or takes from it; see `moves`."""
    reserved_microusd: int
    held_microusd: int
    payable_microusd: int
    margin_microusd: int
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
    upstream_account: str | None = None
    """Which endpoint and account the call was made with; see `providers.contract.upstream_account`."""


class Moves(NamedTuple):
    """What an entry gives to each account, or takes from it, in micro-dollars: in sum nothing."""

    available: int
    """The tenant's money that is free."""
    reserved: int
    held: int
    payable: int
    """Owed to the provider."""
    margin: int
    """Left to the operator: the charge less the cost."""


def moves(kind: Kind, *, phase: int, set_aside: int, amount: int, cost: int) -> Moves:
    """
    Return what an entry moves.

    Args:
        kind: what it does.
        phase: an ending takes the money out of `reserved`, one that resolves a hold out of `held`.
        set_aside: what the attempt has reserved; for a correction or an import, 0.
        amount: the entry's amount.
        cost: the entry's cost.
    """
    if kind is Kind.RESERVE:
        return Moves(-amount, amount, 0, 0, 0)
    if kind is Kind.HOLD:
        return Moves(0, -set_aside, set_aside, 0, 0)
    reserved, held = (0, -set_aside) if phase == RESOLVED else (-set_aside, 0)
    return Moves(set_aside - amount, reserved, held, cost, amount - cost)


def ending(  # noqa: PLR0913 - what an entry says of an ending
    attempt_id: str,
    kind: Kind,
    *,
    set_aside: int,
    at: int,
    amount: int = 0,
    cost: int = 0,
    reported: int | None = None,
    upstream_ref: str | None = None,
    reason: str | None = None,
    phase: int = ENDED,
) -> Entry:
    """
    Return the entry that ends an attempt, resolves its hold or corrects it.

    Args:
        attempt_id: of the attempt.
        kind: what it does.
        set_aside: what the attempt has reserved, in micro-dollars; 0 for a correction. A hold is of all of it.
        at: microseconds since 1970, UTC.
        amount: the charge, in micro-dollars.
        cost: owed to the provider, in micro-dollars.
        reported: the provider's own figure, in micro-dollars.
        upstream_ref: the provider's name for the call.
        reason: for all but a settlement.
        phase: 1 to end, 2 to resolve, 3 or more to correct.
    """
    if kind is Kind.HOLD:
        amount = cost = set_aside
    moved = moves(kind, phase=phase, set_aside=set_aside, amount=amount, cost=cost)
    return Entry(attempt_id, phase, kind.value, amount, cost, reported, upstream_ref, reason, at, *moved)


def resolving(entry: Entry) -> Entry:
    """Return an ending as it is written where a hold stands in its place: it takes the money out of `held`."""
    return entry._replace(phase=RESOLVED, reserved_microusd=0, held_microusd=entry.reserved_microusd)


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
    if entry.kind == Kind.CORRECT:
        return entry if same is None else Verdict.CLASHED
    if opened.kind != Kind.RESERVE:
        return Verdict.CLASHED
    if entry.phase == RESOLVED:
        return _resolves(entry, opened, standing)
    return _ends(entry, opened, standing)


def _ends(entry: Entry, opened: Entry, standing: Mapping[int, Entry]) -> Verdict | Entry:
    """Say what becomes of an entry that is to end an attempt, in whatever phase that still can be."""
    same = standing.get(ENDED)
    if not _fits(entry, opened):
        return Verdict.EXCESSIVE
    if same is None:
        return entry
    if same.kind != Kind.HOLD:
        return Verdict.CLASHED
    if entry.kind == Kind.HOLD:
        return Verdict.HELD
    later = resolving(entry)
    resolved = standing.get(RESOLVED)
    if resolved is None:
        return later
    return Verdict.RESOLVED if resolved == later else Verdict.CLASHED


def _resolves(entry: Entry, opened: Entry, standing: Mapping[int, Entry]) -> Verdict | Entry:
    """Say what becomes of an entry that is to resolve a hold."""
    ended = standing.get(ENDED)
    if ended is None:
        return Verdict.UNOPENED
    if RESOLVED in standing or ended.kind != Kind.HOLD:
        return Verdict.CLASHED
    return entry if _fits(entry, opened) else Verdict.EXCESSIVE


def _fits(entry: Entry, opened: Entry) -> bool:
    """Whether an ending moves exactly what was reserved, and charges no more."""
    taken = entry.held_microusd if entry.phase == RESOLVED else entry.reserved_microusd
    return -taken == opened.amount_microusd >= entry.amount_microusd
