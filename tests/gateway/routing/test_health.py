"""The breaker under a clock that is wound by hand."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from gateway.routing.health import BreakerState, Call, Cause, Change, Health, HealthTable, HealthView, early_views
from gateway.routing.words import own_words
from providers.contract import (
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
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


class Most(random.Random):
    """Chance at its upper end."""

    def random(self) -> float:
        """Return the most there is."""
        return 1.0 - 2**-53


@pytest.fixture
def clock() -> Clock:
    """A clock at some moment."""
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    """A breaker that is closed, and opens for exactly 30 s x n."""
    return Health(clock, Least())


def let(health: Health) -> Call:
    """Begin a call that has to be let through."""
    call = health.begin()
    assert call is not None
    return call


def fail(health: Health, times: int = 1, error: ProviderError | None = None) -> None:
    """Make that many calls, one after another, that fail."""
    for _ in range(times):
        let(health).failed(error or ProviderFailed("it broke"))


def stands(health: Health) -> tuple[BreakerState, str | None, float, int]:
    """Return the state, the reason, the wait and the calls under way."""
    view = health.view()
    return view.state, view.reason, view.retry_after_seconds, view.in_flight


def test_it_begins_closed(health: Health) -> None:
    """A deployment that nobody has asked may be asked."""
    assert HealthView(CLOSED, None, 0.0, 0) == health.view()


@pytest.mark.parametrize("error", [ProviderFailed, ProviderUnanswered, ProviderUnreachable])
def test_five_failures_in_a_row_open_it(health: Health, error: type[ProviderError]) -> None:
    """Four do not; how the fifth ended is the reason, in our own words, and nobody is let through."""
    fail(health, 4, error("one of four"))
    assert CLOSED is health.view().state
    fail(health, 1, error("the fifth", status=503))
    assert (OPEN, own_words(error("another", status=503)), 30.0, 0) == stands(health)
    assert health.begin() is None


def test_a_success_begins_the_count_anew(health: Health) -> None:
    """Failures that are not in a row do not open it."""
    for _ in range(3):
        fail(health, 4)
        let(health).succeeded()
    assert CLOSED is health.view().state


def test_a_refusal_counts_as_an_answer(health: Health) -> None:
    """Bad requests of callers close nothing down, however many there are."""
    fail(health, 4)
    fail(health, 50, ProviderRefused("no such thing"))
    fail(health, 4)
    assert CLOSED is health.view().state


def test_calls_side_by_side_count_as_they_end(health: Health) -> None:
    """Five that were under way together open it as five in a row do."""
    calls = [let(health) for _ in range(6)]
    assert 6 == health.view().in_flight
    for call in calls[:5]:
        call.failed(ProviderFailed("it broke"))
    assert (OPEN, 1) == (health.view().state, health.view().in_flight)


def test_a_denial_opens_it_at_once(health: Health) -> None:
    """A bad key or an empty account does not get better by asking four more times."""
    fail(health, 1, ProviderDenied("402: no credit"))
    assert (OPEN, "it denies access, which its operator has to see to", 30.0, 0) == stands(health)


@pytest.mark.parametrize(
    ("asked", "pause"), [(None, 1.0), (0.5, 0.5), (7.0, 7.0), (299.0, 299.0), (86_400.0, 300.0), (float("inf"), 300.0)]
)
def test_too_many_requests_pause_it_as_long_as_was_asked(
    health: Health, clock: Clock, asked: float | None, pause: float
) -> None:
    """`Retry-After` is obeyed, up to five minutes; without one it is left alone for a second. No chance is added."""
    fail(health, 1, ProviderOverloaded("429", retry_after_seconds=asked))
    assert (OPEN, "it has too much to do", pause, 0) == stands(health)
    clock.now += pause
    assert (HALF_OPEN, "it has too much to do", 0.0, 0) == stands(health)
    let(health).succeeded()
    assert CLOSED is health.view().state


def test_a_pause_is_no_ejection(health: Health, clock: Clock) -> None:
    """However often it says "too many", the next failure opens it for 30 s and not for longer."""
    for _ in range(9):
        fail(health, 1, ProviderOverloaded("429", retry_after_seconds=2.0))
        clock.now += 2.0
    fail(health, 1)
    assert 30.0 == health.view().retry_after_seconds


def test_of_two_pauses_the_later_end_holds(health: Health) -> None:
    """A second "too many" with a shorter wait does not let anybody in earlier."""
    first, second = let(health), let(health)
    first.failed(ProviderOverloaded("429", retry_after_seconds=20.0))
    second.failed(ProviderOverloaded("429", retry_after_seconds=3.0))
    assert 20.0 == health.view().retry_after_seconds


def test_each_time_in_a_row_it_opens_for_thirty_seconds_more(health: Health, clock: Clock) -> None:
    """30 s, 60 s, and so on, up to 300 s."""
    fail(health, 4)
    waits = []
    for _ in range(13):
        fail(health)
        waits.append(health.view().retry_after_seconds)
        clock.now += waits[-1]
    assert [30.0, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300, 300] == waits


@pytest.mark.parametrize(("minutes", "wait"), [(0.0, 90.0), (0.99, 90.0), (1.0, 60.0), (2.0, 30.0), (60.0, 30.0)])
def test_each_good_minute_forgives_one_time(health: Health, clock: Clock, minutes: float, wait: float) -> None:
    """One that comes back and fails again is left alone for longer; after as many good minutes as times, for 30 s."""
    fail(health, 5)
    clock.now += 30
    fail(health)
    clock.now += 60
    let(health).succeeded()
    clock.now += 60 * minutes
    fail(health, 5)
    assert wait == health.view().retry_after_seconds


@pytest.mark.parametrize(("chance", "factor"), [(Least(), 1.0), (Most(), 1.1)])
def test_chance_adds_a_tenth_at_most(clock: Clock, chance: random.Random, factor: float) -> None:
    """Replicas that saw the same failure do not all come back in the same moment."""
    health = Health(clock, chance)
    fail(health, 4)
    for times in (1, 2, 3):
        fail(health)
        assert pytest.approx(30 * times * factor) == health.view().retry_after_seconds
        clock.now += health.view().retry_after_seconds


def test_one_probe_is_let_through_and_decides(health: Health, clock: Clock) -> None:
    """While it is under way nobody else is; its success closes the breaker."""
    fail(health, 5)
    clock.now += 29.999
    assert health.begin() is None
    clock.now = 1030.0
    assert HALF_OPEN is health.view().state
    probe = let(health)
    assert (OPEN, "it failed", 1.0, 1) == stands(health)
    assert [None, None] == [health.begin(), health.begin()]
    probe.succeeded()
    assert (CLOSED, None, 0.0, 0) == stands(health)


@pytest.mark.parametrize("error", [ProviderFailed, ProviderUnreachable, ProviderDenied, ProviderUnanswered])
def test_a_probe_that_fails_opens_it_again(health: Health, clock: Clock, error: type[ProviderError]) -> None:
    """One failure is enough, and the wait is longer."""
    fail(health, 5)
    clock.now += 30
    fail(health, 1, error("still down"))
    assert (OPEN, own_words(error("x")), 60.0, 0) == stands(health)


def test_a_probe_that_is_refused_closes_it(health: Health, clock: Clock) -> None:
    """It answered; that the request was bad is not its fault."""
    fail(health, 5)
    clock.now += 30
    fail(health, 1, ProviderRefused("no such thing"))
    assert CLOSED is health.view().state


def test_a_probe_that_is_abandoned_frees_its_place(health: Health, clock: Clock) -> None:
    """A caller's hanging up neither closes nor opens it, and the next call is the probe."""
    fail(health, 5)
    clock.now += 30
    let(health).abandoned()
    assert (HALF_OPEN, "it failed", 0.0, 0) == stands(health)
    let(health).succeeded()
    assert CLOSED is health.view().state


def test_an_abandoned_call_says_nothing(health: Health) -> None:
    """It neither counts as a failure nor begins the count anew."""
    fail(health, 4)
    let(health).abandoned()
    fail(health)
    assert OPEN is health.view().state


def test_a_call_that_was_let_through_before_it_opened_may_not_be_made_any_more(health: Health, clock: Clock) -> None:
    """It is asked again at the moment of sending; a probe is its own, and once it is closed everybody may."""
    waiting, heard = let(health), [True]

    def hear() -> None:
        heard.append(waiting.may_be_made)

    let(health).failed(ProviderOverloaded("too many", retry_after_seconds=2))
    hear()
    clock.now += 2.1
    probe = let(health)
    hear()
    assert probe.may_be_made
    probe.succeeded()
    hear()
    health.drain("being moved")
    hear()
    assert [True, False, False, True, False] == heard


def test_a_probe_may_not_be_made_once_the_deployment_has_asked_to_be_left_alone(health: Health, clock: Clock) -> None:
    """A late 429 holds for a probe that waits for the ledger, and for whoever may come before the time."""
    earlier = [let(health), let(health)]
    fail(health, 5)
    clock.now += 10
    early = health.begin(early=True)
    assert early is not None
    heard = [early.may_be_made]
    earlier.pop().failed(ProviderOverloaded("too many", retry_after_seconds=60))
    heard.append(early.may_be_made)
    early.abandoned()
    clock.now += 61
    probe = let(health)
    heard.append(probe.may_be_made)
    earlier.pop().failed(ProviderOverloaded("too many", retry_after_seconds=5))
    heard.append(probe.may_be_made)
    assert [True, False, True, False] == heard
    probe.abandoned()
    clock.now += 6
    assert let(health).may_be_made


def test_one_of_many_that_are_let_through_to_a_slow_one_stops_when_it_asks_to_be_left_alone(health: Health) -> None:
    """Those that may be asked although they are unsteady may be until they say how long they are to be left alone."""
    earlier = let(health)
    for _ in range(10):
        let(health).succeeded()
        fail(health)
    assert OPEN is health.view().state
    waiting = health.begin(early=True)
    assert waiting is not None
    heard = [waiting.may_be_made]
    earlier.failed(ProviderOverloaded("too many", retry_after_seconds=60))
    assert [True, False] == [*heard, waiting.may_be_made]


def test_a_late_success_from_before_does_not_close_it(health: Health, clock: Clock) -> None:
    """What began while all was well proves nothing about now: the probe decides."""
    early, earlier = let(health), let(health)
    fail(health, 5)
    early.succeeded()
    assert OPEN is health.view().state
    clock.now += 30
    earlier.succeeded()
    assert HALF_OPEN is health.view().state


def test_a_late_success_from_before_does_not_begin_the_count_anew(health: Health, clock: Clock) -> None:
    """Closed again, it is judged by the calls that have begun since."""
    early = let(health)
    fail(health, 5)
    clock.now += 30
    let(health).succeeded()
    fail(health, 4)
    early.succeeded()
    fail(health)
    assert OPEN is health.view().state


def test_a_late_failure_from_before_does_not_open_it_for_longer(health: Health) -> None:
    """The failures of one outage are one outage."""
    calls = [let(health) for _ in range(50)]
    for call in calls:
        call.failed(ProviderFailed("it broke"))
    assert (OPEN, "it failed", 30.0, 0) == stands(health)


def test_a_late_failure_from_before_does_not_open_it_again(health: Health, clock: Clock) -> None:
    """Calls that hung through the whole outage and fail after it say nothing about afterwards."""
    calls = [let(health) for _ in range(50)]
    fail(health, 5)
    clock.now += 30
    let(health).succeeded()
    for call in calls:
        call.failed(ProviderUnanswered("out of time"))
    assert (CLOSED, None, 0.0, 0) == stands(health)


def test_a_late_call_to_wait_does_not_outlive_the_probe_s_success(health: Health, clock: Clock) -> None:
    """Once closed, the next pause is as long as it says, whatever was asked for before."""
    early = let(health)
    fail(health, 5)
    clock.now += 30
    probe = let(health)
    early.failed(ProviderOverloaded("429", retry_after_seconds=200.0))
    probe.succeeded()
    assert CLOSED is health.view().state
    fail(health, 1, ProviderOverloaded("429", retry_after_seconds=2.0))
    assert 2.0 == health.view().retry_after_seconds


def test_the_table_keeps_deployments_apart(clock: Clock) -> None:
    """What one does is not held against another."""
    table = HealthTable(["a", "b"], clock, Least())
    fail(table["a"], 5)
    assert {"a": OPEN, "b": CLOSED} == {name: view.state for name, view in table.views().items()}


def mix(health: Health, clock: Clock, outcomes: str) -> None:
    """Make calls half a second apart: `s` succeeds, `l` succeeds after 9 s, `f` fails."""
    for outcome in outcomes:
        clock.now += 0.5
        if outcome == "f":
            fail(health)
        else:
            let(health).succeeded(seconds=9.0 if outcome == "l" else 0.4)


def test_half_of_twenty_calls_that_fail_open_it(health: Health, clock: Clock) -> None:
    """They need not be in a row; the reason has the figures and the last failure's words."""
    mix(health, clock, "fs" * 9 + "s")
    assert CLOSED is health.view().state
    mix(health, clock, "f")
    view = health.view()
    assert (OPEN, Cause.UNSTEADY, 30.0, 20, 0.5) == (
        view.state, view.cause, view.retry_after_seconds, view.calls, view.error_rate
    )  # fmt: skip
    assert "10 of 20 calls within a minute failed; the last one: it failed" == view.reason


def test_less_than_half_leave_it_closed(health: Health, clock: Clock) -> None:
    """A third of the calls may fail for ever: the figures show it, and ranking goes by them."""
    mix(health, clock, "sfs" * 40)
    view = health.view()
    assert (CLOSED, 0) == (view.state, view.openings)
    assert pytest.approx(1 / 3, abs=0.02) == view.error_rate


def test_few_calls_prove_no_ratio(health: Health, clock: Clock) -> None:
    """Three of four that fail, in as many minutes, do not open it."""
    for _ in range(30):
        mix(health, clock, "fffs")
        clock.now += 60
    assert CLOSED is health.view().state


def test_what_failed_a_minute_ago_is_forgotten(health: Health, clock: Clock) -> None:
    """The figures are those of the last minute."""
    mix(health, clock, "fffs" * 4)
    assert (16, 0.75) == (health.view().calls, health.view().error_rate)
    clock.now += 60
    assert (0, 0.0) == (health.view().calls, health.view().error_rate)


def test_calls_longer_than_the_operator_says_open_it(clock: Clock) -> None:
    """Eight of ten, of at least twenty, are too many; it is left alone for ten seconds, and a quick probe closes it."""
    health = Health(clock, Least(), slow_seconds=3.0)
    mix(health, clock, "slll" + "l" * 15)
    assert (CLOSED, 18 / 19) == (health.view().state, health.view().slow_rate)
    mix(health, clock, "l")
    assert (OPEN, Cause.SLOW, 10.0) == (health.view().state, health.view().cause, health.view().retry_after_seconds)
    assert "19 of 20 calls within a minute were slow; the last one took 9 s" == health.view().reason
    clock.now += 10
    let(health).succeeded(seconds=0.4)
    assert (CLOSED, None, 0.0, 0) == stands(health)


def test_a_slow_probe_leaves_a_slow_one_open(clock: Clock) -> None:
    """That it answers was known; it has to answer in time."""
    health = Health(clock, Least(), slow_seconds=3.0)
    mix(health, clock, "l" * 20)
    clock.now += 10
    let(health).succeeded(seconds=9.0)
    assert (OPEN, "its calls are slow; the last one took 9 s", 20.0, 0) == stands(health)


def test_what_is_slow_is_learned(health: Health, clock: Clock) -> None:
    """Five times as long as the calls before is slow, where the operator says nothing."""
    mix(health, clock, "s" * 200)
    assert (CLOSED, 0.0) == (health.view().state, health.view().slow_rate)
    clock.now += 60
    mix(health, clock, "l" * 20)
    assert Cause.SLOW is health.view().cause


def test_one_that_was_always_slow_is_not(health: Health, clock: Clock) -> None:
    """What is usual for a deployment opens nothing, however long it takes."""
    mix(health, clock, "l" * 300)
    assert (CLOSED, 0.0) == (health.view().state, health.view().slow_rate)


def test_nobody_calls_milliseconds_slow(health: Health, clock: Clock) -> None:
    """Ten times as long as usual is still nothing, where that is less than a second."""
    for seconds in [0.004] * 100 + [0.04] * 100:
        clock.now += 0.1
        let(health).succeeded(seconds=seconds)
    assert (CLOSED, 0.0) == (health.view().state, health.view().slow_rate)


def test_it_is_said_since_when_and_how_often(health: Health, clock: Clock) -> None:
    """A probe that fails is no further opening: it was not well meanwhile."""
    fail(health, 5)
    clock.now += 30
    fail(health)
    clock.now += 5
    assert (35.0, 1) == (health.view().open_seconds, health.view().openings)
    clock.now += 60
    let(health).succeeded()
    assert (0.0, 1) == (health.view().open_seconds, health.view().openings)
    fail(health, 5)
    assert 2 == health.view().openings


def test_the_cause_is_kept(health: Health, clock: Clock) -> None:
    """A denial, a pause and failures are told apart; of two that overlap, whichever ends later holds."""
    late = let(health)
    fail(health, 1, ProviderOverloaded("429", retry_after_seconds=3.0))
    assert Cause.OVERLOADED is health.view().cause
    clock.now += 3
    fail(health, 1, ProviderDenied("402"))
    assert Cause.DENIED is health.view().cause
    late.failed(ProviderOverloaded("429", retry_after_seconds=3.0))
    assert (OPEN, "it denies access, which its operator has to see to", 30.0, 0) == stands(health)
    clock.now += 30
    fail(health)
    assert Cause.FAILING is health.view().cause


def test_a_drained_one_is_out_and_lets_its_calls_end(health: Health) -> None:
    """Nobody is let through, calls under way count on, and afterwards all is as it was."""
    call = let(health)
    health.drain("new account")
    assert (OPEN, "drained: new account", 60.0, 1) == stands(health)
    assert (Cause.DRAINED, None) == (health.view().cause, health.view().early_after_seconds)
    assert [None, None] == [health.begin(), health.begin(early=True)]
    call.succeeded()
    assert 0 == health.view().in_flight
    health.drain(None)
    assert (CLOSED, None, 0.0, 0) == stands(health)


def test_draining_leaves_the_breaker_as_it_is(health: Health, clock: Clock) -> None:
    """One that was open before it was drained is open after it is resumed, for the rest of its time."""
    fail(health, 5)
    health.drain("while at it")
    clock.now += 20
    health.drain(None)
    assert (OPEN, "it failed", 10.0, 0) == stands(health)


def test_a_hint_only_shows(health: Health, clock: Clock) -> None:
    """Another replica's finding keeps nobody out, and a success of our own outdoes it."""
    health.hint_open(40.0)
    assert (True, CLOSED) == (health.view().hinted, health.view().state)
    clock.now += 39.9
    assert health.view().hinted
    clock.now += 0.1
    assert not health.view().hinted
    health.hint_open(40.0)
    let(health).succeeded()
    assert not health.view().hinted


def test_a_hint_that_it_is_well_lets_a_probe_find_out(clock: Clock) -> None:
    """Within a second one call is let through, and that one decides."""
    health = Health(clock, Most())
    fail(health, 5)
    health.hint_closed()
    assert OPEN is health.view().state
    clock.now += 1
    probe = let(health)
    assert health.begin() is None
    probe.failed(ProviderFailed("not here"))
    assert pytest.approx(66.0) == health.view().retry_after_seconds


@pytest.mark.parametrize("error", [ProviderDenied("402"), ProviderOverloaded("429", retry_after_seconds=30.0)])
def test_a_hint_changes_nothing_certain(health: Health, clock: Clock, error: ProviderError) -> None:
    """A denial and a `Retry-After` hold, whatever others have seen."""
    fail(health, 1, error)
    health.hint_closed()
    clock.now += 29
    assert (OPEN, own_words(error), 1.0, 0) == stands(health)


def test_the_table_tells_what_changes(clock: Clock) -> None:
    """Opening, staying open for longer and closing are told, each once, with the cause; other outcomes are not."""
    told: list[Change] = []
    table = HealthTable(["a", "b"], clock, Least(), tell=told.append)
    fail(table["a"], 4)
    let(table["b"]).succeeded()
    assert [] == told
    late = let(table["a"])
    fail(table["a"])
    late.failed(ProviderFailed("late"))
    clock.now += 30
    fail(table["a"])
    clock.now += 60
    let(table["a"]).succeeded()
    let(table["a"]).succeeded()
    assert [
        Change("a", Cause.FAILING, "it failed", 30.0),
        Change("a", Cause.FAILING, "it failed", 60.0),
        Change("a", None, None, 0.0),
    ] == told


def test_of_many_that_are_told_to_wait_one_is_news(clock: Clock) -> None:
    """Fifty calls that end with a 429 within a moment are told once, and one that asks for much longer is told too."""
    told: list[Change] = []
    table = HealthTable(["a"], clock, Least(), tell=told.append)
    calls = [let(table["a"]) for _ in range(51)]
    for call in calls[:50]:
        clock.now += 0.001
        call.failed(ProviderOverloaded("429", retry_after_seconds=2.0))
    calls[50].failed(ProviderOverloaded("429", retry_after_seconds=20.0))
    assert [2.0, 20.0] == [change.seconds for change in told]


def test_a_renewed_table_shares_the_health_of_those_that_stay(clock: Clock) -> None:
    """Who stays keeps its breaker and its calls; who is new, or another one by now, begins closed; draining holds."""
    table = HealthTable(["stays", "goes", "changes"], clock, Least())
    for name in table.names:
        fail(table[name], 5)
    table.drain({"new": "not yet"})
    renewed = table.renewed(["new", "stays", "changes"], afresh=["changes"], slow_seconds={"stays": 3.0})
    assert ("new", "stays", "changes") == renewed.names
    assert {"new": Cause.DRAINED, "stays": Cause.FAILING, "changes": None} == {
        name: view.cause for name, view in renewed.views().items()
    }
    clock.now += 30
    let(table["stays"]).succeeded()
    assert CLOSED is renewed["stays"].view().state
    mix(renewed["stays"], clock, "l" * 19)
    assert Cause.SLOW is table["stays"].view().cause


def views(**causes: str) -> dict[str, HealthView]:
    """Return views by name, each out for a cause, or `well`."""
    early = {"failing": 2.0, "unsteady": 0.0, "slow": 0.0}
    return {
        name: HealthView(CLOSED, None, 0.0, 0)
        if cause == "well"
        else HealthView(OPEN, cause, 30.0, 0, cause=Cause(cause), early_after_seconds=early.get(cause))
        for name, cause in causes.items()
    }


@pytest.mark.parametrize(
    ("causes", "expected"),
    [
        ({"a": "well", "b": "failing"}, set()),  # one of two is no more than half
        ({"a": "well", "b": "slow", "c": "failing"}, {"b", "c"}),
        ({"a": "failing"}, {"a"}),
        ({"a": "failing", "b": "denied"}, {"a"}),  # what is certainly out does not count
        ({"a": "failing", "b": "drained", "c": "overloaded", "d": "well"}, set()),
        ({"a": "denied", "b": "drained", "c": "overloaded"}, set()),
        ({"a": "well"}, set()),
        ({}, set()),
    ],
)
def test_health_is_ignored_when_most_are_out_for_failing(causes: dict[str, str], expected: set[str]) -> None:
    """More than half of those that could answer have to be out, and only those that failed may be asked early."""
    assert expected == early_views(views(**causes), causes).keys()


def test_only_the_named_ones_count() -> None:
    """Others may be as well as they like: they cannot answer this question."""
    assert {"a"} == early_views(views(a="slow", b="well", c="well"), ["a"]).keys()


def test_early_views_say_who_may_be_asked_now() -> None:
    """Who still answers is half open; who failed in a row is open until its next try, and not for its whole time."""
    found = early_views(views(a="slow", b="failing"), ["a", "b"])
    assert (HALF_OPEN, 0.0, "slow") == (found["a"].state, found["a"].retry_after_seconds, found["a"].reason)
    assert (OPEN, 2.0) == (found["b"].state, found["b"].retry_after_seconds)


def test_a_failing_one_is_tried_early_by_one_call_at_a_time(health: Health, clock: Clock) -> None:
    """Five seconds apart; a failure shortens and lengthens nothing, a success closes it."""
    fail(health, 5)
    assert health.begin(early=True) is None
    clock.now += 5
    assert health.begin() is None
    early = health.begin(early=True)
    assert early is not None
    assert health.begin(early=True) is None
    early.failed(ProviderFailed("still"))
    assert (OPEN, "it failed", 25.0, 0) == stands(health)
    assert 5.0 == health.view().early_after_seconds
    clock.now += 5
    early = health.begin(early=True)
    assert early is not None
    early.succeeded()
    assert (CLOSED, None, 0.0, 0) == stands(health)


def test_an_early_call_that_is_denied_ends_the_tries(health: Health, clock: Clock) -> None:
    """A denial is certain: from then on nobody asks before the time."""
    fail(health, 5)
    clock.now += 5
    early = health.begin(early=True)
    assert early is not None
    early.failed(ProviderDenied("402"))
    assert (Cause.DENIED, None) == (health.view().cause, health.view().early_after_seconds)


def test_one_that_answers_now_and_then_is_asked_freely(health: Health, clock: Clock) -> None:
    """Early calls to an unsteady one are not counted one by one, and prove nothing: its probe does, in its time."""
    mix(health, clock, "sf" * 10)
    calls = [health.begin(early=True) for _ in range(10)]
    for call in calls:
        assert call is not None
        call.succeeded(seconds=0.4)
    assert (OPEN, Cause.UNSTEADY) == (health.view().state, health.view().cause)
    clock.now += 30
    let(health).succeeded()
    assert CLOSED is health.view().state
