"""What holds however broken pictures and masks are: the gateway lives, answers in time, and says whose fault it is."""

import asyncio
import base64
import io
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.end_to_end.asking import on, text
from tests.end_to_end.broken_pictures import broken, picture_files
from tests.end_to_end.crooked import Crooked, Genuine, Twist
from tests.end_to_end.household import Process, gateway_process
from tests.end_to_end.loop_monitor import sandbox_process

#: Pictures in all, over every way in; `make soak` sends 20,000.
COUNT = int(os.environ.get("MASKGATE_BROKEN_PICTURES", "1000"))
SEED = int(os.environ.get("MASKGATE_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)

AT_ONCE = 6
DEADLINE_SECONDS = 10.0
LATE_SECONDS = 1.0
"""How long past its deadline an answer may come."""
GROWTH_BYTES = 64 * 2**20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

#: What may be answered about a broken picture of the caller's; 200 where it can be read after all.
CALLERS = {200, 400, 413, 415, 422}
#: What may be answered where the provider's mask is broken: nothing else can be asked, so it is the provider's failure.
PROVIDERS = {200, 502}


@dataclass(slots=True)
class Way:
    """One way in for broken bytes."""

    name: str
    path: str
    allowed: set[int]
    route: dict[str, Any]
    prompts: list[dict[str, Any]]
    form: str = "multipart"
    output: dict[str, Any] = field(default_factory=dict)


AUTOMATIC = [{"kind": "automatic"}]
LOCAL = on("local-classic", deadline_seconds=DEADLINE_SECONDS)
PRODIA = on("prodia", deadline_seconds=DEADLINE_SECONDS, max_attempts=1)
RUNFLOW = on("runflow-eu", deadline_seconds=DEADLINE_SECONDS, max_attempts=1)
SEGMENT = "/v1/segmentations"

OF_CALLERS = (
    Way("multipart", SEGMENT, CALLERS, LOCAL, AUTOMATIC),
    Way("base64", SEGMENT, CALLERS, LOCAL, AUTOMATIC, form="base64"),
    Way("url", SEGMENT, CALLERS, LOCAL, AUTOMATIC, form="url"),
    Way("fitted", SEGMENT, CALLERS, PRODIA, [text("disc")]),  # smaller than Prodia takes: decoded and scaled
    Way("passed_on", SEGMENT, CALLERS, on("runflow-us", deadline_seconds=DEADLINE_SECONDS), [text("disc")]),
    Way("quote", "/v1/quotes", CALLERS, LOCAL, AUTOMATIC),
    Way("overlay", SEGMENT, CALLERS, LOCAL, AUTOMATIC, output={"overlay": True}),
)
OF_PROVIDERS = (
    Way("runflow_mask", SEGMENT, PROVIDERS, RUNFLOW, [text("shoe")], form="whole"),
    Way("prodia_mask", SEGMENT, PROVIDERS, PRODIA, [text("shoe")], form="whole"),
)


class Masks:
    """Breaks the masks of every third of a provider's answers or fewer: of more, its breaker would open."""

    def __init__(self, seed: int) -> None:
        """Break masks by a seed."""
        self.on = False
        self.broken = 0
        self._calls = Counter[int]()
        self._files = broken(seed, masks=True)

    def _breaks(self, every: int) -> bool:
        """Whether this file or answer, one of *every* so many, is to be broken."""
        self._calls[every] += 1
        return self.on and self._calls[every] % every == 0

    def _next(self) -> bytes:
        self.broken += 1
        return next(self._files)

    def download(self, genuine: Genuine) -> bytes:
        """Answer a mask's address; an answer has two of them."""
        return replace(genuine, body=self._next()).message() if self._breaks(8) else genuine.message()

    def job(self, genuine: Genuine) -> bytes:
        """Answer Prodia's job: every picture among the parts is a broken one."""
        if "boundary=" not in genuine.kind or not self._breaks(4):
            return genuine.message()
        boundary = b"--" + genuine.kind.partition("boundary=")[2].strip('"').encode()
        parts = genuine.body.split(boundary)
        for index, part in enumerate(parts):
            head, found, _ = part.partition(b"\r\n\r\n")
            if found and b"image/" in head:
                parts[index] = head + found + self._next() + b"\r\n"
        return replace(genuine, body=boundary.join(parts)).message()


@dataclass(slots=True)
class Surroundings:
    """A gateway, its crooked upstreams and a server of pictures."""

    gateway: Process
    masks: Masks
    pictures: dict[str, bytes]
    pictures_url: str
    session: aiohttp.ClientSession
    whole: bytes
    told: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    health: list[float] = field(default_factory=list)
    late: list[tuple[str, float]] = field(default_factory=list)

    async def send(self, way: Way, data: bytes, number: int) -> tuple[int, str]:
        """Send one picture one way, and return status and code."""
        request: dict[str, Any] = {"prompts": way.prompts, "route": way.route, "cache": {"mode": "skip"}}
        if way.output:
            request["output"] = way.output
        options: dict[str, Any] = {}
        if way.form == "multipart":
            form = aiohttp.FormData()
            form.add_field("image", data, filename="picture", content_type="application/octet-stream")
            form.add_field("request", json.dumps(request), content_type="application/json")
            options["data"] = form
        else:
            image = {"data": base64.b64encode(self.whole if way.form == "whole" else data).decode()}
            if way.form == "url":
                self.pictures[str(number)] = data
                image = {"url": f"{self.pictures_url}/{number}"}
            options["data"] = io.BytesIO(json.dumps({"image": image, **request}).encode())  # it may be large
            options["headers"] = {"Content-Type": "application/json"}
        started = time.monotonic()
        async with self.session.post(self.gateway.house.url + way.path, **options) as answer:
            said = await answer.json(content_type=None)
        took = time.monotonic() - started
        self.pictures.pop(str(number), None)
        if took > DEADLINE_SECONDS + LATE_SECONDS:
            self.late.append((way.name, took))
        code = said.get("code", "answered")
        self.told[way.name, answer.status, code] += 1
        return answer.status, code

    async def watch(self) -> None:
        """Ask for the gateway's health ten times a second, for as long as nobody stops it."""
        while True:
            started = time.monotonic()
            async with self.session.get(self.gateway.house.url + "/healthz") as answer:
                assert answer.status == 200
            self.health.append(time.monotonic() - started)
            await asyncio.sleep(0.1)

    def memory(self) -> int:
        """Return the resident bytes of the serving process."""
        with Path(f"/proc/{self.gateway.process.pid}/statm").open() as statm:
            return int(statm.read().split()[1]) * PAGE_BYTES


@asynccontextmanager
async def served(pictures: dict[str, bytes]) -> AsyncIterator[int]:
    """Serve pictures by their names on a free port."""

    async def give(request: web.Request) -> web.Response:
        return web.Response(body=pictures[request.path[1:]], content_type="application/octet-stream")

    app = web.Application()
    app.router.add_get("/{name}", give)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[Surroundings]:
    """Run all of it: the sandbox and the gateway as processes of their own."""
    masks, pictures = Masks(SEED + 1), dict[str, bytes]()
    async with AsyncExitStack() as stack:
        sandbox = stack.enter_context(sandbox_process())
        crooked = []
        for upstream, step, bend in ((1, "download", masks.download), (3, "job", masks.job)):
            way = Crooked(f"http://127.0.0.1:{sandbox.port + upstream}", Twist(step, bend))
            crooked.append(await stack.enter_async_context(way.open()))
        port = await stack.enter_async_context(served(pictures))
        changes: dict[str, dict[str, Any]] = {"fetch": {"allow": [f"127.0.0.1:{each}" for each in (*crooked, port)]}}
        gateway = await asyncio.to_thread(
            stack.enter_context, gateway_process(sandbox, tmp_path, changes=changes, endpoints=endpoints(crooked))
        )
        key = {"Authorization": f"Bearer {gateway.house.key}"}
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=key))
        async with session.get(f"{sandbox.control_url}/scenes") as answer:
            scenes = {each["name"]: each["image_url"] for each in (await answer.json())["scenes"]}
        async with session.get(scenes["shoes"]) as answer:
            whole = await answer.read()
        yield Surroundings(gateway, masks, pictures, f"http://127.0.0.1:{port}", session, whole)


def endpoints(ports: list[int]) -> dict[str, str]:
    """Return where two deployments are asked instead."""
    return {"runflow-eu": f"http://127.0.0.1:{ports[0]}", "prodia": f"http://127.0.0.1:{ports[1]}/v2"}


async def send_all(around: Surroundings, ways: Sequence[Way], *, seed: int, count: int) -> list[str]:
    """Send so many pictures over *ways*, a few at a time, and return what was answered against the rules."""
    wrong: list[str] = []
    files = broken(seed)
    sent = ((number, ways[number % len(ways)], next(files)) for number in range(count))

    async def send() -> None:
        for number, way, data in sent:
            status, code = await around.send(way, data, number)
            if status not in way.allowed:
                wrong.append(f"{number} {way.name}: {status} {code}")

    await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    return wrong


@pytest.mark.alone
@pytest.mark.timeout(3600)
async def test_broken_pictures_hurt_nobody(around: Surroundings) -> None:
    """
    The gateway outlives every picture, says whose fault it is, in time, and its memory comes back.

    A request without a broken picture before and after shows that everything still works.
    """
    seen = [f"seed {SEED}, {COUNT} pictures"]
    for way in (*OF_CALLERS, *OF_PROVIDERS):
        assert (await around.send(way, picture_files()[0], -1))[0] == 200, way.name
    await send_all(around, OF_CALLERS, seed=SEED + 2, count=min(300, COUNT))  # all that is loaded late is loaded
    before, watching = around.memory(), asyncio.create_task(around.watch())
    wrong = await send_all(around, OF_CALLERS, seed=SEED, count=COUNT * 3 // 4)
    around.masks.on = True
    while around.masks.broken < COUNT // 4:
        wrong += await send_all(around, OF_PROVIDERS, seed=SEED, count=50)
    around.masks.on = False
    watching.cancel()
    for way in (*OF_CALLERS, *OF_PROVIDERS):
        assert (await around.send(way, picture_files()[0], -1))[0] == 200, way.name
    grown, health = around.memory() - before, sorted(around.health)
    p99 = health[len(health) * 99 // 100]
    seen.append(f"healthz: {len(health)}, p50 {health[len(health) // 2] * 1000:.1f}, p99 {p99 * 1000:.1f} ms")
    seen.append(f"memory grown by {grown / 2**20:.1f} MB; {around.masks.broken} broken masks")
    seen += [f"{way} {status} {code}: {count}" for (way, status, code), count in sorted(around.told.items())]
    sys.stdout.write("\n".join(seen) + "\n")
    assert [] == wrong
    assert [] == around.late
    assert around.gateway.process.poll() is None
    assert grown <= GROWTH_BYTES
