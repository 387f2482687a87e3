"""The breaker under a clock that is wound by hand."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from gateway.routing.health import BreakerState, Call, Health, HealthTable, HealthView
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


def test_it_begins_closed(health: Health) -> None:
    """A deployment that nobody has asked may be asked."""
    assert HealthView(CLOSED, None, 0.0, 0) == health.view()


@pytest.mark.parametrize("error", [ProviderFailed, ProviderUnanswered, ProviderUnreachable])
def test_five_failures_in_a_row_open_it(health: Health, error: type[ProviderError]) -> None:
    """Four do not; the fifth's words are the reason, and nobody is let through."""
    fail(health, 4, error("one of four"))
    assert CLOSED is health.view().state
    fail(health, 1, error("the fifth"))
    assert HealthView(OPEN, "the fifth", 30.0, 0) == health.view()
    assert health.begin() is None


def test_a_success_begins_the_count_anew(health: Health) -> None:
    """Failures that are not in a row do not open it."""
    for _ in range(10):
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
    assert HealthView(OPEN, "402: no credit", 30.0, 0) == health.view()


@pytest.mark.parametrize(
    ("asked", "pause"), [(None, 1.0), (0.5, 0.5), (7.0, 7.0), (299.0, 299.0), (86_400.0, 300.0), (float("inf"), 300.0)]
)
def test_too_many_requests_pause_it_as_long_as_was_asked(
    health: Health, clock: Clock, asked: float | None, pause: float
) -> None:
    """`Retry-After` is obeyed, up to five minutes; without one it is left alone for a second. No chance is added."""
    fail(health, 1, ProviderOverloaded("429", retry_after_seconds=asked))
    assert HealthView(OPEN, "429", pause, 0) == health.view()
    clock.now += pause
    assert HealthView(HALF_OPEN, "429", 0.0, 0) == health.view()
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


def test_a_success_of_the_probe_begins_the_waits_anew(health: Health, clock: Clock) -> None:
    """After it was well once, five failures open it for 30 s again."""
    fail(health, 5)
    clock.now += 30
    fail(health)
    clock.now += 60
    let(health).succeeded()
    fail(health, 5)
    assert 30.0 == health.view().retry_after_seconds


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
    assert HealthView(OPEN, "it broke", 1.0, 1) == health.view()
    assert [None, None] == [health.begin(), health.begin()]
    probe.succeeded()
    assert HealthView(CLOSED, None, 0.0, 0) == health.view()


@pytest.mark.parametrize("error", [ProviderFailed, ProviderUnreachable, ProviderDenied, ProviderUnanswered])
def test_a_probe_that_fails_opens_it_again(health: Health, clock: Clock, error: type[ProviderError]) -> None:
    """One failure is enough, and the wait is longer."""
    fail(health, 5)
    clock.now += 30
    fail(health, 1, error("still down"))
    assert HealthView(OPEN, "still down", 60.0, 0) == health.view()


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
    assert HealthView(HALF_OPEN, "it broke", 0.0, 0) == health.view()
    let(health).succeeded()
    assert CLOSED is health.view().state


def test_an_abandoned_call_says_nothing(health: Health) -> None:
    """It neither counts as a failure nor begins the count anew."""
    fail(health, 4)
    let(health).abandoned()
    fail(health)
    assert OPEN is health.view().state


def test_a_late_success_from_before_does_not_close_it(health: Health, clock: Clock) -> None:
    """What began while all was well proves nothing about now: the probe decides."""
    early, earlier = let(health), let(health)
    fail(health, 5)
    early.succeeded()
    assert OPEN is health.view().state
    clock.now += 30
    earlier.succeeded()
    assert HALF_OPEN is health.view().state


def test_a_late_failure_from_before_does_not_open_it_for_longer(health: Health) -> None:
    """The failures of one outage are one outage."""
    calls = [let(health) for _ in range(50)]
    for call in calls:
        call.failed(ProviderFailed("it broke"))
    assert HealthView(OPEN, "it broke", 30.0, 0) == health.view()


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


@dataclass
class Model:
    """What the module's docstring says, told once more and without its code."""

    chance: random.Random
    open: bool = False
    until: float = 0.0
    probing: bool = False
    failures: int = 0
    times: int = 0
    under_way: dict[int, bool] = field(default_factory=dict)
    """By the call's number: whether it is the probe."""

    def state(self, now: float) -> BreakerState:
        """Return the state at a moment."""
        if not self.open:
            return CLOSED
        return OPEN if now < self.until or self.probing else HALF_OPEN

    def begin(self, number: int, now: float) -> bool:
        """Begin a call, if it is let through."""
        state = self.state(now)
        if state is OPEN:
            return False
        self.under_way[number] = state is HALF_OPEN
        self.probing = self.probing or state is HALF_OPEN
        return True

    def end(self, number: int, how: str, now: float) -> None:
        """End a call."""
        probe = self.under_way.pop(number)
        self.probing = self.probing and not probe
        if how in {"succeeded", "refused"}:
            if probe or not self.open:
                self.open, self.until, self.failures, self.times = False, 0.0, 0, 0
        elif how == "overloaded":
            self.open, self.until = True, max(self.until, now + 5.0)
        elif how in {"failed", "denied"}:
            self.failures += 1
            if probe or (not self.open and (how == "denied" or self.failures >= 5)):
                self.times += 1
                wait = min(30 * self.times, 300) * (1 + self.chance.random() / 10)
                self.open, self.until = True, max(self.until, now + wait)


ENDS = {
    "refused": ProviderRefused("refused"),
    "overloaded": ProviderOverloaded("overloaded", retry_after_seconds=5.0),
    "failed": ProviderFailed("failed"),
    "denied": ProviderDenied("denied"),
}


@pytest.mark.parametrize("seed", range(200))
def test_it_does_what_it_says_on_any_walk(seed: int) -> None:
    """After each step of a random life the breaker is where a plain model of it is."""
    chance, clock = random.Random(seed), Clock(0.0)
    health, model = Health(clock, random.Random(seed)), Model(random.Random(seed))
    calls: dict[int, Call] = {}
    ill = chance.random()
    for number in range(250):
        clock.now += chance.choice((0.0, 0.1, 1.0, 10.0, 40.0))
        if chance.random() < 0.55:
            call = health.begin()
            assert model.begin(number, clock.now) is (call is not None)
            if call is not None:
                calls[number] = call
        elif calls:
            ended = chance.choice(list(calls))
            well = ("succeeded", "succeeded", "refused", "abandoned")
            bad = ("failed", "failed", "failed", "denied", "overloaded")
            how = chance.choice(bad if chance.random() < ill else well)
            call = calls.pop(ended)
            if how in ENDS:
                call.failed(ENDS[how])
            else:
                getattr(call, how)()
            model.end(ended, how, clock.now)
        view = health.view()
        assert (model.state(clock.now), len(calls)) == (view.state, view.in_flight)
        assert 0.0 <= view.retry_after_seconds <= 330.0
        assert (view.state is OPEN) is (view.retry_after_seconds > 0)
        assert sum(model.under_way.values()) <= 1
