"""`maskgate ledger reconcile` without a statement: Runflow is asked about what is on hold, at once."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
from typer.testing import CliRunner

from gateway.cli.main import app
from tests.end_to_end.asking import Caller, on, text
from tests.end_to_end.household import configuration, gateway_running
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import RUNFLOW_MICROUSD, Upstreams

#: The gateway itself asks long after the test.
LATE: dict[str, Any] = {"reconcile": {"first_seconds": 3600}}


async def test_everything_on_hold_is_asked_about(
    upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A lost call of Runflow is settled as the books say, long before the gateway would have asked."""
    config = tmp_path / "gateway.yaml"
    config.write_text(configuration(upstreams.sandbox), encoding="utf-8")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKGATE_")}
    environ = {**ours, "MASKGATE_STATE_DIR": str(tmp_path / "state"), "MASKGATE_CONFIG": str(config)}
    with gateway_running(upstreams.sandbox, tmp_path / "state", changes=LATE) as house:
        upstreams.strike("runflow-eu", {"kind": "lost_answer"})
        question = {
            "image": {"url": upstreams.scene("shoes").url},
            "prompts": [text("left shoe")],
            "route": on("runflow-eu", deadline_seconds=3),
            "cache": {"mode": "skip"},
        }
        await Caller(house.url, session, house.key).segment(question, status=504)
        upstreams.strike("runflow-eu")
        result = await asyncio.to_thread(CliRunner().invoke, app, ["ledger", "reconcile", "--json"], env=environ)
        assert 0 == result.exit_code, result.output
        [answer] = json.loads(result.stdout)["attempts"]
        assert ("runflow-eu", "settled", "0.005000") == (answer["deployment"], answer["result"], answer["charged_usd"])
        assert [RUNFLOW_MICROUSD] == [each.cost for each in house.ledger()]
        assert_books_agree(house.ledger(), upstreams.books())
    refused = CliRunner().invoke(app, ["ledger", "reconcile", "--complete"], env=environ)
    assert (2, True) == (refused.exit_code, "--statement: name the file" in refused.output)
