"""What became of an attempt whose answer was lost."""

from __future__ import annotations

from typing import Any

import pytest

from providers.contract import Fate, Found, Money, ProviderFailed
from tests.providers.runflow.fake_runflow import ATTEMPT, RUN, Scene


def run(status: str, cost: str | None = None, **others: Any) -> dict[str, Any]:
    """Return a run of the attempt."""
    return {"id": RUN, "status_code": status, "cost": cost, "client_ref": ATTEMPT, "output": None, **others}


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ([], Found(Fate.ABSENT)),
        ([run("succeeded", "0.005")], Found(Fate.CHARGED, Money(5000), RUN, 0.0)),
        ([run("partial_succeeded", "0.0075")], Found(Fate.CHARGED, Money(7500), RUN, 0.0)),
        ([run("succeeded")], Found(Fate.CHARGED, None, RUN, 0.0)),
        ([run("queued")], Found(Fate.UNKNOWN, None, RUN)),
        ([run("some_new_status")], Found(Fate.UNKNOWN, None, RUN)),
        ([run("failed")], Found(Fate.NOT_CHARGED, None, RUN)),
        ([run("canceled", "0")], Found(Fate.NOT_CHARGED, None, RUN)),
        ([run("cancelled", "0.005")], Found(Fate.CHARGED, Money(5000), RUN, 0.0)),
        ([run("failed"), run("succeeded", "0.005")], Found(Fate.CHARGED, Money(5000), RUN, 0.0)),
        ([run("succeeded", "0.005"), run("succeeded", "0.005")], Found(Fate.CHARGED, Money(10_000), RUN, 0.0)),
        ([run("running"), run("succeeded", "0.005")], Found(Fate.UNKNOWN, None, RUN)),
    ],
)
async def test_by_reference(scene: Scene, runs: list[dict[str, Any]], found: Found) -> None:
    """An attempt is found by the reference it was created with, and what its runs cost is what it cost."""
    scene.fake.listed = runs
    assert found == await scene.look_up()
    [(_, path, headers, _)] = scene.fake.requests
    assert f"/v1/runs?q=client_ref.EQ%3A%27{ATTEMPT}%27&limit=10" == path
    assert headers["authorization"].startswith("Bearer ")


@pytest.mark.parametrize(
    ("status", "fate"),
    [("succeeded", Fate.CHARGED), ("running", Fate.UNKNOWN), ("failed", Fate.NOT_CHARGED)],
)
async def test_by_run(scene: Scene, status: str, fate: Fate) -> None:
    """An attempt whose run is known is found by it."""
    scene.fake.walk = [status]
    assert fate is (await scene.look_up(RUN)).fate
    assert [] == scene.fake.sent("GET", "/v1/runs")


async def test_other_runs(scene: Scene) -> None:
    """A list that holds other runs than were asked for says nothing, and above all not that there is none."""
    scene.fake.listed = [run("succeeded", "0.005", client_ref="att_another")]
    with pytest.raises(ProviderFailed, match="others than those"):
        await scene.look_up()


GONE = "0197aaaa-0000-7000-8000-00000000ffff"


async def test_a_run_unknown_by_its_id_is_searched_for(scene: Scene) -> None:
    """Where the id is answered 404, the list is asked by our reference, and what it knows counts."""
    scene.fake.listed = [run("succeeded", "0.005")]
    assert Found(Fate.CHARGED, Money(5000), RUN, 0.0) == await scene.look_up(GONE)


async def test_a_run_that_was_there_is_never_absent(scene: Scene) -> None:
    """A run that neither id nor list knows any more may be billed: the key may see another organization."""
    assert Found(Fate.UNKNOWN) == await scene.look_up(GONE)


@pytest.mark.parametrize("items", [None, [7], {}, "none"])
async def test_unreadable(scene: Scene, items: Any) -> None:
    """A list that is none, or not one of runs, is no word either."""
    scene.fake.listed = items
    with pytest.raises(ProviderFailed):
        await scene.look_up()
