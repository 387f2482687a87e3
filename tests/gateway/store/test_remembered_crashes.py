"""A gateway is killed while it works under an Idempotency-Key: nobody makes the request a second time for money."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.accounting import Ledger
from gateway.store import open_database
from gateway.store.remembered import Claim, Interrupted, Remembered, RememberedAnswer, Standing, Turn

CHILD = Path(__file__).with_name("remembered_child.py")
ROOT = CHILD.parents[3]
LATER = 60.0
"""Seconds after which the killed gateway's lease is over."""


def killed(url: str, how_far: str) -> None:
    """Run a gateway until it is as far as that, and kill it."""
    command = [sys.executable, str(CHILD), url, how_far]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}) as child:
        assert child.stdout is not None
        said = child.stdout.readline()
        child.kill()
    assert b"ready\n" == said


async def standing(url: str, *, later: float) -> Standing:
    """Ask for the turn under the killed gateway's key, that many seconds later."""
    database = await open_database(url)
    try:
        remembered = Remembered(database, lambda: time.time() + later, ttl_seconds=86_400)
        return await remembered.begin(Claim("acme", "k", "print", "seg_second", "own_second"), lease_seconds=30)
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("how_far", "found"),
    [
        ("begun", Turn.BEGUN),
        pytest.param("released", Turn.BEGUN, marks=pytest.mark.slow),
        ("open", Interrupted("seg_first", settled=0, unknown=1)),
        pytest.param("held", Interrupted("seg_first", settled=0, unknown=1), marks=pytest.mark.slow),
        pytest.param("settled", Interrupted("seg_first", settled=1, unknown=0), marks=pytest.mark.slow),
    ],
)
async def test_a_key_is_taken_over_only_where_nothing_can_be_billed(
    database_url: str, how_far: str, found: Standing
) -> None:
    """While the lease runs nobody may; after it, only where no call was made or each one was not charged."""
    killed(database_url, how_far)
    assert Turn.RUNNING is await standing(database_url, later=0)
    assert found == await standing(database_url, later=LATER)


async def test_a_finished_answer_outlives_its_gateway(database_url: str) -> None:
    """What was answered before the kill is answered after it, to the byte."""
    killed(database_url, "finished")
    expected = RememberedAnswer("seg_first", 200, (("content-type", "application/json"),), b'{"id":"seg_first"}')
    assert expected == await standing(database_url, later=0)


async def test_a_hold_that_is_released_frees_the_key(database_url: str) -> None:
    """Once the provider has said that it billed nothing, the request may be made again under the key."""
    killed(database_url, "held")
    ledger = await Ledger.open(database_url, wall=time.time, clock=time.monotonic)
    try:
        (held,) = await ledger.held(10)
        await ledger.release_held(held, reason="absent")
    finally:
        await ledger.close()
    assert Turn.BEGUN is await standing(database_url, later=LATER)
