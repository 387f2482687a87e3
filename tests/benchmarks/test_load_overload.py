"""What the works about overload make of what was seen."""

from pathlib import Path

import pytest

from tests.benchmarks.load_caller import Ending
from tests.benchmarks.load_overload import PLACES, capacity, goodput, logged_ms, until_normal
from tests.benchmarks.load_regions import Call


def ending(due: float, seconds: float = 0.4, *, status: int = 200) -> Ending:
    """Return how one request ended."""
    return Ending(due, due + seconds, status, None, None, ())


def test_capacity_is_the_places_by_the_seconds() -> None:
    """Calls of half a second on average leave twice as many answers a second as there are places."""
    assert capacity([Call("one", 0, 0.4, 200, "a"), Call("two", 0, 0.6, 200, "b")]) == pytest.approx(2 * PLACES)


def test_goodput_counts_what_was_answered_in_time() -> None:
    """Refusals and answers that came later than the end do not count."""
    endings = [ending(10.0), ending(11.0), ending(11.0, status=429), ending(11.9)]
    assert 1.0 == goodput(endings, 2.0)


def test_all_is_well_when_a_whole_second_is() -> None:
    """A refusal or a slow second puts it off; what never comes takes all the time that there was."""
    bad = [ending(0.9, status=429)]
    slow = [ending(1.0 + number / 10, 2.0) for number in range(10)]
    well = [ending(2.0 + number / 10) for number in range(30)]
    assert until_normal([ending(0.0), *bad, *slow, *well], 0.4) == pytest.approx(1.5, abs=0.15)
    assert until_normal([*bad, *slow], 0.4) == pytest.approx(1.0)


def test_refusals_are_read_from_the_log(tmp_path: Path) -> None:
    """Only refusals count, among lines that are no requests and lines that are no JSON."""
    log = tmp_path / "log"
    log.write_text('Maskgate on x\n{"outcome":"overloaded","ms":1.5}\n{"outcome":"answered","ms":400}\n')
    assert [1.5] == logged_ms(log)
