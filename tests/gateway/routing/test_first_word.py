"""What a free probe may decide, under a clock that is wound by hand."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from gateway.routing.first_word import BELIEVED_FAILURES, FREE_PROBE_SECONDS, LATE_SECONDS
from gateway.routing.health import BreakerState, Call, Cause, Change, FreeCall, Health, HealthTable, early_views
from gateway.routing.words import own_words
from providers.contract import (
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnreachable,
)

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


@dataclass
class Clock:
    """A clock that is wound by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the seconds it shows."""
        return self.now


class Least(random.Random):
    """Chance at its lower end."""

    def random(self) -> float:
        """Return the least there is."""
        return 0.0


@pytest.fixture
def clock() -> Clock:
    """A clock at some moment."""
    return Clock()


@pytest.fixture
def told() -> list[Change]:
    """What the breaker has told."""
    return []


@pytest.fixture
def table(clock: Clock, told: list[Change]) -> HealthTable:
    """Return one deployment that can be asked something free, whose ejections last exactly 30 s x n."""
    table = HealthTable(["it"], clock, Least(), tell=told.append)
    table.offer_free_probes(["it"])
    return table


@pytest.fixture
def health(table: HealthTable) -> Health:
    """Return its health, closed."""
    return table["it"]


def let(health: Health) -> Call:
    """Begin a call that has to be let through."""
    call = health.begin()
    assert call is not None
    return call


def ask(health: Health) -> FreeCall:
    """Begin a free probe that has to be let through."""
    call = health.begin_free()
    assert call is not None
    return call


def eject(health: Health, error: ProviderError | None = None) -> None:
    """Have five calls fail."""
    for _ in range(5):
        let(health).failed(error or ProviderFailed("it broke"))


def stands(health: Health) -> tuple[BreakerState, Cause | None, float]:
    """Return the state, the cause and the wait."""
    view = health.view()
    return view.state, view.cause, view.retry_after_seconds


def test_nothing_is_asked_before_an_ejection_has_run_out(health: Health, clock: Clock) -> None:
    """Neither of one that is closed nor of one whose time has not come."""
    assert health.begin_free() is None
    eject(health)
    clock.now += 29.9
    assert health.begin_free() is None


def test_real_traffic_waits_for_the_free_probe(health: Health, clock: Clock) -> None:
    """From the ejection's end until the free probe's nobody is let through, and there is one free probe at a time."""
    eject(health)
    clock.now += 30
    assert (OPEN, Cause.FAILING, 1.0) == stands(health)
    assert health.begin() is None
    ask(health)
    assert (OPEN, Cause.FAILING, 1.0) == stands(health)
    assert (None, None) == (health.begin(), health.begin_free())
    assert 0 == health.view().in_flight


def test_one_that_passed_leaves_the_rest_to_one_real_call(health: Health, clock: Clock) -> None:
    """A service that is up may fail at what it is for: it is half open, and only a call's success closes it."""
    eject(health)
    clock.now += 30
    ask(health).passed()
    assert (HALF_OPEN, Cause.FAILING, 0.0) == stands(health)
    assert "it failed; a free probe has passed since, and one call is to find out" == health.view().reason
    call = let(health)
    assert (None, None) == (health.begin(), health.begin_free())
    call.succeeded()
    assert (CLOSED, None, 0.0) == stands(health)


def test_a_call_that_fails_after_it_ejects_for_longer(health: Health, clock: Clock) -> None:
    """A free answer counts for nothing against the call's."""
    eject(health)
    clock.now += 30
    ask(health).passed()
    let(health).failed(ProviderFailed("it broke again"))
    assert (OPEN, Cause.FAILING, 60.0) == stands(health)
    assert "it failed" == health.view().reason


@pytest.mark.parametrize(
    ("error", "cause"),
    [(ProviderUnreachable("no connection"), Cause.FAILING), (ProviderDenied("401"), Cause.DENIED)],
)
def test_one_that_failed_ejects_as_a_probe_that_failed(
    health: Health, clock: Clock, told: list[Change], error: ProviderError, cause: Cause
) -> None:
    """For longer each time, with the free probe named as the reason; and everybody who wants to know is told."""
    eject(health)
    clock.now += 30
    ask(health).failed(error)
    assert (OPEN, cause, 60.0) == stands(health)
    assert f"a free probe failed: {own_words(error)}" == health.view().reason
    assert Change("it", cause, f"a free probe failed: {own_words(error)}", 60.0) == told[-1]
    clock.now += 60
    ask(health).failed(error)
    assert (OPEN, cause, 90.0) == stands(health)


def test_one_that_is_told_to_wait_waits(health: Health, clock: Clock) -> None:
    """An upstream that has too many requests of this kind too is left alone as long as it asks, and then called."""
    eject(health)
    clock.now += 30
    ask(health).failed(ProviderOverloaded("429", retry_after_seconds=7.0))
    assert (OPEN, Cause.OVERLOADED, 7.0) == stands(health)
    clock.now += 7
    assert health.begin_free() is None
    assert (HALF_OPEN, Cause.OVERLOADED, 0.0) == stands(health)


def test_a_refusal_says_nothing_against_it(health: Health, clock: Clock) -> None:
    """Where such a question is not answered, a real call finds out at once."""
    eject(health)
    clock.now += 30
    ask(health).failed(ProviderRefused("404"))
    assert (HALF_OPEN, Cause.FAILING, 0.0) == stands(health)


def test_three_failures_are_believed_and_then_a_call_decides(health: Health, clock: Clock) -> None:
    """Nothing is out for ever because a free question is answered badly."""
    eject(health)
    for number in range(1, BELIEVED_FAILURES + 1):
        clock.now += 30.0 * number
        ask(health).failed(ProviderFailed("500"))
    clock.now += 30.0 * (BELIEVED_FAILURES + 1)
    assert health.begin_free() is None
    assert HALF_OPEN is health.view().state
    call = let(health)
    assert health.begin_free() is None
    call.failed(ProviderFailed("it broke"))
    clock.now += 30.0 * (BELIEVED_FAILURES + 2)
    ask(health).passed()
    let(health).succeeded()
    assert CLOSED is health.view().state


def test_once_a_call_has_succeeded_free_probes_are_believed_again(health: Health, clock: Clock) -> None:
    """What was held against it before it closed does not count at the next ejection."""
    eject(health)
    for number in range(1, BELIEVED_FAILURES + 1):
        clock.now += 30.0 * number
        ask(health).failed(ProviderFailed("500"))
    clock.now += 30.0 * (BELIEVED_FAILURES + 1)
    let(health).succeeded()
    eject(health)
    clock.now += 30.0 * (BELIEVED_FAILURES + 2)
    ask(health)


def test_one_that_closed_before_its_time_is_awaited_no_more(clock: Clock) -> None:
    """A short pause after that lasts as long as was asked, and no free probe is waited for at its end."""
    health = Health(clock, Least())
    health.offer_free_probe(offered=True)
    eject(health)
    clock.now += 6
    early = health.begin(early=True)
    assert early is not None
    early.succeeded()
    let(health).failed(ProviderOverloaded("429", retry_after_seconds=2.0))
    clock.now += 2
    assert (HALF_OPEN, None) == (health.view().state, health.begin_free())


def test_nobody_waits_for_one_that_does_not_begin(health: Health, clock: Clock) -> None:
    """A second after the ejection's end real traffic goes, and no free probe begins beside it."""
    eject(health)
    clock.now += 30 + LATE_SECONDS
    assert (HALF_OPEN, Cause.FAILING, 0.0) == stands(health)
    assert health.begin_free() is None
    let(health).succeeded()
    assert CLOSED is health.view().state


def test_nobody_waits_for_one_that_does_not_end(health: Health, clock: Clock) -> None:
    """Once it is overdue real traffic goes, and what comes of it later changes nothing."""
    eject(health)
    clock.now += 30
    free = ask(health)
    clock.now += FREE_PROBE_SECONDS + LATE_SECONDS
    call = let(health)
    free.failed(ProviderFailed("at last"))
    assert "it failed" == health.view().reason
    call.succeeded()
    free.failed(ProviderFailed("once more"))
    assert CLOSED is health.view().state


def test_the_end_of_an_earlier_one_is_not_taken_for_that_of_a_later_one(health: Health, clock: Clock) -> None:
    """One that was given up for late says nothing about the ejection after it."""
    eject(health)
    clock.now += 30
    late = ask(health)
    clock.now += FREE_PROBE_SECONDS + LATE_SECONDS
    let(health).failed(ProviderFailed("it broke"))
    clock.now += 60
    ask(health)
    late.passed()
    assert OPEN is health.view().state
    assert health.begin() is None


def test_too_many_requests_are_no_question_for_it(health: Health, clock: Clock) -> None:
    """Whoever has asked to be left alone has been reached: afterwards a call finds out."""
    let(health).failed(ProviderOverloaded("429", retry_after_seconds=2.0))
    clock.now += 2
    assert health.begin_free() is None
    assert HALF_OPEN is health.view().state


def test_a_drained_one_is_not_asked(health: Health, clock: Clock) -> None:
    """Nobody wants to know; once it is back, what would be asked is late, and a call finds out."""
    eject(health)
    clock.now += 30
    health.drain("by hand")
    assert health.begin_free() is None
    clock.now += LATE_SECONDS
    health.drain(None)
    assert health.begin_free() is None
    assert HALF_OPEN is health.view().state


def test_one_that_is_out_by_hearsay_is_not_asked(health: Health) -> None:
    """A hint opens no breaker, so there is no ejection to run out."""
    health.hint_open(300)
    assert health.begin_free() is None
    assert CLOSED is health.view().state


def test_word_that_it_is_well_comes_before_a_free_probe(health: Health, clock: Clock) -> None:
    """Another replica's call has had an answer: a call here may find out, without a free question before it."""
    eject(health)
    health.hint_closed()
    assert health.begin_free() is None
    assert HALF_OPEN is health.view().state


def test_word_that_it_is_well_waits_for_a_free_probe_under_way(health: Health, clock: Clock) -> None:
    """Two are never under way together."""
    eject(health)
    clock.now += 30
    free = ask(health)
    health.hint_closed()
    assert (None, None) == (health.begin(), health.begin_free())
    free.passed()
    let(health).succeeded()
    assert CLOSED is health.view().state


def test_when_most_are_out_a_call_and_a_free_probe_wait_for_each_other(clock: Clock) -> None:
    """A call before its time is not made beside a free probe, nor the other way round."""
    table = HealthTable(["it", "other"], clock, Least())
    table.offer_free_probes(["it", "other"])
    for name in table.names:
        eject(table[name])
    clock.now += 30
    early = table["it"].begin(early=True)
    assert early is not None
    assert table["it"].begin_free() is None
    ask(table["other"])
    assert table["other"].begin(early=True) is None
    assert OPEN is early_views(table.views(), table.names)["other"].state
    early.failed(ProviderFailed("it broke"))
    assert (OPEN, Cause.FAILING, 60.0) == stands(table["it"])


def test_without_one_real_traffic_has_the_first_word(clock: Clock) -> None:
    """A deployment that nothing free can be asked of is half open as soon as its ejection has run out."""
    health = Health(clock, Least())
    eject(health)
    clock.now += 30
    assert health.begin_free() is None
    assert HALF_OPEN is health.view().state


def test_a_changed_configuration_says_anew_who_can_be_asked(table: HealthTable, clock: Clock) -> None:
    """Who can be asked holds for the ejections from then on, for those that stay and those that are new."""
    eject(table["it"])
    clock.now += 30
    renewed = table.renewed(["it", "new"])
    renewed.offer_free_probes(["new"])
    ask(renewed["it"]).failed(ProviderFailed("500"))
    eject(renewed["new"])
    clock.now += 30
    ask(renewed["new"])
    clock.now += 30
    assert (None, HALF_OPEN) == (renewed["it"].begin_free(), renewed["it"].view().state)
