"""What operators hear of a budget's webhook that nobody takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.asking import Caller, on, text
from tests.end_to_end.money_house import Here, Office, gateway_here
from tests.end_to_end.upstreams import RUNFLOW_MICROUSD, Upstreams
from tests.ports import free_row

SECRET = "whsec_Zm9ydHktZm91ciBieXRlcyBvZiBhIHNlY3JldCB0aGF0IGlzIG5vbmU="


@pytest.fixture
def here(upstreams: Upstreams, tmp_path: Path) -> Iterator[Here]:
    """Run a gateway whose webhook nobody listens at."""
    port = free_row(1)

    def amend(document: dict[str, Any]) -> None:
        document["fetch"]["allow_webhooks"] = [f"127.0.0.1:{port}"]
        document["budgets"] = {"webhook_url": f"http://127.0.0.1:{port}/told", "webhook_secret": SECRET}

    with gateway_here(upstreams.sandbox, tmp_path, amend=amend) as gateway:
        yield gateway


def told_in(log: Path) -> list[str]:
    """Return what stands in a log of the webhook."""
    return [line for line in log.read_text(encoding="utf-8").splitlines() if "budget_webhook_failed" in line]


async def test_each_failure_is_logged_with_its_reason_and_counted(
    here: Here, upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A crossing that cannot be told stands in the log once an attempt, and in a metric."""
    office, caller = Office(here, session), Caller(here.url, session)
    _, key = await office.key()
    soft = {"tenant": "acme", "limit_usd": "0.001", "period": "total", "hard": False}
    await office.send("PUT", "/admin/v1/budgets", json=soft)
    asked = {"image": {"url": upstreams.scene("shoes").url}, "prompts": [text("left shoe")], "route": on("runflow-eu")}
    assert RUNFLOW_MICROUSD == (await caller.segment(asked, headers=key)).charged

    async def failed() -> int:
        lines = (await caller.text("/metrics", headers=here.admin)).splitlines()
        found = [line for line in lines if line.startswith('maskgate_webhook_attempts_total{result="failed"}')]
        return int(float(found[0].split()[-1])) if found else 0

    while not (count := await failed()):
        pass
    told = told_in(tmp_path / "gateway.log")
    assert len(told) >= count
    assert all('"reason":"' in line and "refused" in line for line in told)
