"""Runflow's adapter against every way of writing an output that the sandbox knows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from providers.contract import Deadline, Deployment, Mask, Means, Picture, Question, Secret, Segmentation, TextPrompt
from providers.fetch import GuardedFetcher
from providers.runflow import Runflow
from providers.sandbox import Sandbox
from providers.transport import HttpUpstream
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders

Ask = Callable[..., Awaitable[Segmentation]]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox on free ports."""
    workers = ThreadWorkers(threads=2, queue=1000)
    sandbox = await Sandbox.start(workers=workers)
    yield sandbox
    await sandbox.stop()
    workers.close()


@pytest.fixture
async def scene(sandbox: Sandbox) -> dict[str, Any]:
    """The first scene that the sandbox knows, with the bytes of its picture."""
    async with aiohttp.ClientSession() as session:
        async with session.get(sandbox.control_url + "/scenes") as answer:
            scene: dict[str, Any] = (await answer.json())["scenes"][0]
        async with session.get(scene["image_url"]) as answer:
            return {**scene, "picture": await answer.read()}


@pytest.fixture
async def ask(sandbox: Sandbox, scene: dict[str, Any]) -> AsyncIterator[Ask]:
    """A question about the scene, to runflow-eu."""
    endpoint = sandbox.upstreams["runflow-eu"]
    workers, upstream = ThreadWorkers(threads=2, queue=64), HttpUpstream(time.monotonic)
    fetcher = GuardedFetcher(time.monotonic, allow=[endpoint.removeprefix("http://")])
    runflow = Runflow(Means(upstream, fetcher, workers, shared_decoders(), time.monotonic, asyncio.sleep))
    picture = Picture(scene["picture"], "image/png", scene["width"], scene["height"], "blake3:x")

    async def asked(text: str, *, model: str = "meta/sam-3/image", **options: Any) -> Segmentation:
        deployment = Deployment("runflow-eu", "runflow", model, "eu", endpoint, Secret("any_key"), options)
        question = Question(picture, TextPrompt(text), 32)
        deadline = Deadline.after(30, time.monotonic)
        segmentation, _ = await runflow.segment(
            question, deployment, attempt_id=f"att_{text.replace(' ', '_')}", deadline=deadline
        )
        return segmentation

    yield asked
    await runflow.close()
    await fetcher.close()
    await upstream.close()
    workers.close()


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("variant", ["a", "b", "c", "d"])
async def test_variants(*, sandbox: Sandbox, scene: dict[str, Any], ask: Ask, variant: str, strings: bool) -> None:
    """Every way of writing an output names the same mask, its preview never counts as one, and nothing is nothing."""
    address = f"{sandbox.control_url}/upstreams/runflow-eu/variant"
    async with (
        aiohttp.ClientSession() as session,
        session.put(address, json={"variant": variant, "json_strings": strings}) as answer,
    ):
        assert answer.status == 200
    thing = scene["objects"][0]

    found = await ask(thing["name"])
    nothing = await ask("submarine")

    height, width = thing["rle"]["size"]
    assert [Mask.from_counts((height, width), thing["rle"]["counts"])] == [each.mask for each in found.instances]
    assert (found.instances[0].score is None) == (variant == "c")
    assert nothing.instances == ()


@pytest.mark.parametrize("kind", ["png", "webp"])
@pytest.mark.parametrize("polarity", ["normal", "inverted"])
async def test_smart_segmentation(
    *, sandbox: Sandbox, scene: dict[str, Any], ask: Ask, kind: str, polarity: str
) -> None:
    """Smart Segmentation's one mask is the same in either format and either polarity."""
    address = f"{sandbox.control_url}/upstreams/runflow-eu/habits"
    async with (
        aiohttp.ClientSession() as session,
        session.put(address, json={"smart_format": kind, "smart_polarity": polarity}) as answer,
    ):
        assert answer.status == 200
    thing = scene["objects"][0]
    found = await ask(thing["name"], model="runflow/smart-segmentation")
    height, width = thing["rle"]["size"]
    [instance] = found.instances
    assert instance.mask.iou(Mask.from_counts((height, width), thing["rle"]["counts"])) > 0.999
    assert ["turned over" in warning for warning in found.warnings] == [True] * (polarity == "inverted")


@pytest.mark.parametrize("generation", [1, 2])
async def test_generations(scene: dict[str, Any], ask: Ask, generation: int) -> None:
    """The older calls find what the current one finds."""
    name = scene["objects"][0]["name"]
    assert await ask(name) == await ask(name, generation=generation)
