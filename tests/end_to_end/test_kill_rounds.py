"""kill -9 of a whole gateway at random moments, round after round, under fifty callers and many faults at once."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.asking import on, text
from tests.end_to_end.audit import audit, query, read_accounts
from tests.end_to_end.household import assert_nothing_broke, key_in
from tests.end_to_end.killing import Disk
from tests.end_to_end.ledger import Account
from tests.end_to_end.money_house import bearing, configured, deployment, outside
from tests.end_to_end.siege import until_so
from tests.end_to_end.upstreams import NAMES, RUNFLOW, Billed, Upstreams
from tests.ports import free_row

CALLERS = 50
DEADLINE_SECONDS = 8
#: From the moment that callers find a gateway until it is killed.
SHORTEST_SECONDS, LONGEST_SECONDS = 0.05, 3.0
#: How much further ahead the calendar of each next gateway is: deadlines and leases of the one before are over.
AHEAD_SECONDS = 120.0
JUMP_SECONDS = 7200.0
#: How often a caller comes back with a request that is still being worked on, or was when a gateway died.
MOST_RETURNS = 20
CLOCK = """\
import os, time

_time, _ahead = time.time, float(os.environ["CLOCK_AHEAD_SECONDS"])
time.time = lambda: _time() + _ahead
"""
FAULTS: dict[str, list[dict[str, Any]]] = {
    "runflow-eu": [
        {"kind": "status", "status": 500, "share": 0.1},
        {"kind": "reset_after", "share": 0.1},
        {"kind": "bad_json", "share": 0.05},
        {"kind": "latency", "seconds": 0.3, "share": 0.3},
    ],
    "runflow-us": [
        {"kind": "lost_answer", "share": 0.1},
        {"kind": "throttle", "retry_after": 1, "share": 0.1},
        {"kind": "bad_png", "share": 0.05},
    ],
    "prodia": [
        {"kind": "status", "status": 503, "share": 0.1},
        {"kind": "reset_before", "share": 0.1},
        {"kind": "reset_after", "share": 0.05},
    ],
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens between a kill and the next gateway, beside the kill."""

    name: str
    clock: bool = False
    """Whether the calendar jumps by two hours, either way."""
    endpoints: bool = False
    """Whether the two regions change their endpoints with each other."""

    def __str__(self) -> str:
        """Name it in a test's id."""
        return self.name


@dataclass(slots=True)
class Killed:
    """A gateway of one or more processes that is killed and started again, and those who ask it."""

    upstreams: Upstreams
    folder: Path
    database_url: str
    workers: int
    chance: random.Random
    trouble: Trouble
    session: aiohttp.ClientSession
    port: int = field(default_factory=lambda: free_row(1))
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    told: Counter[int] = field(default_factory=Counter)
    cut: int = 0
    """Connections that broke before an answer."""

    @property
    def address(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    def amend(self, document: dict[str, Any]) -> None:
        """Clear up quickly; every other time, where that is the trouble, with the regions' endpoints exchanged."""
        document["limits"] = {"grace_seconds": 0}
        document["reconcile"] = {"every_seconds": 0.1, "first_seconds": 0, "absent_seconds": 0.5}
        if self.trouble.endpoints and self.starts % 2:
            eu, us = (deployment(document, name) for name in RUNFLOW)
            eu["endpoint"], us["endpoint"] = us["endpoint"], eu["endpoint"]

    async def start(self) -> None:
        """Start a gateway, and wait until it is ready."""
        file = self.folder / "maskgate.yaml"
        file.write_text(configured(self.upstreams.sandbox, self.amend), encoding="utf-8")
        jump = self.chance.choice((-JUMP_SECONDS, 0.0, JUMP_SECONDS)) if self.trouble.clock else 0.0
        environ = {
            "MASKGATE_STATE_DIR": str(self.folder),
            "MASKGATE_DATABASE_URL": self.database_url,
            "PYTHONPATH": str(self.folder),
            "CLOCK_AHEAD_SECONDS": str(self.starts * AHEAD_SECONDS + jump),
        }
        self.starts += 1
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = await asyncio.to_thread(
                subprocess.Popen,
                [
                    *(sys.executable, "-m", "gateway.cli.main", "serve", "--config", str(file)),
                    *("--port", str(self.port), "--workers", str(self.workers)),
                ],
                env=outside() | environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        await until_so(self._ready)

    async def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "gateway.log").read_text()[-3000:]
        try:
            async with self.session.get(self.address + "/readyz") as answer:
                return answer.status == 200
        except (OSError, aiohttp.ClientError):
            return False

    def kill(self) -> None:
        """End all of its processes as a power cut does."""
        assert self.process is not None
        self.up.clear()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    async def forget_leases(self) -> None:
        """Make PostgreSQL's leases as old as they are by the next calendar: its own clock is nobody's to set."""
        disk = await Disk.open(self.database_url)
        await disk.until_alone()
        if not self.database_url.startswith("sqlite"):
            await disk.rows("UPDATE leases SET expires_at = 0")
        await disk.close()

    async def make_key(self) -> None:
        """Make a key whose budget does not run out."""
        wanted = {"tenant": "acme", "scopes": ["segment", "usage"], "hard_budget": {"usd": "100000"}}
        admin = bearing(key_in(self.folder))
        async with self.session.post(self.address + "/admin/v1/keys", json=wanted, headers=admin) as answer:
            assert answer.status == 201, await answer.text()
            self.headers = bearing((await answer.json())["key"])

    async def call(self) -> None:
        """Ask one question after the other, each until there is an answer to it."""
        scene = self.upstreams.scene("shoes")
        while not self.over:
            names = self.chance.sample(NAMES, self.chance.randint(1, len(NAMES)))
            body = {
                "image": {"url": scene.url},
                "prompts": [text(self.chance.choice(scene.things).name)],
                "route": on(*names, deadline_seconds=DEADLINE_SECONDS),
                "cache": {"mode": "skip"},
            }
            headers = {**self.headers, "Idempotency-Key": str(uuid.UUID(int=self.chance.getrandbits(128)))}
            for _ in range(MOST_RETURNS):
                await self.up.wait()
                if await self._answered(body, headers):
                    break
                await asyncio.sleep(0.1)

    async def _answered(self, body: dict[str, Any], headers: dict[str, str]) -> bool:
        try:
            async with self.session.post(self.address + "/v1/segmentations", json=body, headers=headers) as answer:
                found = await answer.json(content_type=None)
        except (OSError, aiohttp.ClientError):
            self.cut += 1
            return False
        self.told[answer.status] += 1
        return answer.status != 409 or "interrupted" in found["detail"]

    async def assert_quiet(self) -> int:
        """Demand that everything is cleared up that anybody can be asked about, and that books and ledger agree."""

        async def quiet() -> bool:
            return not any(
                each.ended == "open" or (each.ended == "hold" and each.provider != "prodia")
                for each in await read_accounts(self.database_url)
            )

        try:
            await until_so(quiet)
        except TimeoutError:
            left = [each for each in await read_accounts(self.database_url) if each.ended in {"open", "hold"}]
            pytest.fail(f"it did not clear up {[each for each in left if each.provider != 'prodia']}")
        books = [_one_runflow(call) for call in self.upstreams.books()]
        found = await query(self.database_url, "SELECT count(*) AS count FROM entries")
        assert found[0]["count"] > 0
        return len(await audit(self.database_url, books, told_as=_of_one_runflow))


def _one_runflow(call: Billed) -> Billed:
    """Return a call as that of one Runflow: which region's name stands for which endpoint changes meanwhile."""
    return replace(call, upstream="runflow") if call.upstream in RUNFLOW else call


def _of_one_runflow(account: Account) -> Account:
    return replace(account, deployment="runflow") if account.deployment in RUNFLOW else account


@asynccontextmanager
async def killed(
    upstreams: Upstreams, folder: Path, database_url: str, *, workers: int, seed: int, trouble: Trouble
) -> AsyncIterator[Killed]:
    """Have a gateway to kill, and its callers."""
    (folder / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        house = Killed(upstreams, folder, database_url, workers, random.Random(seed), trouble, session)
        try:
            yield house
        finally:
            if house.process is not None and house.process.poll() is None:
                house.kill()


def strike(upstreams: Upstreams, *, well: bool) -> None:
    """Put every fault on the upstreams, or none."""
    for name, faults in FAULTS.items():
        upstreams.strike(name, *([] if well else faults))


async def kill_in_rounds(house: Killed, rounds: int) -> int:
    """Kill it again and again at random moments, and look each time what the next one makes of it."""
    await house.start()
    await house.make_key()
    attempts = 0
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CALLERS):
            tasks.create_task(house.call())
        for _ in range(rounds):
            strike(house.upstreams, well=False)
            house.up.set()
            await asyncio.sleep(house.chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS))
            house.kill()
            await house.forget_leases()
            strike(house.upstreams, well=True)
            await house.start()
            attempts = await house.assert_quiet()
        house.over = True
        house.up.set()
    await house.assert_quiet()
    return attempts


PLAIN = Trouble("plain")
CLOCKS = Trouble("clocks", clock=True)
ENDPOINTS = Trouble("endpoints", endpoints=True)


@pytest.mark.parametrize(
    ("workers", "trouble", "rounds"),
    [
        pytest.param(1, CLOCKS, 2, marks=pytest.mark.slow),
        pytest.param(2, ENDPOINTS, 2, marks=pytest.mark.slow),
        *(
            pytest.param(workers, trouble, None, marks=pytest.mark.soak)
            for workers in (1, 2)
            for trouble in (PLAIN, CLOCKS, ENDPOINTS)
        ),
    ],
    ids=str,
)
@pytest.mark.timeout(7200)
async def test_killed_at_random_moments(
    upstreams: Upstreams,
    database_url: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    workers: int,
    trouble: Trouble,
    rounds: int | None,
) -> None:
    """After each kill nothing stays open, books and ledger agree attempt by attempt, and the ledger verifies."""
    seed = request.config.getoption("--seed")
    began = time.monotonic()
    async with killed(upstreams, tmp_path, database_url, workers=workers, seed=seed, trouble=trouble) as house:
        attempts = await kill_in_rounds(house, rounds or request.config.getoption("--rounds"))
    kinds = "PostgreSQL" if database_url.startswith("postgresql") else "SQLite"
    sys.stdout.write(
        f"seed {seed}: {kinds}, {workers} workers, {trouble}: {house.starts - 1} kills in"
        f" {time.monotonic() - began:.0f} s, {attempts} attempts, {house.cut} connections cut,"
        f" answers {dict(sorted(house.told.items()))}\n"
    )
    assert house.cut, "no kill has cut a request: the test has shown nothing"
    assert house.told.keys() <= {200, 409, 429, 502, 503, 504}
    assert_nothing_broke(tmp_path)
