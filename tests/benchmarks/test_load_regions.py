"""The regions of the works about load, and their caller, as processes."""

import asyncio
import time
from pathlib import Path

import orjson
import pytest

from tests.benchmarks.load_caller import Ending, Plan, call, read_endings
from tests.benchmarks.load_house import Regions, lasting, regions_running, request_body
from tests.benchmarks.load_regions import Behaviour
from tests.benchmarks.processes import Cores
from tests.benchmarks.stage import Stage


def stage(folder: Path, rounds: int = 3) -> Stage:
    """Return the circumstances."""
    return Stage(folder, folder, Cores(0, 0), rounds, 2)


def asked(regions: Regions, count: int) -> list[Ending]:
    """Ask the first region itself so many times within a tenth of a second."""
    url = f"http://127.0.0.1:{regions.ports[regions.names[0]]}/v2/job"
    plan = Plan(url, "", "", time.monotonic(), count / 0.1, 0.1, "")
    return [told.answer for told in asyncio.run(call(plan, b"{}"))]


def test_regions_behave_as_told(tmp_path: Path) -> None:
    """Each answer has a job of its own; a failure says when to return; who refuses has no calls; all is noted."""
    with regions_running(stage(tmp_path), ("one",)) as regions:
        began = time.monotonic()
        assert {(0, "JSONDecodeError")} == {(each.status, each.code) for each in asked(regions, 3)}
        regions.behave("one", Behaviour(0, status=429, retry_after=2))
        (throttled,) = asked(regions, 1)
        assert (429, "2", False) == (throttled.status, throttled.retry_after, throttled.lost)
        regions.behave("one", Behaviour(0, refuses=True))
        (refused,) = asked(regions, 1)
        assert (0, "ClientConnectorError", True) == (refused.status, refused.code, refused.lost)
        regions.behave("one", Behaviour(0.05))
        asked(regions, 1)
        calls = regions.calls()
    assert [200, 200, 200, 429, 200] == [each.status for each in calls]
    assert 4 == len({each.job for each in calls if each.job is not None})
    assert all(began < each.came <= each.left for each in calls)


def test_a_caller_writes_what_it_saw(tmp_path: Path) -> None:
    """What is written is read again as it was."""
    ending = Ending(1.0, 2.5, 200, None, None, (("one", "failed"), ("two", "succeeded")))
    file = tmp_path / "told"
    file.write_bytes(orjson.dumps([{**{name: getattr(ending, name) for name in Ending.__slots__}}]))
    assert [ending] == read_endings(file)
    assert (1.5, True, False) == (ending.seconds, ending.good, ending.lost)


@pytest.mark.parametrize(("rounds", "seconds"), [(3, 6), (5, 30)])
def test_a_first_look_is_short(tmp_path: Path, rounds: int, seconds: float) -> None:
    """In full length it lasts as long as it has to."""
    assert seconds == lasting(stage(tmp_path, rounds), 30, quick=6)


def test_the_question_says_whom_and_how() -> None:
    """It names the deployments, the strategy and the use of the cache."""
    body = orjson.loads(request_body(("one", "two"), "fastest", "skip"))
    route = {"strategy": "fastest", "deployments": ["one", "two"], "deadline_seconds": 8}
    assert ({"mode": "skip"}, route) == (body["cache"], body["route"])
