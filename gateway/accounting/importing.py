"""
Bringing the ledger to what the provider's statement says, by new entries alone.

    on hold, in the statement       settled at the statement's amount; the tenant pays no more than was reserved
    on hold, not in it              released, where the statement is complete
    settled at another amount       the cost is corrected; the tenant's charge stands, and the margin takes the rest
    settled, not in it              the cost is corrected to nothing, where the statement is complete
    only in the statement           imported at its cost, for the operator's account, charged to nobody

Any number of imports may run at once and again: each entry has its one place, and what a statement has brought is found
under the provider's name the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, select

from gateway.accounting.ledger import Ledger
from gateway.accounting.matching import Finding, Group, Known, Period, State, match
from gateway.accounting.price_ids import agreed_terms, most_cost
from gateway.accounting.pricing import charge
from gateway.accounting.statement import Billed
from gateway.store import ENDED, OPENED, RESOLVED, Entry, Kind, Verdict, ending, entries, moves
from gateway.store.ledger_sql import find_standing
from providers.contract import Money, Usage

#: Who bears what only the statement knows.
OPERATOR, STATEMENT_KEY = "operator", "statement"

#: What an imported call is described with where nobody can say it.
UNKNOWN = "unknown"

_MICROS = 1_000_000
#: A call that was reserved so long before the first row is looked for by its name alone.
_EARLIER = 86_400 * _MICROS
#: Values in one query, and entries handed to the journal at once.
_CHUNK = 500

Phases = Mapping[int, Entry]


@dataclass(frozen=True, slots=True)
class Source:
    """Whose statement it is."""

    provider: str
    deployment: str | None = None
    """The only deployment that the statement should show; None: all of the provider."""
    described_as: tuple[str, str, str] = (UNKNOWN, UNKNOWN, UNKNOWN)
    """Deployment, model and region that imported calls are told under."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to import."""

    period: Period
    """What the statement covers."""
    complete: bool = False
    """Whether it shows every call of that period, so that what is missing there was not billed."""
    dry_run: bool = False
    """Whether to find out only, and write nothing."""
    skew_seconds: float = 120.0
    """How far the provider's clock may be from ours."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finding and what was made of it."""

    finding: Finding
    entry: Entry | None
    """What it calls for; None for nothing."""
    verdict: Verdict | None
    """What became of that; None where nothing was written. `CLASHED`: another one came first."""


async def import_statement(
    ledger: Ledger, billed: Sequence[Billed], source: Source, wanted: Wanted, *, wall: Callable[[], float], run: str
) -> list[Done]:
    """
    Compare a statement with the ledger, and write what follows.

    Where something fails between two entries, those before it stay; another import of the same file goes on from there.

    Args:
        ledger: what its gateways have abandoned is on hold already; see `Ledger.sweep`.
        billed: the statement.
        source: whose it is.
        wanted: how.
        wall: seconds since 1970, UTC.
        run: names this import, unlike any other; imported calls carry it as their request.

    Raises:
        LedgerUnavailable: the database is out of reach.
    """
    skew, now = round(wanted.skew_seconds * _MICROS), round(wall() * _MICROS)
    standing = await ledger.database.read(
        partial(_standing, source=source, billed=billed, period=wanted.period, skew=skew)
    )
    known = [_known(phases, source) for phases in standing.values()]
    done = []
    for finding in match(known, billed, period=wanted.period, skew=skew):
        phases = {} if finding.known is None else standing[finding.known.attempt_id]
        done.append(
            Done(finding, _following(finding, phases, source, complete=wanted.complete, now=now, run=run), None)
        )
    if wanted.dry_run:
        return done
    return await _written(ledger, done)


async def _written(ledger: Ledger, planned: Sequence[Done]) -> list[Done]:
    """Write what findings call for, many entries in one transaction."""
    done: list[Done] = []
    for start in range(0, len(planned), _CHUNK):
        chunk = planned[start : start + _CHUNK]
        entries_of = [each.entry for each in chunk if each.entry is not None]
        verdicts = iter(await asyncio.gather(*(ledger.journal.commit(entry) for entry in entries_of)))
        done += [each if each.entry is None else Done(each.finding, each.entry, next(verdicts)) for each in chunk]
    return done


def _standing(
    connection: Connection, *, source: Source, billed: Sequence[Billed], period: Period, skew: int
) -> dict[str, Phases]:
    """Return the entries of every attempt that a row may belong to: by time, on hold, or by the provider's name."""
    opened, held, resolved = (entries.alias(name) for name in ("opened", "held", "resolved"))
    of_provider = (opened.c.phase == OPENED) & (opened.c.provider == source.provider)
    in_time = (opened.c.at >= period.since - _EARLIER) & (opened.c.at <= period.until + skew)
    found = set(connection.scalars(select(opened.c.attempt_id).where(of_provider, in_time)))
    on_hold = (
        select(held.c.attempt_id)
        .join(opened, opened.c.attempt_id == held.c.attempt_id)
        .outerjoin(resolved, (resolved.c.attempt_id == held.c.attempt_id) & (resolved.c.phase == RESOLVED))
        .where(of_provider, held.c.phase == ENDED, held.c.kind == Kind.HOLD.value, resolved.c.id.is_(None))
    )
    found |= set(connection.scalars(on_hold))
    standing = _entries_of(connection, found)
    names = {entry.upstream_ref for phases in standing.values() for entry in phases.values()}
    named: set[str] = set()
    for chunk in _chunks([row.ref for row in billed if row.ref not in names]):
        by_name = select(held.c.attempt_id).join(opened, opened.c.attempt_id == held.c.attempt_id)
        named |= set(connection.scalars(by_name.where(of_provider, held.c.upstream_ref.in_(chunk))))
    return standing | _entries_of(connection, named - found)


def _entries_of(connection: Connection, attempts: Iterable[str]) -> dict[str, Phases]:
    """Return the entries of attempts by attempt and phase."""
    standing: dict[str, Phases] = {}
    for chunk in _chunks(sorted(attempts)):
        standing |= find_standing(connection, chunk)
    return standing


def _chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _known(phases: Phases, source: Source) -> Known:
    """Return where an attempt stands."""
    opened, ended = phases[OPENED], phases.get(ENDED)
    state = _state(opened, phases.get(RESOLVED, ended))
    most = most_cost(opened.price_id or "", Money(opened.amount_microusd))
    return Known(
        attempt_id=opened.attempt_id,
        state=state,
        refs=tuple(sorted({entry.upstream_ref for entry in phases.values() if entry.upstream_ref is not None})),
        opened_at=opened.at,
        ended_at=opened.at if ended is None else ended.at,
        cost_microusd=sum(entry.payable_microusd for entry in phases.values()),
        most_cost_microusd=None if most is None else most.microusd,
        asked=source.deployment in {None, opened.deployment},
    )


def _state(opened: Entry, last: Entry | None) -> State:
    if opened.kind == Kind.IMPORT:
        return State.IMPORTED
    if last is None:
        return State.OPEN
    return {Kind.HOLD: State.HELD, Kind.SETTLE: State.SETTLED, Kind.RELEASE: State.RELEASED}[Kind(last.kind)]


def _following(finding: Finding, phases: Phases, source: Source, *, complete: bool, now: int, run: str) -> Entry | None:
    """Return the entry that a finding calls for; None for nothing."""
    known, billed = finding.known, finding.billed
    if known is None:
        return _imported(billed, source, run=run) if finding.group is Group.MISSING_HERE and billed else None
    if billed is None:
        if not (complete or finding.certain):
            return None
        if known.state is State.HELD:
            return _resolved(phases[OPENED], None, now=now)
        return _corrected(known, phases, None, now=now)
    if known.state is State.HELD:
        return _resolved(phases[OPENED], billed, now=now)
    return _corrected(known, phases, billed, now=now) if finding.group is Group.DIFFERENT else None


def _resolved(opened: Entry, billed: Billed | None, *, now: int) -> Entry:
    """Return the end of a hold: at the statement's amount, or a release where the statement lacks it."""
    amount = opened.amount_microusd
    if billed is None:
        reason = "statement_lacks_it"
        return ending(opened.attempt_id, Kind.RELEASE, set_aside=amount, phase=RESOLVED, reason=reason, at=now)
    terms = agreed_terms(opened.price_id or "", Money(amount), None)
    owed = charge(terms, Usage(reported=billed.cost), Money(amount))
    return ending(
        opened.attempt_id,
        Kind.SETTLE,
        set_aside=amount,
        phase=RESOLVED,
        amount=owed.charge.microusd,
        cost=owed.cost.microusd,
        reported=billed.cost.microusd,
        upstream_ref=billed.ref,
        at=now,
    )


def _corrected(known: Known, phases: Phases, billed: Billed | None, *, now: int) -> Entry:
    """Return the correction of a cost; what the tenant is charged stands."""
    cost = 0 if billed is None else billed.cost.microusd
    return ending(
        known.attempt_id,
        Kind.CORRECT,
        set_aside=0,
        phase=max(RESOLVED, *phases) + 1,
        cost=cost - known.cost_microusd,
        reported=None if billed is None else cost,
        upstream_ref=None if billed is None else billed.ref,
        reason="statement_lacks_it" if billed is None else "statement",
        at=now,
    )


def _imported(billed: Billed, source: Source, *, run: str) -> Entry:
    """Return the entry of a call that only the statement knows, at the provider's time."""
    cost = billed.cost.microusd
    deployment, model, region = source.described_as
    return Entry(
        f"stmt_{source.provider}_{billed.ref}",
        OPENED,
        Kind.IMPORT.value,
        0,
        cost,
        cost,
        billed.ref,
        "statement",
        billed.at,
        *moves(Kind.IMPORT, phase=OPENED, set_aside=0, amount=0, cost=cost),
        request_id=run,
        prompt_index=0,
        tenant=OPERATOR,
        key_id=STATEMENT_KEY,
        deployment=deployment,
        provider=source.provider,
        model=model,
        region=region,
        price_id="statement",
        expires_at=billed.at,
        tags="{}",
    )
