"""What holds for pictures beyond a provider's limits: they are made to fit, and what fits is left as it is."""

import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
import yaml
from aiohttp import web

from gateway.app import create_app
from gateway.serving import running
from gateway.settings import settings_from_yaml
from tests.end_to_end.asking import Caller, Reply, on, text
from tests.end_to_end.household import configuration
from tests.end_to_end.masks import bitmap_of, iou
from tests.end_to_end.upstreams import Upstreams


def disc(width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture of one orange disc on dark blue."""
    pixels = np.full((height, width, 3), (90, 30, 10), np.uint8)
    cv2.circle(pixels, (width // 2, height // 2), min(width, height) // 4, (20, 140, 240), -1)
    return pixels


def file_of(pixels: np.ndarray[Any, np.dtype[np.uint8]], kind: str = ".png") -> bytes:
    """Return the pixels as a file."""
    written, data = cv2.imencode(kind, pixels)
    assert written
    return data.tobytes()


def asking(picture: bytes, *deployments: str, **more: Any) -> dict[str, Any]:
    """Return a request about a picture's bytes, for these deployments in the operator's order."""
    image = {"data": base64.b64encode(picture).decode()}
    return {"image": image, "prompts": [text("disc")], "route": on(*deployments), **more}


def done_to(reply: Reply) -> list[str]:
    """Return what was done to the picture; that the sandbox invents masks of pictures like these is another matter."""
    return [said for said in reply.body["answers"][0]["warnings"] if "its masks are invented" not in said]


async def test_icon_and_scan_go_through_prodia(visitor: Caller) -> None:
    """A picture of 100 pixels and one of 5,000 get masks at their own size, and a warning that says what was done."""
    for (width, height), done in (
        ((100, 100), "scaled up from 100x100 to 300x300 pixels (factor 3)"),
        ((5000, 300), "scaled down from 5000x300 to 4096x246 pixels (factor 0.8192), padded"),
    ):
        pixels = disc(width, height)
        reply = await visitor.segment(asking(file_of(pixels), "prodia"))
        (warning,) = done_to(reply)
        assert done in warning
        truth = (pixels[:, :, 2] > 128).astype(np.uint8)
        masks = [bitmap_of(each["mask"]) for each in reply.body["instances"]]
        assert {(height, width)} == {mask.shape for mask in masks}
        assert max(iou(mask, truth) for mask in masks) > 0.9
        assert [("prodia", "succeeded")] == reply.attempts


async def test_strict_leaves_a_deployment_out(visitor: Caller, upstreams: Upstreams) -> None:
    """Nothing is changed and nothing is spent where the caller says so, in a quote and in a request."""
    request = asking(file_of(disc(100, 100)), "prodia", "runflow-eu", fit="strict", cache={"mode": "skip"})
    (quoted,) = (await visitor.quote(request)).body["questions"]
    assert ["runflow-eu"] == [each["deployment"] for each in quoted["candidates"]]
    reply = await visitor.segment({**request, "route": on("prodia")}, status=422)
    assert ("no_deployment", "image") == (reply.body["code"], reply.body["field"])
    assert "at least 256 pixels" in reply.body["detail"]
    assert [] == upstreams.books()
    reply = await visitor.segment(request)
    assert [("runflow-eu", "succeeded")] == reply.attempts
    assert [] == done_to(reply)


async def test_strict_is_not_answered_from_a_changed_picture(caller: Caller) -> None:
    """An answer that was bought about a fitted picture serves who lets it be changed, and nobody else."""
    request = asking(file_of(disc(120, 110)), "prodia")
    assert ["miss"] == (await caller.segment(request)).caches
    anywhere = {**request, "route": {"providers": ["prodia", "runflow"]}}
    assert ["hit"] == (await caller.segment(anywhere)).caches
    assert ["miss"] == (await caller.segment({**anywhere, "fit": "strict"})).caches


async def test_failover_goes_back_to_the_picture_itself(caller: Caller, upstreams: Upstreams) -> None:
    """Where the deployment fails that needed a fitted picture, the next one gets it as it was."""
    upstreams.strike("prodia", {"kind": "status", "status": 503})
    request = asking(file_of(disc(200, 180)), "prodia", "runflow-eu")
    request["route"]["strategy"] = "cheapest"
    reply = await caller.segment(request)
    assert ["prodia", "runflow-eu"] == [deployment for deployment, _ in reply.attempts]
    assert "succeeded" == reply.attempts[1][1]
    assert [] == done_to(reply)


async def test_sixteen_prompts_about_an_icon_are_all_answered(visitor: Caller) -> None:
    """They share one fitted picture, and each has its answer and its warning."""
    request = asking(file_of(disc(64, 60)), "prodia")
    request["prompts"] = [text(f"disc {number}") for number in range(16)]
    reply = await visitor.segment(request)
    assert ["miss"] * 16 == reply.caches
    assert 16 == len([each for each in reply.body["answers"] if any("64x60" in said for said in each["warnings"])])


async def test_what_cannot_be_made_to_fit_is_told_before_anything_is_spent(
    visitor: Caller, upstreams: Upstreams
) -> None:
    """A damaged picture and a strip of which nothing would be left: the problem names deployment and reason."""
    whole = file_of(disc(100, 100))
    damaged = whole[:60] + bytes(len(whole) - 72) + whole[-12:]
    for picture, reason in (
        (damaged, "prodia: the picture cannot be decoded"),
        (file_of(np.zeros((8, 9000, 3), np.uint8)), "prodia: the picture is 9000 x 8; scaled down to the 4096"),
    ):
        reply = await visitor.segment(asking(picture, "prodia"), status=422)
        assert ("no_deployment", "image") == (reply.body["code"], reply.body["field"])
        assert reason in reply.body["detail"]
    assert [] == upstreams.books()


@asynccontextmanager
async def listening(bodies: list[bytes]) -> AsyncIterator[str]:
    """Run an upstream that writes down what it is sent and takes nothing."""

    async def take(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response(status=503)

    app = web.Application(client_max_size=2**26)
    app.add_routes([web.post("/v2/job", take)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}/v2"
    finally:
        await runner.cleanup()


async def test_bytes_that_fit_are_passed_on_untouched(
    upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """What is within the limits arrives byte for byte, not even decoded; what is beyond them arrives within them."""
    whole = file_of(disc(300, 280))
    damaged = whole[:60] + bytes(len(whole) - 72) + whole[-12:]
    bodies: list[bytes] = []
    async with listening(bodies) as endpoint:
        document = yaml.safe_load(configuration(upstreams.sandbox))
        prodia = next(each for each in document["deployments"] if each["name"] == "prodia")
        document["deployments"] = [{**prodia, "endpoint": endpoint}]
        document["routing"] = {"retries_in_place": 0}
        settings = settings_from_yaml(yaml.safe_dump(document), environ={"MASKGATE_STATE_DIR": str(tmp_path)})
        with (
            (tmp_path / "log").open("w") as log,
            running(lambda: create_app(settings, log_to=log, show=lambda _key: None)) as url,
        ):
            for picture in (damaged, file_of(disc(100, 90))):
                await Caller(url, session).segment(asking(picture, "prodia"), status=502)
    untouched, fitted = bodies
    assert damaged in untouched
    assert whole not in fitted
    start = fitted.index(b"\x89PNG")
    assert (300, 270) == struct.unpack(">II", fitted[start + 16 : start + 24])
