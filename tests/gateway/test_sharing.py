"""What gateways share through a real Redis, and what they have without one."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import orjson
import pytest

from gateway.ids import new_ids
from gateway.settings import SettingsError
from gateway.sharing import Shared, shared_through
from gateway.store.hints import Hint
from gateway.telemetry.logs import make_logger
from providers.workers import ThreadWorkers
from tests.servers import Redis

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def sharing(
    url: str, *, counted: Counter[str] | None = None, log: io.StringIO | None = None
) -> AsyncIterator[Shared]:
    """Share as one gateway does."""
    new_id, counts = new_ids(time.time), Counter[str]() if counted is None else counted
    with closing(ThreadWorkers(threads=1, queue=8)) as workers:
        async with shared_through(
            url,
            replica=new_id("gw"),
            clock=time.monotonic,
            new_id=new_id,
            workers=workers,
            count=lambda result: counts.update([result]),
            log=make_logger(io.StringIO() if log is None else log),
            short=lambda _resource: None,
        ) as shared:
            yield shared


async def test_nothing_is_shared_where_no_redis_is_named() -> None:
    """Every gateway is then alone."""
    async with sharing("") as shared:
        assert Shared() == shared


def test_redis_is_not_imported_where_none_is_named() -> None:
    """A gateway without Redis does not wait for its library."""
    program = "import sys, gateway.app; print('redis' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "False" == ended.stdout.strip()


@pytest.mark.parametrize("url", ["http://canary@127.0.0.1", "canary"])
async def test_address_that_is_none_is_refused_and_not_shown(url: str) -> None:
    """It may hold a password: the problem names the variable and the form alone."""
    with pytest.raises(SettingsError, match="MASKGATE_REDIS_URL: no address of Redis; write redis://") as refused:
        async with sharing(url):
            pytest.fail("it was taken")
    assert "canary" not in str(refused.value)


async def test_redis_that_is_not_there_stops_nobody() -> None:
    """The gateway starts, each use leaves Redis alone, and the log says so once for each."""
    log = io.StringIO()
    async with sharing("redis://127.0.0.1:1", log=log) as shared:
        assert shared.answers is not None
        assert shared.limits is not None
        assert shared.hints is not None
        assert (False, False) == (shared.answers.in_use, shared.limits.in_use)
    lines = [orjson.loads(line) for line in log.getvalue().splitlines()]
    assert [("redis_left_alone", use) for use in ("limits", "read", "write")] == sorted(
        (line["event"], line["use"]) for line in lines
    )


@pytest.mark.needs("redis")
async def test_gateways_share_answers_hints_and_limits(redis_server: Redis) -> None:
    """All three are in use, a look that finds nothing is counted, and a hint of one is read by the other."""
    counted: Counter[str] = Counter()
    async with sharing(redis_server.url, counted=counted) as one, sharing(redis_server.url) as other:
        assert one.answers is not None
        assert one.limits is not None
        assert (True, True) == (one.answers.in_use, one.limits.in_use)
        assert one.hints is not None
        assert other.hints is not None
        name = new_ids(time.time)("deployment")
        await one.hints.tell(Hint(name, "gw_1", 1, "failing", 30.0))
        (hint,) = await other.hints.read([name])
        assert ("gw_1", "failing") == (hint.replica, hint.cause)
        assert {} == await one.answers.recall([new_ids(time.time)("key")], size=(3, 4))
    assert {"miss": 1} == counted
