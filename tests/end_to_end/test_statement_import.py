"""Prodia's lost answers: on hold until its statement is imported, and then the ledger ends where its books are."""

from __future__ import annotations

import asyncio
import csv
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.failures import Commands
from gateway.cli.ledger import verify
from gateway.cli.reconcile import reconcile
from providers.contract import Money
from tests.end_to_end.asking import Caller, on, text
from tests.end_to_end.household import House, gateway_running
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import PRODIA_MICROUSD, Upstreams


@pytest.fixture
def own_house(upstreams: Upstreams, tmp_path: Path) -> Iterator[House]:
    """Run a gateway whose ledger is the test's own."""
    with gateway_running(upstreams.sandbox, tmp_path / "own") as house:
        yield house


def statement_of(upstreams: Upstreams, file: Path) -> Path:
    """Write Prodia's books as a statement."""
    with file.open("w", encoding="utf-8", newline="") as written:
        rows = csv.writer(written)
        rows.writerow(("job", "created at", "price"))
        rows.writerows((call.id, call.at, Money(call.microusd).usd) for call in upstreams.books())
    return file


async def run(house: House, *words: str) -> Any:
    """Run a command on the house's ledger while its gateway is at work, and return what it prints."""
    app = typer.Typer(cls=Commands)
    app.command()(reconcile)
    app.command()(verify)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKGATE_")}
    environ = {**ours, "MASKGATE_STATE_DIR": str(house.state)}
    result = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--json"], env=environ)
    assert 0 == result.exit_code, result.output
    return json.loads(result.stdout)


async def test_lost_answers_end_in_the_books(
    own_house: House, upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Lost calls that were billed are settled under their names, the others released, and nothing is left on hold."""
    caller = Caller(own_house.url, session, own_house.key)
    question = {
        "image": {"url": upstreams.scene("shoes").url},
        "prompts": [text("left shoe")],
        "route": on("prodia", deadline_seconds=3),
        "cache": {"mode": "skip"},
    }
    for fault, status in ((None, 200), ("lost_answer", 504), ("reset_after", 502), ("reset_before", 502), (None, 200)):
        upstreams.strike("prodia", *([] if fault is None else [{"kind": fault}]))
        await caller.segment(question, status=status)
    assert 3 == sum(each.ended == "hold" for each in own_house.ledger())
    now, hour = datetime.now(UTC), timedelta(hours=1)
    period = ("--since", (now - hour).isoformat(), "--until", (now + hour).isoformat(), "--complete")
    file = statement_of(upstreams, tmp_path / "statement.csv")
    document = await run(own_house, "reconcile", "--statement", str(file), "--provider", "prodia", *period)
    groups = {each["group"]: (each["calls"], each["written"]) for each in document["groups"]}
    assert {"matched": (4, 2), "missing_there": (1, 1)} == {name: each for name, each in groups.items() if any(each)}
    ledger = own_house.ledger()
    assert ["release"] + ["settle"] * 4 == sorted(each.ended for each in ledger)
    assert_books_agree(ledger, upstreams.books())
    assert (await run(own_house, "verify"))["intact"]
    total = (await caller.get("/v1/usage")).body["total"]
    assert (4 * PRODIA_MICROUSD, 0) == (total["charged_microusd"], total["held_microusd"])
    again = await run(own_house, "reconcile", "--statement", str(file), "--provider", "prodia", *period)
    assert [] == again["findings"]
