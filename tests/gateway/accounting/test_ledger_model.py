"""
The ledger beside a small model of it: whatever is done to it in whatever order, both say the same.

Each step looks at the sums that the gateway keeps; each example ends with the ledger added up again from its entries.
The database is a file as in production; where the machine has one, it is on a file system in memory, so that a flush
takes no time. A crash is a new gateway on the file while the old one has money in flight.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import bindparam, func, select

from gateway.accounting import AlreadyResolved, Attempt, Ledger, OverBudget, Reservation
from gateway.accounting.budgets import Budgets, wanted_budget
from gateway.accounting.reports import FIGURES
from gateway.store import Entry, Kind, Verdict, ending
from gateway.store.tables import budget_windows, entries, usage_lines
from providers.contract import Money
from tests.gateway.store.ledger_sums import agree
from tests.tiers import by_tier

ATTEMPT = Attempt("att", "seg_1", 0, "acme", "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")
DAY = 86_400
LIMIT = 10_000
AMOUNTS = st.integers(0, 4_000)
#: Opening a file takes as long as several steps, and life between crashes is what there is to crash.
STEPS_BETWEEN_CRASHES = 12
PICK = st.integers(0, 10**6)
ENDINGS = st.sampled_from([Kind.SETTLE, Kind.RELEASE, Kind.HOLD])


@dataclass
class Known:
    """An attempt in the model."""

    day: int
    amount: int
    state: str = "open"
    charge: int = 0


class Model:
    """What the ledger should say, in as few words as possible."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.attempts: dict[str, Known] = {}
        self.limit = LIMIT

    def used(self, day: int) -> tuple[int, int]:
        """Return what is spent and what is reserved on a day."""
        those = [known for known in self.attempts.values() if known.day == day]
        kept = [known.amount for known in those if known.state in {"open", "held"}]
        return sum(known.charge for known in those), sum(kept)

    def has_room(self, day: int, amount: int) -> bool:
        """Whether so much may be reserved."""
        return not amount or sum(self.used(day)) + amount <= self.limit

    def end(self, attempt_id: str, kind: Kind, charge: int) -> None:
        """End an attempt that is open or held; a held one is not held again."""
        known = self.attempts[attempt_id]
        known.state = {Kind.SETTLE: "settled", Kind.RELEASE: "released", Kind.HOLD: "held"}[kind]
        known.charge = charge if kind is Kind.SETTLE else 0

    def figures(self) -> list[int]:
        """Return the whole tally but for the cost."""
        those = list(self.attempts.values())
        counts = [sum(known.state == state for known in those) for state in ("settled", "released", "held", "open")]
        charged = sum(known.charge for known in those)
        amounts = [sum(known.amount for known in those if known.state == state) for state in ("held", "open")]
        return [len(those), *counts, charged, *amounts]


def _folder() -> str | None:
    """Return where files need no disk; None where there is no such place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class LedgerMachine(RuleBasedStateMachine):
    """Everything that can happen to a ledger."""

    template: Path

    def __init__(self) -> None:
        """Copy an empty ledger with a budget and open it."""
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="maskgate-model-", dir=_folder()))
        shutil.copy(self.template, self.folder / "ledger.db")
        self.runner = asyncio.Runner()
        self.now = 1_800_000_000.0
        self.model = Model()
        self.reservations: dict[str, Reservation] = {}
        self.steps = 0
        self.ledger = self.run(self.open())

    def run(self, awaitable: Any) -> Any:
        """Run something to its end; the runner's own `run` sets up signals anew each time, which takes as long."""
        return self.runner.get_loop().run_until_complete(awaitable)

    async def open(self) -> Ledger:
        """Open the file as a new gateway does."""
        url = f"sqlite:///{self.folder}/ledger.db"
        return await Ledger.open(url, wall=lambda: self.now, clock=time.monotonic, answer_seconds=10)

    @property
    def day(self) -> int:
        """The day, counted from 1970."""
        return int(self.now) // DAY

    def pick(self, number: int, *states: str) -> str | None:
        """Return one of the attempts in some states."""
        those = [name for name, known in self.model.attempts.items() if known.state in states]
        return those[number % len(those)] if those else None

    @initialize(limit=st.sampled_from([LIMIT, LIMIT // 2]))
    def begin(self, limit: int) -> None:
        """Begin with a limit."""
        self.set_limit(limit)

    @rule(limit=st.integers(1, 2 * LIMIT))
    def set_limit(self, limit: int) -> None:
        """Raise or lower the budget, below what is used as well."""
        budgets = Budgets(self.ledger.database, wall=lambda: self.now, new_id=lambda prefix: f"{prefix}_1")
        wanted = wanted_budget(tenant="acme", period="day", limit_usd=Money(limit).usd)
        assert limit == self.run(budgets.set(wanted)).limit.microusd
        self.model.limit = limit

    @rule(amount=AMOUNTS)
    def reserve(self, amount: int) -> None:
        """Reserve; refused exactly where the model has no room."""
        name = f"att_{len(self.model.attempts)}"
        attempt = replace(ATTEMPT, attempt_id=name)
        if not self.model.has_room(self.day, amount):
            with pytest.raises(OverBudget):
                self.run(self.ledger.reserve(attempt, Money(amount), expires_in=60))
            return
        self.reservations[name] = self.run(self.ledger.reserve(attempt, Money(amount), expires_in=60))
        self.model.attempts[name] = Known(self.day, amount)

    # Which rules may follow must not hang on what a crash has left, which differs from run to run: so they look for
    # themselves whether there is anything to do.
    @rule(pick=PICK, kind=ENDINGS, share=st.integers(0, 100))
    def end(self, pick: int, kind: Kind, share: int) -> None:
        """End a reservation, also one that the sweep has held or that has been resolved elsewhere; then once more."""
        if not self.reservations:
            return
        name = list(self.reservations)[pick % len(self.reservations)]
        reservation = self.reservations.pop(name)
        charge = reservation.amount.microusd * share // 100
        with pytest.raises(ValueError, match="micro-dollars"):
            self.run(self._settle(reservation, reservation.amount.microusd + 1))
        self.run(self._end(reservation, kind, charge))
        if self.model.attempts[name].state in {"open", "held"}:
            self.model.end(name, kind, charge)
        with pytest.raises(AlreadyResolved):
            self.run(self._end(reservation, kind, charge))

    async def _end(self, reservation: Reservation, kind: Kind, charge: int) -> None:
        if kind is Kind.SETTLE:
            await self._settle(reservation, charge)
        elif kind is Kind.RELEASE:
            await reservation.release("refused")
        else:
            await reservation.hold("unanswered")

    @staticmethod
    async def _settle(reservation: Reservation, charge: int) -> None:
        await reservation.settle(charge=Money(charge), cost=Money(charge), reported=None, upstream_ref=None)

    @rule(pick=PICK, settles=st.booleans(), share=st.integers(0, 100))
    def resolve(self, pick: int, share: int, *, settles: bool) -> None:
        """Resolve a hold twice; the second time comes too late."""
        held = self.run(self.ledger.held(1000))
        if not held:
            return
        chosen = held[pick % len(held)]
        charge = Money(chosen.amount_microusd * share // 100)
        for verdict in (Verdict.WRITTEN, Verdict.CLASHED):
            self.now += 0.001
            if settles:
                resolved = self.ledger.settle_held(
                    chosen, charge=charge, cost=charge, reported=None, upstream_ref="run"
                )
            else:
                resolved = self.ledger.release_held(chosen, reason="absent")
            assert verdict is self.run(resolved)
        self.model.end(chosen.attempt_id, Kind.SETTLE if settles else Kind.RELEASE, charge.microusd)

    @rule(pick=PICK, amount=AMOUNTS)
    def correct(self, pick: int, amount: int) -> None:
        """Charge more than was settled, as a statement says."""
        name = self.pick(pick, "settled")
        if name is None:
            return
        now = round(self.now * 1_000_000)
        phase = 3 + len(self.run(self.ledger.database.read(lambda c: list(_of(c, name)))))
        entry = ending(
            name, Kind.CORRECT, set_aside=0, phase=phase, amount=amount, cost=amount, reason="statement", at=now
        )
        assert Verdict.WRITTEN is self.run(self.ledger.journal.commit(entry))
        self.model.attempts[name].charge += amount

    @rule(seconds=st.sampled_from([1, 100, DAY]))
    def sweep(self, seconds: int) -> None:
        """Let time pass, over midnight as well, and hold what is abandoned."""
        self.now += seconds
        swept = self.run(self.ledger.sweep())
        states = self.run(self.ledger.database.read(_abandoned))
        for name, known in self.model.attempts.items():
            if known.state == "open" and name in states:
                known.state = "held"
                swept -= 1
        assert swept == 0

    @rule(first=PICK, many=st.integers(1, 9))
    def replay(self, first: int, many: int) -> None:
        """Write entries again that are there, in one batch: nothing happens."""
        there = self.run(self.ledger.database.read(_all))
        if not there:
            return
        again = [there[(first + place) % len(there)] for place in range(many)]

        async def write() -> list[Verdict]:
            return await asyncio.gather(*map(self.ledger.journal.commit, again))

        assert {Verdict.WRITTEN} == set(self.run(write()))

    @precondition(lambda self: self.steps >= STEPS_BETWEEN_CRASHES)
    @rule(pick=PICK, amount=AMOUNTS, turns=st.integers(0, 6))
    def crash(self, pick: int, amount: int, turns: int) -> None:
        """Lose the gateway with a reserve and a settlement in flight, each of which has happened or has not."""
        self.steps = 0
        name, open_name = f"att_{len(self.model.attempts)}", self.pick(pick, "open")
        room = self.model.has_room(self.day, amount)
        self.run(self._crash(name, open_name, amount, turns))
        self.reservations.clear()
        kinds = {(entry.attempt_id, entry.phase): entry.kind for entry in self.run(self.ledger.database.read(_all))}
        if (name, 0) in kinds:
            settled = open_name is not None and (open_name, 1) in kinds
            assert room or settled
            self.model.attempts[name] = Known(self.day, amount)
        if open_name is not None and (open_name, 1) in kinds:
            self.model.end(open_name, Kind.SETTLE, 0)

    async def _crash(self, name: str, open_name: str | None, amount: int, turns: int) -> None:
        dying = self.ledger
        attempt = replace(ATTEMPT, attempt_id=name)
        flying = [asyncio.ensure_future(dying.reserve(attempt, Money(amount), expires_in=60))]
        if open_name in self.reservations:
            flying.append(asyncio.ensure_future(self._settle(self.reservations[open_name], 0)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await dying.database.close()  # what has reached the database's thread is done, as by a process that dies then
        for task in [*flying, dying.journal._flushing]:
            if task is not None:
                task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
        if dying.journal._recovering is not None:
            dying.journal._recovering.cancel()
            await asyncio.wait({dying.journal._recovering})
        self.ledger = await self.open()

    @invariant()
    def says_the_same(self) -> None:
        """The sums that are kept are those of the model."""
        self.steps += 1
        figures, used = self.run(self.ledger.database.read(lambda c: _sums(c, self.day * DAY * 1_000_000)))
        assert self.model.figures() == figures
        assert self.model.used(self.day) == used

    def teardown(self) -> None:
        """Add everything up again, and leave nothing behind."""
        try:
            self.run(agree(self.ledger.database))
        finally:
            self.run(self.ledger.close())
            self.runner.close()
            shutil.rmtree(self.folder)


# Built once: they are asked thousands of times, and building one takes longer than its answer.
_ALL = select(*(entries.c[name] for name in Entry._fields)).order_by(entries.c.id)
_LATER = select(entries.c.id).where(entries.c.attempt_id == bindparam("attempt"), entries.c.phase > 2)
_ABANDONED = select(entries.c.attempt_id).where(entries.c.reason == "abandoned")
_ADDED = select(*(func.coalesce(func.sum(usage_lines.c[name]), 0) for name in FIGURES if name != "cost_microusd"))
_USED = select(budget_windows.c.spent_microusd, budget_windows.c.reserved_microusd).where(
    budget_windows.c.starts_at == bindparam("today")
)


def _all(connection: Any) -> list[Entry]:
    return [Entry._make(row) for row in connection.execute(_ALL)]


def _of(connection: Any, name: str) -> list[Any]:
    return list(connection.execute(_LATER, {"attempt": name}))


def _abandoned(connection: Any) -> set[str]:
    return set(connection.scalars(_ABANDONED))


def _sums(connection: Any, today: int) -> tuple[list[int], tuple[int, int]]:
    used = connection.execute(_USED, {"today": today}).one_or_none()
    return list(connection.execute(_ADDED).one()), (0, 0) if used is None else tuple(used)


@pytest.mark.timeout(600)
@by_tier(fast=1, slow=14)
def test_the_ledger_is_its_model(tmp_path: Path, seeds: Iterator[int]) -> None:
    """Over many examples of 60 steps, 20 for each seed, ledger and model say the same after every step."""

    async def make() -> None:
        ledger = await Ledger.open(f"sqlite:///{tmp_path}/empty.db", wall=time.time, clock=time.monotonic)
        await ledger.close()

    asyncio.run(make())
    LedgerMachine.template = tmp_path / "empty.db"
    steps = settings(
        max_examples=20,
        stateful_step_count=60,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    for number in seeds:
        run_state_machine_as_test(seed(number)(LedgerMachine), settings=steps)
