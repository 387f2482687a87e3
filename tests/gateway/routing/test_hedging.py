"""A second call before the first has ended; by a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from gateway.accounting.pricing import Terms
from gateway.problems import LedgerDown
from gateway.routing.again import Failed
from gateway.routing.concurrency import Bounds, Limiters, Place
from gateway.routing.failover import Hedge, NoAnswer, Passed, first_answer
from gateway.routing.hedging import HedgeBudget
from gateway.routing.ranking import Candidate
from providers.contract import Deadline, ProviderFailed, ProviderRefused
from tests.gateway.routing.offers import offer, price
from tests.gateway.routing.virtual_loop import run_virtually

End = str | Exception | Passed


@dataclass
class Calls:
    """Candidates that end as they are told, after so many seconds."""

    ends: dict[str, tuple[float, End]]
    budget: HedgeBudget = field(default_factory=HedgeBudget)
    limiters: Limiters = field(default_factory=lambda: Limiters({name: Bounds(1) for name in "abc"}, lambda: 0.0))
    begun: list[tuple[float, str]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    left: list[asyncio.Task[str | Passed | None]] = field(default_factory=list)
    then: dict[str, tuple[float, End]] = field(default_factory=dict)
    """How those end that are asked again; nobody else is."""
    dear: set[str] = field(default_factory=set)
    """Those that cannot be paid for while another call is under way."""

    async def places(self, names: Sequence[str], deadline: Deadline) -> Place:
        """Wait for a place; the first of them has one by now."""
        return await self.limiters.place(names, "acme", deadline)

    async def again(self, failed: Sequence[Failed]) -> Candidate | None:
        """Say that the first one may be asked again that is to be."""
        return next((each.candidate for each in failed if each.candidate.name in self.then), None)

    async def ask(self, candidate: Candidate, deadline: Deadline, /, *, place: Place | None) -> str | Passed:
        """Make one call; one for which a place was waited for is answered."""
        name = candidate.name
        seconds, end = (self.then if any(name == each for _, each in self.begun) else self.ends)[name]
        if place is not None:
            place.succeeded()
            end = name.upper()
        if name in self.dear and len(self.begun) > len(self.ended):
            return Passed.UNAFFORDABLE
        if isinstance(end, Passed):
            return end
        self.begun.append((deadline.clock(), name))
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cut.append(name)
            raise
        self.ended.append(name)
        if isinstance(end, Exception):
            raise end
        return end

    async def answer(self, *, after: float = 1.0, max_attempts: int = 3, seconds: float = 30.0) -> str:
        """Ask them, the second after *after* seconds."""
        return await first_answer(
            [Candidate(offer(name), Terms(price(name, 5000))) for name in self.ends],
            self.ask,
            self.places,
            self.again,
            deadline=Deadline.after(seconds, asyncio.get_running_loop().time),
            max_attempts=max_attempts,
            hedge=Hedge(after, self.budget, self.left.append),
        )

    async def all_ended(self) -> None:
        """Wait for those that were left."""
        await asyncio.gather(*self.left, return_exceptions=True)


def test_a_quick_first_call_is_alone() -> None:
    """Nobody is asked twice who answers in time."""
    calls = Calls({"a": (0.9, "A"), "b": (0.1, "B")})
    assert "A" == run_virtually(calls.answer())
    assert ([(0.0, "a")], []) == (calls.begun, calls.left)


def test_the_second_is_asked_after_the_delay_and_the_first_answer_wins() -> None:
    """The one that was not waited for goes on to its end."""
    calls = Calls({"a": (9.0, "A"), "b": (0.5, "B"), "c": (0.1, "C")})

    async def all_of_it() -> float:
        assert "B" == await calls.answer()
        answered = asyncio.get_running_loop().time()
        assert [] == calls.cut
        await calls.all_ended()
        return answered

    assert pytest.approx(1.5) == run_virtually(all_of_it())
    assert [(0.0, "a"), (1.0, "b")] == calls.begun
    assert ["b", "a"] == calls.ended


def test_the_first_call_may_win_after_all() -> None:
    """Then the hedge is the one that is left."""
    calls = Calls({"a": (1.2, "A"), "b": (5.0, "B")})

    async def all_of_it() -> None:
        assert "A" == await calls.answer()
        await calls.all_ended()

    run_virtually(all_of_it())
    assert ["a", "b"] == calls.ended


def test_a_call_that_fails_while_another_goes_on_is_not_replaced() -> None:
    """The hedge is the failover already; the third is asked only when both have failed."""
    failed = ProviderFailed("no")
    calls = Calls({"a": (1.5, failed), "b": (3.0, failed), "c": (0.1, "C")})
    assert "C" == run_virtually(calls.answer())
    assert [(0.0, "a"), (1.0, "b"), (4.0, "c")] == calls.begun


def test_a_first_call_that_fails_early_is_followed_at_once() -> None:
    """Failover does not wait for the delay, and the next call has its own."""
    calls = Calls({"a": (0.2, ProviderFailed("no")), "b": (9.0, "B"), "c": (0.1, "C")})
    assert "C" == run_virtually(calls.answer())
    assert [(0.0, "a"), (0.2, "b"), (1.2, "c")] == calls.begun


def test_one_that_failed_is_asked_again_when_nobody_else_is_left() -> None:
    """A hedged question has what any other has, also where a hedge was made."""
    failed = ProviderFailed("no")
    calls = Calls({"a": (0.2, failed), "b": (0.2, failed)}, then={"a": (0.1, "A")})
    assert "A" == run_virtually(calls.answer())
    assert ["a", "b", "a"] == [name for _, name in calls.begun]
    calls = Calls({"a": (2.0, failed), "b": (0.2, failed)}, then={"b": (0.1, "B")})
    assert "B" == run_virtually(calls.answer())
    assert [(0.0, "a"), (1.0, "b"), (2.0, "b")] == [(at, name) for at, name in calls.begun]


def test_a_hedge_counts_as_an_attempt() -> None:
    """A request that allows one call gets one."""
    calls = Calls({"a": (9.0, "A"), "b": (0.1, "B")})
    assert "A" == run_virtually(calls.answer(max_attempts=1))
    assert [(0.0, "a")] == calls.begun


def test_there_is_one_hedge_for_a_question() -> None:
    """Two that are slow do not make it three."""
    calls = Calls({"a": (9.0, "A"), "b": (8.5, "B"), "c": (0.1, "C")})

    async def all_of_it() -> None:
        assert "A" == await calls.answer()
        await calls.all_ended()

    run_virtually(all_of_it())
    assert [(0.0, "a"), (1.0, "b")] == calls.begun


def test_one_that_is_passed_over_is_no_hedge() -> None:
    """The next one is asked in its place; where there is none, the hedge is given back."""
    calls = Calls({"a": (9.0, "A"), "b": (0.0, Passed.OUT), "c": (0.1, "C")})
    assert "C" == run_virtually(calls.answer())
    assert not calls.budget.take()
    calls = Calls({"a": (9.0, "A"), "b": (0.0, Passed.FULL)})
    assert "A" == run_virtually(calls.answer())
    assert calls.budget.take()
    calls = Calls({"a": (9.0, "A")})
    assert "A" == run_virtually(calls.answer())
    assert calls.budget.take()


def test_a_place_is_waited_for_only_when_nobody_else_is_left() -> None:
    """Once the others have failed, the one that was full is asked as soon as it has a place."""
    calls = Calls({"a": (0.5, Passed.FULL), "b": (0.5, Passed.FULL), "c": (0.1, ProviderFailed("no"))})
    assert calls.limiters["a"].try_place() is not None
    assert "B" == run_virtually(calls.answer())
    assert [(0.0, "c"), (0.1, "b")] == calls.begun


@pytest.mark.parametrize("end", [ProviderRefused("no such thing"), LedgerDown("spending cannot be recorded")])
def test_a_call_that_is_under_way_is_waited_for_when_another_ends_the_question(end: Exception) -> None:
    """It is paid for: nobody else is asked, and its answer counts; without one the question ends as it would have."""
    calls = Calls({"a": (9.0, "A"), "b": (0.5, end), "c": (0.1, "C")})
    assert "A" == run_virtually(calls.answer())
    assert [(0.0, "a"), (1.0, "b")] == calls.begun
    calls = Calls({"a": (9.0, ProviderFailed("late")), "b": (0.5, end), "c": (0.1, "C")})
    with pytest.raises((NoAnswer, LedgerDown), match=str(end)) as ended:
        run_virtually(calls.answer())
    assert [(0.0, "a"), (1.0, "b")] == calls.begun
    assert "b" == getattr(ended.value, "deployment", "b")


@pytest.mark.parametrize("end", [ProviderRefused("no such thing"), LedgerDown("spending cannot be recorded")])
def test_of_two_that_end_at_once_the_answer_counts(end: Exception) -> None:
    """Whichever of them is looked at first."""
    for ends in ((1.5, end), (0.5, "B")), ((1.5, "A"), (0.5, end)):
        assert run_virtually(Calls(dict(zip("ab", ends, strict=True))).answer()) in "AB"


def test_one_that_cannot_be_paid_beside_another_has_its_turn_when_that_has_failed() -> None:
    """The money comes back with the failure: a hedged question finds whoever an unhedged one finds."""
    calls = Calls({"a": (2.0, ProviderFailed("no")), "b": (0.1, "B"), "c": (0.1, "C")}, dear={"b", "c"})
    assert "B" == run_virtually(calls.answer())
    assert [(0.0, "a"), (2.0, "b")] == calls.begun
    assert calls.budget.take()
    calls = Calls({"a": (2.0, ProviderFailed("no")), "b": (0.0, Passed.UNAFFORDABLE), "c": (0.1, "C")})
    assert "C" == run_virtually(calls.answer())


def test_nobody_who_answers_is_no_answer() -> None:
    """The last failure is what is told; with nobody to ask there is none."""
    calls = Calls({"a": (0.1, ProviderFailed("a")), "b": (0.1, ProviderFailed("b"))})
    with pytest.raises(NoAnswer, match="b"):
        run_virtually(calls.answer())
    with pytest.raises(NoAnswer, match="None"):
        run_virtually(Calls({}).answer())


def test_a_gateway_that_stops_ends_all_calls_before_it_goes_on() -> None:
    """None of them is left behind: each has had its time to put on hold what it has reserved."""
    calls = Calls({"a": (9.0, "A"), "b": (9.0, "B")})

    async def all_of_it() -> None:
        task = asyncio.create_task(calls.answer())
        await asyncio.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtually(all_of_it())
    assert ["a", "b"] == sorted(calls.cut)


def test_hedges_are_a_twentieth_of_the_questions_and_one() -> None:
    """However slow everything is."""
    budget, hedges = HedgeBudget(), 0
    for question in range(1, 1001):
        budget.asked()
        hedges += budget.take()
        assert hedges <= 1 + 0.05 * question
    assert 51 == hedges


def test_hedges_are_saved_up_to_ten() -> None:
    """A long time without any is no reason for a flood of them; and none may be allowed at all."""
    budget = HedgeBudget()
    for _ in range(10_000):
        budget.asked()
    assert 10 == sum(budget.take() for _ in range(100))
    none = HedgeBudget(percent=0)
    none.asked()
    assert not none.take()
