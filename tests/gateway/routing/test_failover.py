"""One candidate after another until one answers, under one deadline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from gateway.accounting.pricing import Terms
from gateway.problems import LedgerDown, Overloaded
from gateway.routing.again import Failed
from gateway.routing.concurrency import Bounds, Limiters, Place
from gateway.routing.failover import NoAnswer, Passed, first_answer
from gateway.routing.ranking import Candidate
from providers.contract import (
    Deadline,
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
    ProviderUnreachable,
)
from tests.gateway.routing.offers import offer, price

ANSWER = "answer"


@dataclass
class Attempts:
    """Candidates that end as they are told, after as many seconds as they are told, by a hand-wound clock."""

    ends: dict[str, str | Exception | Passed]
    then: dict[str, str | Exception | Passed] = field(default_factory=dict)
    """How those end that are asked again; nobody else is."""
    seconds: dict[str, float] = field(default_factory=dict)
    now: float = 0.0
    asked: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    limiters: Limiters = field(default_factory=lambda: Limiters({name: Bounds(1) for name in "abcd"}, lambda: 0.0))
    waited: list[list[str]] = field(default_factory=list)

    async def places(self, names: Sequence[str], deadline: Deadline) -> Place:
        """Wait for a place; the first of them has one by now."""
        self.waited.append(list(names))
        return await self.limiters.place(names, "acme", deadline)

    async def again(self, failed: Sequence[Failed]) -> Candidate | None:
        """Say that the first one may be asked again that is to be."""
        return next((each.candidate for each in failed if each.candidate.name in self.then), None)

    async def __call__(self, candidate: Candidate, deadline: Deadline, /, *, place: Place | None) -> str | Passed:
        """Make one attempt; whoever has waited for a place has one."""
        self.asked.append(candidate.name)
        self.shares.append(deadline.remaining())
        self.now += min(self.seconds.get(candidate.name, 0.0), deadline.remaining())
        end = self.ends[candidate.name]
        if self.asked.count(candidate.name) > 1:
            end = self.then.get(candidate.name, end)
        if place is not None:
            place.succeeded()
            return ANSWER
        if isinstance(end, Exception):
            raise end
        return end

    async def answer(self, *, seconds: float = 30.0, max_attempts: int = 3) -> str:
        """Ask all of them."""
        candidates = [Candidate(offer(name), Terms(price(name, 5000))) for name in self.ends]
        deadline = Deadline.after(seconds, lambda: self.now)
        return await first_answer(
            candidates, self, self.places, self.again, deadline=deadline, max_attempts=max_attempts
        )


@pytest.mark.parametrize(
    "error", [ProviderDenied, ProviderOverloaded, ProviderUnreachable, ProviderUnanswered, ProviderFailed]
)
async def test_an_error_that_another_could_cure_goes_to_the_next(error: type[ProviderError]) -> None:
    """The second is asked and the third is not."""
    attempts = Attempts({"a": error("no"), "b": ANSWER, "c": ANSWER})
    assert ANSWER == await attempts.answer()
    assert ["a", "b"] == attempts.asked


async def test_a_refusal_ends_it() -> None:
    """What is the request's own fault is not asked of anybody else."""
    refusal = ProviderRefused("no such thing")
    attempts = Attempts({"a": ProviderFailed("no"), "b": refusal, "c": ANSWER})
    with pytest.raises(NoAnswer) as ended:
        await attempts.answer()
    assert (["a", "b"], refusal) == (attempts.asked, ended.value.last)


@pytest.mark.parametrize(
    ("make", "asked"),
    [
        (lambda: ProviderRefused("its own limit", elsewhere=True), ["a", "b"]),
        (lambda: ProviderFailed("the request's fault", elsewhere=False), ["a"]),
    ],
)
async def test_the_error_itself_says_whether_another_could_cure_it(
    make: Callable[[], ProviderError], asked: list[str]
) -> None:
    """The attribute of the instance decides, and never its type."""
    attempts = Attempts({"a": make(), "b": ProviderRefused("no")})
    with pytest.raises(NoAnswer):
        await attempts.answer()
    assert asked == attempts.asked


@pytest.mark.parametrize(("most", "asked"), [(1, "a"), (2, "ab"), (3, "abc"), (9, "abcd")])
async def test_no_more_calls_are_made_than_were_allowed(most: int, asked: str) -> None:
    """The first call counts, and the last failure is what is told."""
    attempts = Attempts({name: ProviderFailed(name) for name in "abcd"})
    with pytest.raises(NoAnswer) as ended:
        await attempts.answer(max_attempts=most)
    assert (list(asked), asked[-1]) == (attempts.asked, str(ended.value.last))


async def test_a_candidate_that_was_not_called_costs_no_attempt() -> None:
    """Where a breaker opened meanwhile, the next one is asked in its place."""
    attempts = Attempts({"a": Passed.OUT, "b": ProviderFailed("no"), "c": Passed.OUT, "d": ANSWER})
    assert ANSWER == await attempts.answer(max_attempts=2)
    assert ["a", "b", "c", "d"] == attempts.asked


@pytest.mark.parametrize("ends", [{}, {"a": Passed.OUT, "b": Passed.OUT}])
async def test_where_nobody_was_called_there_is_no_last_failure(ends: dict[str, Passed]) -> None:
    """Whoever reads it knows that nothing was spent."""
    attempts = Attempts(dict(ends))
    with pytest.raises(NoAnswer) as ended:
        await attempts.answer()
    assert ended.value.last is None


async def test_one_that_hangs_leaves_time_for_the_next() -> None:
    """Each gets a fair part of what is left, and what one does not use is the next one's."""
    failed = ProviderUnanswered("no")
    attempts = Attempts({"a": failed, "b": failed, "c": failed}, seconds={"a": 100.0, "b": 2.0, "c": 100.0})
    with pytest.raises(NoAnswer):
        await attempts.answer(seconds=30)
    assert [10.0, 10.0, 18.0] == attempts.shares
    assert 30.0 == attempts.now


async def test_time_is_shared_among_the_attempts_that_are_left() -> None:
    """With two attempts allowed, ten candidates do not make each one's part a tenth."""
    attempts = Attempts({name: ProviderFailed("no") for name in "abcdefghij"})
    with pytest.raises(NoAnswer):
        await attempts.answer(seconds=30, max_attempts=2)
    assert [15.0, 30.0] == attempts.shares


async def test_a_last_candidate_has_all_the_time_that_is_left() -> None:
    """Three attempts of one candidate are one step."""
    attempts = Attempts({"a": ANSWER})
    await attempts.answer(seconds=30)
    assert [30.0] == attempts.shares


async def test_nobody_is_asked_when_the_time_is_over() -> None:
    """A deadline that has passed ends it before the first call, and between two."""
    attempts = Attempts({"a": ANSWER})
    with pytest.raises(NoAnswer) as ended:
        await attempts.answer(seconds=0)
    assert ([], None) == (attempts.asked, ended.value.last)
    late = ProviderUnanswered("late")
    attempts = Attempts({"a": late, "b": ANSWER})

    async def overrunning(candidate: Candidate, deadline: Deadline, /, *, place: Place | None) -> str | Passed:
        attempts.now = 31.0
        return await attempts(candidate, deadline, place=place)

    candidates = [Candidate(offer(name), Terms(price(name, 1))) for name in "ab"]
    deadline = Deadline.after(30, lambda: attempts.now)
    with pytest.raises(NoAnswer) as ended:
        await first_answer(candidates, overrunning, attempts.places, attempts.again, deadline=deadline, max_attempts=3)
    assert (["a"], late) == (attempts.asked, ended.value.last)


async def test_one_that_failed_is_asked_again_when_nobody_else_is_left() -> None:
    """Everybody has been asked before."""
    attempts = Attempts({"a": ProviderFailed("no"), "b": ProviderFailed("neither")}, then={"a": ANSWER})
    assert ANSWER == await attempts.answer()
    assert ["a", "b", "a"] == attempts.asked


async def test_calls_at_the_same_place_are_attempts_like_others() -> None:
    """They count among the most that are allowed, and the last failure is what is told."""
    attempts = Attempts({"a": ProviderFailed("first")}, then={"a": ProviderFailed("again")})
    with pytest.raises(NoAnswer, match="again"):
        await attempts.answer(max_attempts=3)
    assert ["a", "a", "a"] == attempts.asked
    attempts = Attempts({"a": ProviderFailed("no"), "b": ProviderFailed("no")}, then={"a": ANSWER})
    with pytest.raises(NoAnswer):
        await attempts.answer(max_attempts=2)
    assert ["a", "b"] == attempts.asked


@pytest.mark.parametrize(("again", "asked"), [(Passed.OUT, ["a", "a"]), (Passed.FULL, ["a", "a", "a"])])
async def test_one_that_cannot_be_called_again_is_left_or_waited_for(again: Passed, asked: list[str]) -> None:
    """A breaker that opened meanwhile ends it; a place is waited for as at first."""
    attempts = Attempts({"a": ProviderFailed("no")}, then={"a": again})
    if again is Passed.OUT:
        with pytest.raises(NoAnswer):
            await attempts.answer()
    else:
        assert ANSWER == await attempts.answer()
    assert asked == attempts.asked


async def test_what_is_not_a_provider_s_failure_ends_it_at_once() -> None:
    """Where spending cannot be recorded nobody else is asked either."""
    attempts = Attempts({"a": LedgerDown("spending cannot be recorded"), "b": ANSWER})
    with pytest.raises(LedgerDown):
        await attempts.answer()
    assert ["a"] == attempts.asked


async def test_one_that_is_full_is_passed_over_while_another_has_a_place() -> None:
    """No place is waited for while another candidate is free."""
    attempts = Attempts({"a": Passed.FULL, "b": ANSWER})
    assert ANSWER == await attempts.answer()
    assert (["a", "b"], []) == (attempts.asked, attempts.waited)


async def test_when_nobody_else_is_left_a_place_is_waited_for_wherever_one_comes_free() -> None:
    """At all of those that were full, once the others have failed or are out."""
    attempts = Attempts({"a": Passed.OUT, "b": Passed.FULL, "c": ProviderFailed("no"), "d": Passed.FULL})
    assert ANSWER == await attempts.answer()
    assert (["a", "b", "c", "d", "b"], [["b", "d"]]) == (attempts.asked, attempts.waited)


async def test_where_there_will_be_no_place_in_time_the_caller_is_told() -> None:
    """As a problem of ours when nobody was asked, and otherwise as the failure of who was."""
    attempts = Attempts({"a": Passed.FULL, "b": Passed.FULL})
    taken = [attempts.limiters[name].try_place() for name in "ab"]
    with pytest.raises(Overloaded, match="every deployment that could answer is busy"):
        await attempts.answer(seconds=0.05)
    attempts.ends["b"] = ProviderFailed("no")
    with pytest.raises(NoAnswer) as ended:
        await attempts.answer(seconds=0.05)
    assert attempts.ends["b"] is ended.value.last
    assert all(place is not None for place in taken)


async def test_no_place_is_waited_for_without_an_attempt_left() -> None:
    """One call was allowed, and one was made."""
    attempts = Attempts({"a": Passed.FULL, "b": ProviderFailed("no")})
    with pytest.raises(NoAnswer):
        await attempts.answer(max_attempts=1)
    assert [] == attempts.waited
