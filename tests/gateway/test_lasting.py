"""What a gateway opens when it starts, and that nothing of it is left when it stops."""

from __future__ import annotations

import asyncio
import io
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from gateway.accounting import Attempt, UsageQuery
from gateway.admission import BytesInFlight, Gate
from gateway.ids import new_ids
from gateway.lasting import Ground, Lasting, open_lasting, run_beside
from gateway.reloading import Result
from gateway.settings import Settings, SettingsError
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.shortages import Shortages
from gateway.telling import Telling
from providers.contract import Money
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders

ATTEMPT = Attempt("att_1", "seg_1", 0, "acme", "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")


@dataclass
class Site:
    """Where a gateway is started, again and again."""

    state: Path
    shown: list[str] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)
    now: float = 1_800_000_000.0
    metrics: Metrics = field(default_factory=Metrics)

    def ground(self) -> Ground:
        """Return what stands before a start."""
        log = make_logger(self.log)
        return Ground(
            gate=Gate(10),
            bytes=BytesInFlight(10**6),
            shortages=Shortages(time.monotonic, count=self.metrics.shortage, log=log),
            metrics=self.metrics,
            log=log,
            telling=Telling(self.metrics, log),
            clock=time.monotonic,
            wall=lambda: self.now,
            chance=random.Random(1),
            new_id=new_ids(time.time),
            show=self.shown.append,
        )

    @asynccontextmanager
    async def opened(self, *, redis_url: str = "") -> AsyncIterator[Lasting]:
        """Open all of it while the block lasts."""
        settings = Settings(state_dir=self.state, redis_url=redis_url)
        async with AsyncExitStack() as stack:
            workers = ThreadWorkers(threads=1, queue=8)
            stack.callback(workers.close)
            yield await open_lasting(settings, self.ground(), workers, shared_decoders(), stack)

    def events(self) -> list[str]:
        """Return what was logged."""
        return [orjson.loads(line)["event"] for line in self.log.getvalue().splitlines()]

    def configured_at(self) -> str:
        """Return when a configuration was found to hold last, as the metrics say it."""
        text = self.metrics.text(open_deployments=(), in_flight=0, cache_bytes=0, ledger={}).decode()
        name = "maskgate_config_last_success_timestamp_seconds "
        (value,) = (line.removeprefix(name) for line in text.splitlines() if line.startswith(name))
        return value


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A folder that is not there yet."""
    return Site(tmp_path / "state")


async def test_nothing_is_left_running_when_it_is_closed(site: Site) -> None:
    """What runs beside the requests ends before the ledger does; a second start finds everything where it was."""
    before = asyncio.all_tasks()
    async with site.opened() as first:
        assert before < asyncio.all_tasks()
        assert await first.ledger.ready()
    assert before == asyncio.all_tasks()
    async with site.opened() as second:
        assert first.gateway_id != second.gateway_id
        assert await second.ledger.ready()
    assert before == asyncio.all_tasks()
    assert (1, 0o700, ["first_key_made"]) == (len(site.shown), site.state.stat().st_mode & 0o777, site.events())


async def test_what_an_earlier_process_left_open_is_held_at_the_start(site: Site) -> None:
    """A reservation whose time and whose grace are over is on hold soon after the gateway has started."""
    async with site.opened() as lasting:
        await lasting.ledger.reserve(ATTEMPT, Money(5000), expires_in=10)
    site.now += 3600
    async with site.opened() as lasting:
        async with asyncio.timeout(60):
            await lasting.ledger.new_hold.wait()
        assert 1 == (await lasting.ledger.usage(UsageQuery())).total.held


async def test_drained_deployments_are_drained_from_the_start(site: Site) -> None:
    """Before the first house stands it is known what is drained, and a house that is entered later is told of more."""
    async with site.opened() as lasting:
        await lasting.drains.drain("eu", reason="new account", key_id="key_1")
    async with site.opened() as lasting:
        assert {"eu"} == set(lasting.drains.current)
        lasting.now.health = lasting.now.health.renewed(["eu", "us"])
        assert "drained: new account" == lasting.now.health["eu"].view().reason
        await lasting.drains.drain("us", reason="slow", key_id="key_1")
        assert "drained: slow" == lasting.now.health["us"].view().reason


async def test_start_that_fails_leaves_nothing_behind(site: Site) -> None:
    """An address that is none is refused after the ledger was opened, and the ledger is closed again."""
    before = asyncio.all_tasks()
    with pytest.raises(SettingsError, match="no address of Redis"):
        async with site.opened(redis_url="canary"):
            pytest.fail("it was taken")
    assert before == asyncio.all_tasks()


async def test_work_beside_the_requests_ends_with_the_stack() -> None:
    """It is cancelled, and waited for."""
    done: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append("ended")

    async with AsyncExitStack() as stack:
        await run_beside(stack, work())
        await asyncio.sleep(0)
        assert [] == done
    assert ["ended"] == done


@pytest.mark.parametrize(
    ("result", "moves"), [(Result.APPLIED, True), (Result.UNCHANGED, True), (Result.REFUSED, False)]
)
def test_reading_that_holds_moves_the_moment_of_the_last_success(site: Site, result: Result, *, moves: bool) -> None:
    """A refused configuration leaves the moment where it was, so that an alarm sees how long ago that is."""
    ground = site.ground()
    ground.metrics.configured(1.0)
    ground.reloaded(result.value)
    assert moves == (site.configured_at() != "1.0")
