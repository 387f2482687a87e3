"""The remote adapters against the sandbox, which was written from the same documents and shares no code with them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from providers.contract import (
    Box,
    Deadline,
    Deployment,
    Mask,
    Means,
    Money,
    ObjectPrompt,
    Picture,
    Prompt,
    Provider,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderUnanswered,
    ProviderUnreachable,
    Question,
    Secret,
    Segmentation,
    TextPrompt,
    Usage,
)
from providers.fetch import GuardedFetcher
from providers.prodia import Prodia
from providers.runflow import Runflow
from providers.sandbox import Sandbox
from providers.transport import HttpUpstream
from providers.workers import ThreadWorkers

MODELS = {"runflow-eu": ("runflow", "meta/sam-3/image"), "prodia": ("prodia", "inference.sam3.segment.v1")}
REMOTE = list(MODELS)


@dataclass
class World:
    """A sandbox, its first scene, and both adapters."""

    sandbox: Sandbox
    session: aiohttp.ClientSession
    providers: dict[str, Provider]
    scene: dict[str, Any]
    picture: bytes
    attempts: Iterator[int] = field(default_factory=itertools.count)

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """Speak to the control server."""
        async with self.session.request(method, self.sandbox.control_url + path, json=body) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def ask(
        self,
        upstream: str,
        prompt: Prompt,
        *,
        by_url: bool = False,
        seconds: float = 30,
        options: dict[str, str | int | float | bool] | None = None,
    ) -> tuple[Segmentation, Usage]:
        """Make one attempt at an upstream about the scene."""
        provider, model = MODELS[upstream]
        endpoint = self.sandbox.upstreams[upstream]
        deployment = Deployment(upstream, provider, model, "eu", endpoint, Secret("any_key"), options or {})
        url = self.scene["image_url"] if by_url else None
        picture = Picture(self.picture, "image/png", self.scene["width"], self.scene["height"], "blake3:x", url)
        self.providers[provider].check(deployment)
        return await self.providers[provider].segment(
            Question(picture, prompt, 32),
            deployment,
            attempt_id=f"att_{next(self.attempts)}",
            deadline=Deadline.after(seconds, time.monotonic),
        )

    async def failure(self, upstream: str, kind: type[ProviderError], *, seconds: float = 30) -> ProviderError:
        """Make one attempt that has to fail."""
        with pytest.raises(kind) as caught:
            await self.ask(upstream, TextPrompt(self.scene["objects"][0]["name"]), seconds=seconds)
        return caught.value

    def truth(self, number: int) -> Mask:
        """Return the true mask of an object of the scene."""
        rle = self.scene["objects"][number]["rle"]
        return Mask.from_counts((rle["size"][0], rle["size"][1]), rle["counts"])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Start a sandbox on free ports, and build the adapters with means that may fetch from it."""
    theirs = ThreadWorkers(threads=2, queue=1000)
    ours = ThreadWorkers(threads=2, queue=64)
    sandbox = await Sandbox.start(workers=theirs)
    addresses = [url.removeprefix("http://").split("/")[0] for url in sandbox.upstreams.values()]
    upstream = HttpUpstream(time.monotonic)
    fetcher = GuardedFetcher(time.monotonic, allow=addresses)
    means = Means(upstream, fetcher, ours, time.monotonic, asyncio.sleep)
    providers: dict[str, Provider] = {"runflow": Runflow(means), "prodia": Prodia(means)}
    async with aiohttp.ClientSession() as session:
        async with session.get(sandbox.control_url + "/scenes") as answer:
            scene = (await answer.json())["scenes"][0]
        async with session.get(scene["image_url"]) as answer:
            picture = await answer.read()
        yield World(sandbox, session, providers, scene, picture)
    for provider in providers.values():
        await provider.close()
    await fetcher.close()
    await upstream.close()
    await sandbox.stop()
    theirs.close()
    ours.close()


@pytest.mark.parametrize("upstream", REMOTE)
async def test_named_objects(world: World, upstream: str) -> None:
    """Each object of a scene comes back as exactly its mask when it is named, at the price of the books."""
    for number, thing in enumerate(world.scene["objects"]):
        segmentation, usage = await world.ask(upstream, TextPrompt(thing["name"]))
        assert world.truth(number) in [instance.mask for instance in segmentation.instances]
        assert segmentation.warnings == ()
        assert usage.reported == Money({"runflow-eu": 5000, "prodia": 1100}[upstream])
    calls = (await world.control("GET", "/books"))["calls"]
    assert [call["upstream"] for call in calls] == [upstream] * len(world.scene["objects"])


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("variant", ["a", "b", "c", "d"])
async def test_variants(world: World, variant: str, strings: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """Every way of writing an output names the same mask, its preview never counts as one, and nothing is nothing."""
    written = {"variant": variant, "json_strings": strings}
    await world.control("PUT", "/upstreams/runflow-eu/variant", written)
    segmentation, _ = await world.ask("runflow-eu", TextPrompt(world.scene["objects"][0]["name"]))
    assert [instance.mask for instance in segmentation.instances] == [world.truth(0)]
    assert (segmentation.instances[0].score is None) == (variant == "c")
    nothing, _ = await world.ask("runflow-eu", TextPrompt("submarine"))
    assert nothing.instances == ()


async def test_box(world: World) -> None:
    """A box around an object brings one mask, and Runflow reads the picture at its own address."""
    box = world.scene["objects"][0]["box"]
    prompt = ObjectPrompt(box=Box(box["x_min"], box["y_min"], box["x_max"], box["y_max"]))
    segmentation, _ = await world.ask("runflow-eu", prompt, by_url=True)
    assert [instance.mask for instance in segmentation.instances] == [world.truth(0)]


@pytest.mark.parametrize(
    ("fault", "kind", "may_have_charged"),
    [
        ({"kind": "status", "status": 500}, ProviderFailed, False),
        ({"kind": "throttle", "retry_after": 2}, ProviderOverloaded, False),
        ({"kind": "refuse"}, ProviderUnreachable, False),
        ({"kind": "bad_png"}, ProviderFailed, True),
    ],
)
@pytest.mark.parametrize("upstream", REMOTE)
async def test_faults(
    world: World,
    upstream: str,
    fault: dict[str, Any],
    kind: type[ProviderError],
    may_have_charged: bool,  # noqa: FBT001 - a table
) -> None:
    """Each fault of the sandbox is the error that the contract has for it, and says truly whether it may be billed."""
    await world.control("PUT", f"/upstreams/{upstream}/fault", fault)
    assert (await world.failure(upstream, kind)).may_have_charged is may_have_charged
    await world.control("DELETE", f"/upstreams/{upstream}/fault")
    calls = (await world.control("GET", "/books"))["calls"]
    assert bool(calls) is may_have_charged


@pytest.mark.parametrize("upstream", REMOTE)
async def test_lost_answer(world: World, upstream: str) -> None:
    """An answer that is lost after the call was billed may have been charged, and it was."""
    await world.control("PUT", f"/upstreams/{upstream}/fault", {"kind": "lost_answer"})
    assert (await world.failure(upstream, ProviderUnanswered, seconds=2)).may_have_charged is True
    assert [call["answered"] for call in (await world.control("GET", "/books"))["calls"]] == [False]
