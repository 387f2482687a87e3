"""W5 reads the right figures out of what callers and regions saw."""

from dataclasses import replace

import pytest

from tests.benchmarks import question
from tests.benchmarks.contender import WrongAnswer
from tests.benchmarks.region_calls import Call
from tests.benchmarks.region_control import FAR, NEAR
from tests.benchmarks.steady import Told
from tests.benchmarks.w5_asking import ANSWERED, Seen, seen
from tests.benchmarks.w5_phase import Phase
from tests.benchmarks.w5_region_dies import AIMS, BLOWS, BOTH, DEATHS, FAILS, NOWHERE, STUMBLES, rows_of


def told(due: float, seconds: float, *attempted: str, outcome: str = ANSWERED) -> Told[Seen]:
    """Return an answer that took so long."""
    return Told(due, due, due + seconds, Seen(outcome, attempted))


#: The region dies at 10; two requests meet that, the breaker opens at 10.5, and a third one goes elsewhere at once.
DEATH = Phase(
    told=[
        told(8.5, 0.5, NEAR),
        told(9.25, 0.125, NEAR),
        told(9.5, 0.25, NEAR),
        told(10.0, 0.5, NEAR, FAR),
        told(10.25, 0.75, NEAR, FAR),
        told(11.0, 0.125, FAR),
    ],
    calls=[
        Call(NEAR, 4, 10.1, 10.125, 500),
        Call(FAR, 4, 10.1875, 10.25, 200),
    ],
    struck=10.0,
    opened={NEAR: 10.5},
)


def test_a_phase_compares_with_the_second_before() -> None:
    """What is older than a second is left out, and the difference is that of the two p99."""
    assert [9.25, 9.5] == [each.due for each in DEATH.before]
    assert [10.0, 10.25, 11.0] == [each.due for each in DEATH.after]
    assert 500.0 == DEATH.added_ms
    assert [62.5] == DEATH.gaps_ms
    assert 2 == DEATH.failed_over


def test_what_was_under_way_when_the_blow_fell_counts_as_after_it() -> None:
    """A request from the second before that ends after the blow has met the blow."""
    late = replace(DEATH, told=[*DEATH.told, told(9.9, 2.0, NEAR, FAR)])

    assert DEATH.before == late.before
    assert 1750.0 == late.added_ms


def test_only_what_was_asked_once_the_breaker_was_open_counts_against_it() -> None:
    """Requests that called the region before are no fault; one that does so later is."""
    assert 0 == DEATH.calls_once_open
    assert 1 == replace(DEATH, told=[*DEATH.told, told(12.0, 0.5, NEAR, FAR)]).calls_once_open
    assert [] == replace(DEATH, opened={}).once_open


DISK = {"p50_ms": 0.4, "p99_ms": 2.0}


def test_every_aim_has_its_row_in_order() -> None:
    """The rows stand beside the aims that a failed run would show, one figure a round."""
    down = told(12.0, 0.004, outcome=NOWHERE)
    phases = {blow: [DEATH, DEATH] for blow in DEATHS}
    phases[STUMBLES] = [replace(DEATH, opened={})]
    phases[BOTH] = [replace(DEATH, told=[*DEATH.told, down], opened={NEAR: 10.5, FAR: 11.5})]

    rows = rows_of(phases, DISK)

    assert set(BLOWS) == set(phases)
    assert list(AIMS) == [(row.beside, row.aim) for row in rows]
    assert len(rows) == len({row.work for row in rows})
    middle, gap, errors, added, calls, *_, unavailable = rows
    assert [(62.5,), (62.5,)] == [middle.figures, gap.figures]
    assert [(0.0, 0.0), (500.0, 500.0), (0.0, 0.0)] == [row.figures for row in (errors, added, calls)]
    assert (4.0,) == pytest.approx(unavailable.figures)
    assert [False, True, True, True, True] == [row.met for row in (gap, errors, added, calls, unavailable)]
    assert {"s_until_it_opened": 0.5, "failed_over": 2, "asked_once_open": 1} == calls.detail["breaker"]


def test_a_blow_without_its_effect_gives_no_figures() -> None:
    """A dead region whose breaker stays closed, and a stumbling one whose breaker opens, are no measurement."""
    phases = {blow: [DEATH] for blow in BLOWS}
    with pytest.raises(WrongAnswer, match="a breaker has opened"):
        rows_of(phases, DISK)
    phases[STUMBLES] = [replace(DEATH, opened={})]
    with pytest.raises(WrongAnswer, match="nobody was told"):
        rows_of(phases, DISK)
    phases[FAILS] = [replace(DEATH, opened={})]
    with pytest.raises(WrongAnswer, match="was not open"):
        rows_of(phases, DISK)


def test_an_answer_counts_only_with_the_right_mask() -> None:
    """A success with another mask is an error, and a problem is known by its code."""
    attempts = b'"attempts": [{"deployment": "near-1"}, {"deployment": "far-1"}]'

    assert ANSWERED != seen(200, b'{"instances": [{"area": 3}], %b}' % attempts).outcome
    assert Seen(ANSWERED, ("near-1", "far-1")) == seen(
        200, b'{"instances": [{"area": %d}], %b}' % (question.area(), attempts)
    )
    assert Seen(NOWHERE) == seen(503, b'{"code": "all_deployments_unavailable"}')
