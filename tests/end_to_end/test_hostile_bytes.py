"""Bytes that were made to hurt: each costs its own question, in time, and nobody beside it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.asking import on, text
from tests.end_to_end.broken_pictures import chunk, picture_files
from tests.end_to_end.crooked import Crooked, Genuine, Twist
from tests.end_to_end.household import Process, gateway_process
from tests.end_to_end.loop_monitor import sandbox_process
from tests.providers.test_mask_files import deadly_png

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SEGMENT = "/v1/segmentations"
DEADLINE_SECONDS = 12.0
#: How long past its deadline an answer may come: promised is one second, on a machine that does nothing else.
LATE_SECONDS = 3.0
#: How long the gateway's health may have to be waited for beside all of this, on a machine that does other work, too.
HEALTH_SECONDS = 2.0


@dataclass(slots=True)
class Place:
    """A gateway whose upstreams answer what they are told to."""

    gateway: Process
    session: aiohttp.ClientSession
    scene: bytes
    mask: bytes | None = None
    """What every mask is instead."""
    record: Callable[[dict[str, Any]], dict[str, Any] | bytes] | None = None
    """What becomes of a run's record."""
    parts: int = 1
    """How many masks Prodia's answer has for each that it had."""
    longest: float = 0.0
    """How long its health was waited for, in seconds."""

    async def ask(
        self, data: bytes, prompt: dict[str, Any], deployment: str, path: str = SEGMENT, **more: Any
    ) -> tuple[int, dict[str, Any]]:
        """Ask about a picture, and return status and body."""
        route = on(deployment, deadline_seconds=DEADLINE_SECONDS, max_attempts=1)
        request = {"prompts": [prompt], "route": route, "cache": {"mode": "skip"}, **more}
        body = {"image": {"data": base64.b64encode(data).decode()}, **request}
        started = time.monotonic()
        async with self.session.post(self.gateway.house.url + path, json=body) as answer:
            said: dict[str, Any] = await answer.json(content_type=None)
        assert time.monotonic() - started < DEADLINE_SECONDS + LATE_SECONDS
        return answer.status, said

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Ask for the gateway's health all the while."""

        async def watch() -> None:
            while True:
                started = time.monotonic()
                async with self.session.get(self.gateway.house.url + "/healthz") as answer:
                    assert answer.status == 200
                self.longest = max(self.longest, time.monotonic() - started)
                await asyncio.sleep(0.05)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
        assert self.gateway.process.poll() is None
        assert self.longest < HEALTH_SECONDS

    def download(self, genuine: Genuine) -> bytes:
        """Answer a mask's address."""
        return genuine.message() if self.mask is None else replace(genuine, body=self.mask).message()

    def polled(self, genuine: Genuine) -> bytes:
        """Answer a look at a run."""
        if self.record is None or genuine.status != 200:
            return genuine.message()
        made = self.record(json.loads(genuine.body))
        return replace(genuine, body=made if isinstance(made, bytes) else json.dumps(made).encode()).message()

    def job(self, genuine: Genuine) -> bytes:
        """Answer Prodia's job."""
        if self.mask is None or "boundary=" not in genuine.kind:
            return genuine.message()
        boundary = b"--" + genuine.kind.partition("boundary=")[2].strip('"').encode()
        parts = genuine.body.split(boundary)
        made = []
        for part in parts:
            head, found, _ = part.partition(b"\r\n\r\n")
            is_mask = bool(found) and b"image/" in head
            made += [head + found + self.mask + b"\r\n"] * self.parts if is_mask else [part]
        return replace(genuine, body=boundary.join(made)).message()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """Run a sandbox and a gateway, and a crooked way between them for each kind of answer."""
    async with AsyncExitStack() as stack:
        sandbox = stack.enter_context(sandbox_process())
        place = Place.__new__(Place)
        ways = ((1, "download", "download"), (2, "poll", "polled"), (3, "job", "job"))
        ports = []
        for upstream, step, name in ways:
            twist = Twist(step, lambda genuine, name=name: getattr(place, name)(genuine))  # type: ignore[misc]
            way = Crooked(f"http://127.0.0.1:{sandbox.port + upstream}", twist)
            ports.append(await stack.enter_async_context(way.open()))
        changes: dict[str, dict[str, Any]] = {"fetch": {"allow": [f"127.0.0.1:{port}" for port in ports]}}
        names = {"runflow-eu": f"http://127.0.0.1:{ports[0]}", "runflow-us": f"http://127.0.0.1:{ports[1]}"}
        names["prodia"] = f"http://127.0.0.1:{ports[2]}/v2"
        gateway = await asyncio.to_thread(
            stack.enter_context, gateway_process(sandbox, tmp_path, changes=changes, endpoints=names)
        )
        key = {"Authorization": f"Bearer {gateway.house.key}"}
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=key))
        async with session.get(f"{sandbox.control_url}/scenes") as answer:
            scenes = {each["name"]: each["image_url"] for each in (await answer.json())["scenes"]}
        async with session.get(scenes["shoes"]) as answer:
            place.__init__(gateway, session, await answer.read())  # type: ignore[misc]
        yield place


async def honest(place: Place) -> None:
    """Ask what an honest caller asks, of everybody, with pictures that are decoded."""
    for deployment in ("runflow-eu", "runflow-us", "prodia"):
        assert 200 == (await place.ask(place.scene, text("shoe"), deployment))[0], deployment
    assert 200 == (await place.ask(picture_files()[0], {"kind": "automatic"}, "local-classic"))[0]


def flat_png(width: int, height: int, bits: int, kind: int, channels: int) -> bytes:
    """Return a PNG of one colour, in few bytes however large it is."""
    row = b"\0" + b"\xff" * (width * channels * bits // 8)
    packer = zlib.compressobj(9)
    rows = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    head = width.to_bytes(4) + height.to_bytes(4) + bytes((bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


async def test_b1_animated_png(place: Place) -> None:
    """The file that OpenCV dies of ends nothing, whichever way it comes in."""
    async with place.watched():
        for prompt, deployment in (({"kind": "automatic"}, "local-classic"), (text("shoe"), "prodia")):
            assert (await place.ask(deadly_png(), prompt, deployment))[0] in {200, 422}
        place.mask = deadly_png()
        for deployment in ("runflow-eu", "prodia"):
            assert (await place.ask(place.scene, text("shoe"), deployment))[0] in {200, 502}
        place.mask = None
    await honest(place)


async def test_b2_slow_pictures_beside_an_honest_caller(place: Place) -> None:
    """Pictures that take long to turn are ended by their time, and an honest caller is answered beside them."""
    slow = lying_picture()
    async with place.watched():
        hostile = [
            asyncio.create_task(place.ask(slow, {"kind": "automatic"}, "local-classic", "/v1/quotes")) for _ in range(4)
        ]
        await asyncio.sleep(0.2)
        await honest(place)
        assert {status for status, _ in await asyncio.gather(*hostile)} <= {200, 422, 429, 504}


async def test_b4_masks_larger_than_their_picture(place: Place) -> None:
    """A mask of 8192 x 8192 is refused by its header; one in 16 bits and four channels by its own cost."""
    async with place.watched():
        for mask in (flat_png(8192, 8192, 8, 0, 1), flat_png(2048, 2048, 16, 6, 4)):
            place.mask = mask
            asked = [place.ask(place.scene, text("shoe"), name) for name in ("runflow-eu", "prodia") * 3]
            assert {status for status, _ in await asyncio.gather(*asked)} <= {200, 502, 504}
    place.mask = None


async def test_b5_more_than_was_asked_for(place: Place) -> None:
    """Of 20,000 addresses as many as may be wanted are brought; 60 MB of JSON, and 32 huge masks, are not read."""
    async with place.watched():

        def addresses(record: dict[str, Any]) -> dict[str, Any]:
            record["output"] = {"masks": [{"url": f"http://127.0.0.1:9/{n}.png"} for n in range(20_000)]}
            return record

        for record in (addresses, lambda _: b'{"id": "' + b"x" * 60_000_000 + b'"}', lambda _: b"[" * 900_000):
            place.record = record
            assert 502 == (await place.ask(place.scene, text("shoe"), "runflow-us"))[0]
        place.record = None
        place.mask, place.parts = flat_png(4096, 4096, 16, 0, 1), 32
        assert 502 == (await place.ask(place.scene, text("shoe"), "prodia"))[0]


async def test_b6_overlays_leave_no_memory_behind(place: Place) -> None:
    """Forty overlays of odd pictures leave the serving process as large as ten did."""
    chance = np.random.default_rng(6)
    pictures = [saved(chance.integers(0, 255, (900 + n, 1200 - 7 * n, 3), np.uint8)) for n in range(10)]
    point = {"kind": "object", "points": [{"x": 50, "y": 60}]}

    async def paint(count: int) -> int:
        for n in range(count):
            status, _ = await place.ask(pictures[n % 10], point, "local-classic", output={"overlay": True})
            assert 200 == status
        return resident_bytes(place.gateway.process.pid)

    before = await paint(10)
    assert await paint(30) - before < 64 * 2**20


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def lying_picture() -> bytes:
    """Return a progressive JPEG of many pixels and scans that EXIF says lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    target = io.BytesIO()
    Image.new("RGB", (9_000, 9_000), (90, 40, 200)).save(target, "JPEG", progressive=True, exif=exif, quality=30)
    return target.getvalue()


def saved(pixels: np.ndarray) -> bytes:
    """Return pixels as a JPEG."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=60)
    return target.getvalue()
