"""A running sandbox, and plain HTTP clients of its upstreams that share no code with the adapters."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest

from providers.contract import Mask
from providers.sandbox import Sandbox
from providers.workers import ThreadWorkers

MODEL = "/v1/models/meta/sam-3/image/runs"
HEADERS = {"Authorization": "Bearer any-key"}


def grey(png: bytes) -> np.ndarray:
    """Decode a mask file as it is, whatever its channels."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return pixels


def parts_of(content_type: str, body: bytes) -> list[tuple[dict[str, str], bytes]]:
    """Take a multipart body apart at its delimiters, by hand."""
    boundary = re.fullmatch(r"multipart/form-data; boundary=([0-9a-f]{60})", content_type)
    assert boundary is not None, content_type
    delimiter = b"--" + boundary.group(1).encode()
    assert body.startswith(delimiter + b"\r\n")
    assert body.endswith(b"\r\n" + delimiter + b"--\r\n")
    found = []
    for piece in body.removesuffix(delimiter + b"--\r\n").split(delimiter + b"\r\n")[1:]:
        head, _, data = piece.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        found.append((headers, data.removesuffix(b"\r\n")))
    return found


@dataclass
class Control:
    """The control server."""

    session: aiohttp.ClientSession
    url: str

    async def get(self, path: str) -> Any:
        """Read JSON."""
        async with self.session.get(self.url + path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def books(self) -> list[dict[str, Any]]:
        """Read the books."""
        return (await self.get("/books"))["calls"]

    async def put(self, path: str, value: Any, *, status: int = 200) -> Any:
        """Put JSON."""
        async with self.session.put(self.url + path, json=value) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def habits(self, upstream: str, **habits: Any) -> Any:
        """Switch how an upstream behaves where its documents are silent."""
        return await self.put(f"/upstreams/{upstream}/habits", habits)

    async def strike(self, upstream: str, fault: Any) -> None:
        """Switch faults on."""
        await self.put(f"/upstreams/{upstream}/fault", fault)

    async def heal(self, upstream: str) -> None:
        """Switch faults off."""
        async with self.session.delete(f"{self.url}/upstreams/{upstream}/fault") as answer:
            assert answer.status == 200

    async def scene(self, name: str) -> dict[str, Any]:
        """Return a scene's truth."""
        scenes = (await self.get("/scenes"))["scenes"]
        return next(scene for scene in scenes if scene["name"] == name)

    async def picture(self, name: str) -> bytes:
        """Return a scene's picture."""
        async with self.session.get(f"{self.url}/scenes/{name}.png") as answer:
            return await answer.read()

    async def truth(self, name: str, *objects: str) -> list[Mask]:
        """Return the true masks of the objects of those names, in the scene's order."""
        scene = await self.scene(name)
        return [
            Mask.from_counts(tuple(thing["rle"]["size"]), thing["rle"]["counts"])
            for thing in scene["objects"]
            if thing["name"] in objects
        ]


@dataclass
class RunflowClient:
    """A client of one fake Runflow region."""

    session: aiohttp.ClientSession
    url: str

    async def post(self, path: str, value: Any, *, status: int = 201, **headers: str) -> Any:
        """Post JSON."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        async with self.session.post(self.url + path, json=value, headers=HEADERS | named) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def get(self, path: str, *, status: int = 200) -> Any:
        """Read JSON; NaN is read as such."""
        async with self.session.get(self.url + path, headers=HEADERS) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def smart(self, image_url: str, prompt: str, *, status: int = 201) -> dict[str, Any]:
        """Run Smart Segmentation to its end."""
        value = {"input": {"image_url": image_url, "prompt": prompt}}
        answer = await self.post("/v1/models/runflow/smart-segmentation/runs", value, status=status)
        return await self.finished(answer["id"]) if status == 201 else answer

    async def create(self, image_url: str, **fields: Any) -> dict[str, Any]:
        """Create a run that answers with plain masks unless told otherwise."""
        client_ref = fields.pop("client_ref", None)
        usual = {"apply_mask": False, "return_multiple_masks": True, "max_masks": 32, "prompt": ""}
        body = {"input": {"image_url": image_url, **usual, **fields}, "client_ref": client_ref}
        return await self.post(MODEL, body)

    async def finished(self, run_id: str) -> dict[str, Any]:
        """Poll a run to its end."""
        while True:
            run = await self.get(f"/v1/runs/{run_id}")
            if run["status_code"] not in ("queued", "dispatching", "running"):
                return run
            await asyncio.sleep(0.002)

    async def run(self, image_url: str, **fields: Any) -> dict[str, Any]:
        """Create a run and poll it to its end."""
        return await self.finished((await self.create(image_url, **fields))["id"])

    async def download(self, url: str) -> bytes:
        """Download an output without any credential."""
        async with self.session.get(url) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.read()

    async def masks(self, run: dict[str, Any]) -> list[Mask]:
        """Download the masks of a run of variant a."""
        files = [await self.download(image["url"]) for image in run["output"]["model_data"]["masks"]]
        return [Mask.from_bitmap(grey(file)) for file in files]

    async def upload(self, data: bytes, media_type: str = "image/png") -> str:
        """Upload a file; return its signed address."""
        wanted = {"filename": "picture.png", "mime_type": media_type, "size_bytes": len(data)}
        announced = await self.post("/v1/asset-uploads", wanted)
        async with self.session.put(announced["upload_url"], data=data, headers={"Content-Type": media_type}) as answer:
            assert answer.status == 200, await answer.text()
        confirmed = await self.post(f"/v1/asset-uploads/{announced['asset_id']}/confirmations", {"folder_id": None})
        return confirmed["url"]


@dataclass
class ProdiaClient:
    """A client of the fake Prodia."""

    session: aiohttp.ClientSession
    url: str

    async def post(
        self, job: Any, *pictures: bytes, query: str = "", accept: str = "multipart/form-data", token: str = "any"
    ) -> tuple[int, dict[str, str], bytes]:
        """Post a job; return status, headers and body."""
        form = aiohttp.FormData()
        for number, picture in enumerate(pictures):
            form.add_field("input", io.BytesIO(picture), filename=f"image{number}.jpg", content_type="image/jpeg")
        form.add_field("job", aiohttp.payload.JsonPayload(job), filename="job.json", content_type="application/json")
        headers = {"Authorization": f"Bearer {token}", "Accept": accept}
        async with self.session.post(f"{self.url}/job{query}", data=form, headers=headers) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    async def segment(self, picture: bytes, prompt: str, **config: Any) -> tuple[int, dict[str, str], bytes]:
        """Post a SAM 3 job."""
        job = {"type": "inference.sam3.segment.v1", "config": {"prompt": prompt, **config}}
        return await self.post(job, picture)


@pytest.fixture
def workers() -> Iterator[ThreadWorkers]:
    """Real threads."""
    pool = ThreadWorkers(threads=2, queue=256)
    yield pool
    pool.close()


@pytest.fixture
async def sandbox(workers: ThreadWorkers) -> AsyncIterator[Sandbox]:
    """A sandbox on free ports."""
    running = await Sandbox.start(workers=workers)
    yield running
    await running.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that opens a connection for every call, so that nothing is retried behind our back."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client:
        yield client


@pytest.fixture
def control(sandbox: Sandbox, session: aiohttp.ClientSession) -> Control:
    """The control server."""
    return Control(session, sandbox.control_url)


@pytest.fixture
def runflow(sandbox: Sandbox, session: aiohttp.ClientSession) -> RunflowClient:
    """The European Runflow."""
    return RunflowClient(session, sandbox.upstreams["runflow-eu"])


@pytest.fixture
def prodia(sandbox: Sandbox, session: aiohttp.ClientSession) -> ProdiaClient:
    """Prodia."""
    return ProdiaClient(session, sandbox.upstreams["prodia"])


@pytest.fixture
def decode_mask() -> Any:
    """Return the decoder of mask files."""
    return grey


@pytest.fixture
def split_parts() -> Any:
    """Return the reader of multipart bodies."""
    return parts_of
