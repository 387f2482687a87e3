"""When a deployment that has failed may be asked once more."""

from __future__ import annotations

import random

import pytest

from gateway.accounting.pricing import Terms
from gateway.routing.again import FIRST_PAUSE_SECONDS, Failed, pause_seconds
from gateway.routing.candidates import Candidate
from gateway.routing.health_view import BreakerState, HealthView
from providers.contract import (
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
    ProviderUnreachable,
)
from tests.gateway.routing.offers import offer, price

WELL = HealthView(BreakerState.CLOSED, None, 0.0, 0)


def paused(error: ProviderError, *, calls: int = 1, view: HealthView = WELL, seconds: float = 30.0) -> float | None:
    """Return the pause after a failure."""
    failed = Failed(Candidate(offer("a"), Terms(price("a", 5000))), error, calls)
    return pause_seconds(failed, view, seconds=seconds, chance=random.Random(1))


@pytest.mark.parametrize("error", [ProviderUnreachable, ProviderFailed, ProviderUnanswered, ProviderOverloaded])
@pytest.mark.parametrize("calls", [1, 2, 3])
def test_pause_grows_and_is_spread(error: type[ProviderError], calls: int) -> None:
    """It is twice as long each time, give or take a half."""
    pause = paused(error("no"), calls=calls)
    assert pause is not None
    usual = FIRST_PAUSE_SECONDS * 2 ** (calls - 1)
    assert 0.5 * usual <= pause <= 1.5 * usual


@pytest.mark.parametrize("error", [ProviderRefused("no"), ProviderDenied("no"), ProviderFailed("no", elsewhere=False)])
def test_what_a_moment_does_not_cure_is_not_asked_again(error: ProviderError) -> None:
    """The request's own fault, and the account's."""
    assert paused(error) is None


def test_provider_is_left_alone_for_as_long_as_it_asks() -> None:
    """Never for less, and by different callers not to the same moment."""
    pause = paused(ProviderOverloaded("no", retry_after_seconds=2.0))
    assert pause is not None
    assert 2.0 < pause <= 3.0


def test_a_deployment_that_is_overloaded_is_left_alone_as_its_breaker_says() -> None:
    """Where it names no time itself, its breaker's pause is waited out."""
    view = HealthView(BreakerState.OPEN, "too many requests", 1.0, 0)
    pause = paused(ProviderOverloaded("no"), view=view)
    assert pause is not None
    assert 1.0 < pause <= 1.5


@pytest.mark.parametrize("seconds", [0.0, 0.05, 3.9])
def test_half_of_the_time_is_kept_for_the_call(seconds: float) -> None:
    """A pause that would take more than the other half is not made."""
    assert paused(ProviderOverloaded("no", retry_after_seconds=2.0), seconds=seconds) is None


def test_breaker_that_stays_open_for_longer_has_the_last_word() -> None:
    """Nobody waits for a deployment that will not be asked; one whose pause is over by then is."""
    for state, left, asked in (
        (BreakerState.OPEN, 30.0, False),
        (BreakerState.OPEN, 0.01, True),
        (BreakerState.HALF_OPEN, 0.0, True),
    ):
        view = HealthView(state, "it fails", left, 0)
        assert asked == (paused(ProviderFailed("no"), view=view) is not None)
