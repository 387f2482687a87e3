"""Rows of a statement find their attempts, as a slower and plainer way to say it finds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.matching import Finding, Group, Known, Period, State, match, pair_by_time
from gateway.accounting.statement import Billed
from providers.contract import Money

ALWAYS = Period(-1000, 1000)
SKEW = 3


def known(name: str, state: State = State.SETTLED, at: int = 10, **others: Any) -> Known:
    """Return an attempt that was reserved then, ended five later and cost 50."""
    cost = 50 if state in {State.SETTLED, State.IMPORTED} else 0
    return replace(Known(name, state, (), at, at + 5, cost, 100), **others)


def row(ref: str, at: int = 10, cost: int = 50) -> Billed:
    """Return a row."""
    return Billed(2, ref, at, Money(cost))


def told(findings: list[Finding]) -> set[tuple[str, str | None, str | None]]:
    """Return what was found, in short."""
    return {
        (
            each.group.value,
            each.known.attempt_id if each.known else None,
            each.billed.ref if each.billed else None,
        )
        for each in findings
    }


def fits(attempt: Known, billed: Billed) -> bool:
    """Whether a row can be an attempt's."""
    most = attempt.most_cost_microusd
    in_time = attempt.opened_at - SKEW <= billed.at <= attempt.ended_at + SKEW
    return in_time and (most is None or billed.cost.microusd <= most)


def plainly(attempts: list[Known], rows: list[Billed]) -> list[tuple[int, int]]:
    """Take the nearest of all pairs, again and again; return how near each is and whose."""
    free, left = list(range(len(attempts))), list(rows)
    taken: list[tuple[int, int]] = []
    while True:
        pairs = [
            (abs(billed.at - attempts[number].opened_at), number, billed.at < attempts[number].opened_at, billed)
            for number in free
            for billed in left
            if fits(attempts[number], billed)
        ]
        if not pairs:
            return taken
        distance, number, _, billed = min(pairs, key=lambda pair: pair[:3])
        free.remove(number)
        left.remove(billed)
        taken.append((number, distance))


ATTEMPTS = st.lists(
    st.builds(
        lambda at, lasted, most: known("", State.HELD, at, ended_at=at + lasted, most_cost_microusd=most),
        st.integers(0, 40),
        st.integers(0, 15),
        st.sampled_from([None, 30, 60]),
    ),
    max_size=7,
)
#: No two rows of one moment, so that the plain way has one answer.
ROWS = st.lists(st.tuples(st.integers(-5, 65), st.sampled_from([20, 50, 90])), max_size=7, unique_by=lambda row: row[0])


@given(attempts=ATTEMPTS, figures=ROWS)
def test_the_nearest_pairs(attempts: list[Known], figures: list[tuple[int, int]]) -> None:
    """Each attempt has the row that taking the nearest of all pairs again and again gives it."""
    rows = [row(f"r{number}", at, cost) for number, (at, cost) in enumerate(figures)]
    pairs = pair_by_time(attempts, rows, skew=SKEW)
    assert len(pairs) == len(set(pairs.values()))
    assert all(fits(attempts[attempt], rows[place]) for attempt, place in pairs.items())
    near = {(number, abs(rows[place].at - attempts[number].opened_at)) for number, place in pairs.items()}
    assert set(plainly(attempts, rows)) == near


@st.composite
def books(draw: st.DrawFn) -> tuple[list[Known], list[Billed]]:
    """Return a ledger and a statement that share some names."""
    names = [f"r{number}" for number in range(8)]
    attempts = [
        known(
            f"a{number}",
            state := draw(st.sampled_from([State.HELD, State.SETTLED, State.RELEASED, State.IMPORTED, State.OPEN])),
            draw(st.integers(0, 40)),
            refs=(draw(st.sampled_from(names)),)
            if state is State.IMPORTED or (state is not State.OPEN and draw(st.booleans()))
            else (),
            asked=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 6)))
    ]
    refs = draw(st.lists(st.sampled_from(names), unique=True, max_size=8))
    return attempts, [row(ref, draw(st.integers(-10, 60)), draw(st.integers(0, 120))) for ref in refs]


@given(books())
def test_nothing_is_lost_or_doubled(both: tuple[list[Known], list[Billed]]) -> None:
    """Every row is in one finding, no attempt is in two, and what has a name in common is a pair."""
    attempts, rows = both
    findings = match(attempts, rows, period=ALWAYS, skew=SKEW)
    assert sorted(each.ref for each in rows) == sorted(each.billed.ref for each in findings if each.billed)
    found = [each.known.attempt_id for each in findings if each.known]
    assert len(found) == len(set(found))
    for each in findings:
        if each.billed and any(each.billed.ref in attempt.refs for attempt in attempts):
            assert each.known is not None
            assert each.billed.ref in each.known.refs
        elif each.billed and each.known:
            assert () == each.known.refs
            assert fits(each.known, each.billed)
            assert each.known.asked
        if each.group is Group.DIFFERENT:
            assert each.known
            assert each.billed
            assert each.known.cost_microusd != each.billed.cost.microusd


def test_the_name_goes_before_the_time() -> None:
    """A row of an attempt's name is its row, however far off, and dearer than anything."""
    attempts = [known("near", State.HELD), known("named", State.HELD, 700, refs=("job_1",))]
    assert ("matched", "named", "job_1") in told(match(attempts, [row("job_1", cost=900)], period=ALWAYS, skew=SKEW))


def test_amounts_that_differ() -> None:
    """A settled attempt is compared by its cost; a released one has none."""
    attempts = [known("same", refs=("a",)), known("other", refs=("b",)), known("free", State.RELEASED, refs=("c",))]
    findings = match(attempts, [row("a"), row("b", cost=51), row("c")], period=ALWAYS, skew=SKEW)
    expected = {("matched", "same", "a"), ("different_amount", "other", "b"), ("different_amount", "free", "c")}
    assert expected == told(findings)


def test_holds_are_served_before_settlements() -> None:
    """A row that could be either's resolves what nobody knows of."""
    attempts = [known("settled"), known("held", State.HELD, 12)]
    expected = {("matched", "held", "a"), ("missing_there", "settled", None)}
    assert expected == told(match(attempts, [row("a")], period=ALWAYS, skew=SKEW))


def test_a_row_too_dear() -> None:
    """A row beyond what an attempt can have cost is not its row."""
    expected = {("missing_here", None, "a"), ("missing_there", "held", None)}
    assert expected == told(match([known("held", State.HELD)], [row("a", cost=101)], period=ALWAYS, skew=SKEW))


def test_rows_wait_for_what_is_under_way() -> None:
    """While an attempt is open, rows of its time belong to nobody, and nobody who might own one is missed."""
    attempts = [known("open", State.OPEN, 20), known("held", State.HELD, 18), known("before", State.HELD, 1)]
    findings = match(attempts, [row("a", 17), row("b", 30)], period=ALWAYS, skew=SKEW)
    assert {("waiting", None, "a"), ("waiting", None, "b"), ("missing_there", "before", None)} == told(findings)


def test_missed_within_the_period_alone() -> None:
    """What ended too close to the ends of the statement, or after it, may stand in the next one."""
    attempts = [known("early", at=2), known("within", at=3), known("last", at=12), known("late", at=13)]
    missed = {("missing_there", "within", None), ("missing_there", "last", None)}
    assert missed == told(match(attempts, [], period=Period(0, 20), skew=SKEW))


def test_not_asked_for() -> None:
    """What the statement need not show is neither missed nor given a row by time, but found by its name."""
    attempts = [known("other", State.HELD, asked=False), known("named", asked=False, refs=("b",))]
    expected = {("missing_here", None, "a"), ("matched", "named", "b")}
    assert expected == told(match(attempts, [row("a"), row("b")], period=ALWAYS, skew=SKEW))


def test_an_import_whose_attempt_was_found() -> None:
    """The attempt has the row, and what was imported for it is known not to be owed."""
    attempts = [known("stmt", State.IMPORTED, refs=("a",)), known("att", refs=("a",))]
    findings = match(attempts, [row("a")], period=ALWAYS, skew=SKEW)
    assert {("matched", "att", "a"), ("missing_there", "stmt", None)} == told(findings)
    assert [True] == [each.certain for each in findings if each.group is Group.MISSING_THERE]
