"""More uploads at once than there is memory for: the bytes are given out, the rest is told so at once."""

import asyncio
import io
import re
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
from tests.end_to_end.uploading import Ending, uploads
from tests.end_to_end.upstreams import Upstreams

MEGABYTE = 1_000_000
#: What the provider says to every picture, after a while: its engine would take long for so many pixels of noise.
ANSWERED = (422, "invalid_request")
FORM = "multipart/form-data; boundary=b"
#: A refusal is out within a second of the request's head; the rest is for a machine that does other work as well.
REFUSED_SECONDS = 2.5


@dataclass(frozen=True, slots=True)
class Load:
    """How much is sent, and how much may be held."""

    uploads: int
    side: int
    """Pixels; each takes three bytes, since noise does not shrink."""
    most: int
    """Bytes in flight."""
    processes: int
    """That send them."""


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


def refusal_seconds(house: House) -> list[float]:
    """Return how long each refused upload took, from its head to the end of the answer, by the gateway's own log."""
    lines = (house.state / "gateway.log").read_text(encoding="utf-8").splitlines()
    said = [orjson.loads(line) for line in lines if '"event":"request"' in line]
    return [each["ms"] / 1000 for each in said if each["status"] == 429]


async def bytes_taken(session: aiohttp.ClientSession, house: House) -> float:
    """Return how many bytes are held, as the metrics have it."""
    headers = {"Authorization": f"Bearer {house.key}"}
    async with session.get(house.url + "/metrics", headers=headers) as answer:
        text = await answer.text()
    return float(re.findall(r'maskgate_bytes_in_flight\{count="taken"\} (\S+)', text)[0])


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Load(30, 820, 20 * MEGABYTE, 2), id="small"),
        pytest.param(Load(500, 1820, 200 * MEGABYTE, 4), id="full", marks=pytest.mark.soak),
    ],
)
async def test_uploads_share_the_bytes_there_are(upstreams: Upstreams, tmp_path: Path, load: Load) -> None:
    """Nine tenths of the bytes are in use at the peak, each refusal is a 429 within a second, memory stays bounded."""
    upstreams.strike("prodia", {"kind": "latency", "seconds": 2.0}, {"kind": "status", "status": 422})
    body = tmp_path / "body"
    body.write_bytes(upload_of(noise(load.side)))
    size, peak = body.stat().st_size, 0.0
    changes: dict[str, dict[str, Any]] = {"limits": {"bytes_in_flight": load.most}}

    with gateway_process(upstreams.sandbox, tmp_path / "house", changes=changes) as running:

        def upload(count: int, processes: int) -> list[Ending]:
            return list(uploads(running.house.url, body, FORM, count=count, processes=processes))

        async with aiohttp.ClientSession() as session:

            async def look() -> None:
                nonlocal peak
                while True:
                    peak = max(peak, await bytes_taken(session, running.house))
                    await asyncio.sleep(0.02)

            assert [ANSWERED] == [(each.status, each.code) for each in await asyncio.to_thread(upload, 1, 1)]
            before = peak_bytes(running)
            looking = asyncio.create_task(look())
            endings = await asyncio.to_thread(upload, load.uploads, load.processes)
            looking.cancel()
            await asyncio.wait({looking})
            grown = peak_bytes(running) - before
            left = await bytes_taken(session, running.house)
        refused = refusal_seconds(running.house)
    counted = Counter((each.status, each.code) for each in endings)
    print(  # noqa: T201 - the figures are what one runs it by hand for
        f"\n{dict(counted)}; {size} bytes each, {peak / load.most:.1%} of the bytes in use at the peak, memory"
        f" grew by {grown / load.most:.2f} of them; refusals took {max(refused, default=0):.2f} s at most, and"
        f" {max((each.seconds for each in endings if each.status == 429), default=0):.2f} s until read"
    )
    assert {ANSWERED, (429, "overloaded")} >= set(counted)
    assert counted[ANSWERED] >= load.most // size - 1
    assert max(refused, default=0) <= REFUSED_SECONDS
    assert peak >= 0.9 * load.most
    assert grown <= 3 * load.most
    assert left == 0
