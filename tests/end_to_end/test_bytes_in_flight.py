"""More uploads at once than there is memory for: the bytes are given out, the rest is told so at once."""

import asyncio
import io
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest
from PIL import Image

from tests.end_to_end.household import House, Process, gateway_process
from tests.end_to_end.upstreams import Upstreams

MEGABYTE = 1_000_000
#: What the provider says to every picture, after a while: its engine would take long for so many pixels of noise.
ANSWERED = (422, "invalid_request")
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@dataclass(frozen=True, slots=True)
class Load:
    """How much is sent, and how much may be held."""

    uploads: int
    side: int
    """Pixels; each takes three bytes, since noise does not shrink."""
    most: int
    """Bytes in flight."""


def noise(side: int) -> bytes:
    """Return a PNG of about three bytes a pixel."""
    pixels = np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


def upload_of(picture: bytes) -> bytes:
    """Return a request with that picture, as multipart."""
    asked = {"prompt": "left shoe", "cache": {"mode": "skip"}, "route": {"deployments": ["prodia"]}}
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    return part % (b"request", orjson.dumps(asked)) + part % (b"image", picture) + b"--b--\r\n"


def peak_bytes(process: Process) -> int:
    """Return the most memory that a gateway has had."""
    status = Path(f"/proc/{process.process.pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


async def bytes_taken(session: aiohttp.ClientSession, house: House) -> float:
    """Return how many bytes are held, as the metrics have it."""
    headers = {"Authorization": f"Bearer {house.key}"}
    async with session.get(house.url + "/metrics", headers=headers) as answer:
        text = await answer.text()
    return float(re.findall(r'maskgate_bytes_in_flight\{count="taken"\} (\S+)', text)[0])


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Load(30, 820, 20 * MEGABYTE), id="small"),
        pytest.param(Load(500, 1820, 200 * MEGABYTE), id="full", marks=pytest.mark.soak),
    ],
)
async def test_uploads_share_the_bytes_there_are(upstreams: Upstreams, tmp_path: Path, load: Load) -> None:
    """Nine tenths of the bytes are in use at the peak, each refusal is a 429 within a second, memory stays bounded."""
    upstreams.strike("prodia", {"kind": "latency", "seconds": 2.0}, {"kind": "status", "status": 422})
    body = upload_of(noise(load.side))
    changes: dict[str, dict[str, Any]] = {"limits": {"bytes_in_flight": load.most}}
    peak, refused = 0.0, list[float]()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def upload(url: str) -> tuple[int, str | None]:
            started = time.monotonic()
            async with session.post(url + "/v1/segmentations", data=io.BytesIO(body), headers=FORM) as answer:
                if answer.status == 429:
                    refused.append(time.monotonic() - started)
                said = await answer.json(content_type=None)
                return answer.status, said.get("code")

        with gateway_process(upstreams.sandbox, tmp_path / "house", changes=changes) as running:

            async def look() -> None:
                nonlocal peak
                while True:
                    peak = max(peak, await bytes_taken(session, running.house))
                    await asyncio.sleep(0.02)

            assert ANSWERED == await upload(running.house.url)
            before = peak_bytes(running)
            looking = asyncio.create_task(look())
            endings = Counter(await asyncio.gather(*(upload(running.house.url) for _ in range(load.uploads))))
            looking.cancel()
            await asyncio.wait({looking})
            grown = peak_bytes(running) - before
            left = await bytes_taken(session, running.house)
    print(  # noqa: T201 - the figures are what one runs it by hand for
        f"\n{dict(endings)}; {len(body)} bytes each, {peak / load.most:.1%} of the bytes in use at the peak, memory"
        f" grew by {grown / load.most:.2f} of them; refusals took {max(refused, default=0):.2f} s at most"
    )
    assert {ANSWERED, (429, "overloaded")} >= set(endings)
    assert endings[ANSWERED] >= load.most // len(body) - 1
    assert peak >= 0.9 * load.most
    assert grown <= 3 * load.most
    assert left == 0
