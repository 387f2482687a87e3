"""What the providers' own examples need: their pictures, their webhook, a picture made from a text; and strictness."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.contract import Mask
from providers.sandbox import Sandbox
from providers.sandbox.documented import ADDRESSES, WEBHOOK
from providers.sandbox.scenes import paint_scenes
from providers.workers import ThreadWorkers

MODEL = "/v1/models/meta/sam-3/image/runs"
TXT2IMG = "inference.flux-fast.schnell.txt2img.v1"
CAT: dict[str, Any] = {"type": TXT2IMG, "config": {"prompt": "a cute robot cat", "resolution": "1024x1024"}}


def test_the_photograph_is_known_by_the_words_that_people_use() -> None:
    """Cup, saucer, spoon, coffee and table cover it but for the floor, and answer to other names and articles."""
    coffee = next(scene for scene in paint_scenes() if scene.name == "coffee")
    assert ["cup", "saucer", "spoon", "coffee", "table"] == [thing.name for thing in coffee.objects]
    covered = sum(thing.mask.area for thing in coffee.objects)
    assert 0.95 < covered / (400 * 600) < 1
    asked = {"Cups": 0, "a coffee cup": 0, "the mug": 0, "plate": 1, "teaspoon": 2, "espresso": 3, "wooden table": 4}
    assert [(index,) for index in asked.values()] == [coffee.named(text) for text in asked]
    assert [(), (), ()] == [coffee.named(text) for text in ("dog", "cup x", "")]


async def test_pictures_of_the_documents_are_there(control: Any, runflow: Any) -> None:
    """Each documented address brings the scene that stands for it, which `/scenes` says too."""
    stand_ins = {url: scene for scene in (await control.get("/scenes"))["scenes"] for url in scene["stands_for"]}
    assert set(ADDRESSES) == set(stand_ins)
    for url, prompt in zip(ADDRESSES, ("keyboard", "A professional headshot, soft studio lighting"), strict=True):
        (wanted,) = [thing for thing in stand_ins[url]["objects"] if thing["name"] in {"keyboard", "person"}]
        truth = Mask.from_counts(tuple(wanted["rle"]["size"]), wanted["rle"]["counts"])
        assert [truth] == await runflow.masks(await runflow.run(url, prompt=prompt))
        async with control.session.get(stand_ins[url]["image_url"]) as answer:
            assert (200, "image/" + ("png" if url.endswith("png") else "jpeg")) == (answer.status, answer.content_type)


async def test_the_documents_webhook_keeps_what_comes(control: Any, runflow: Any) -> None:
    """A callback for the address in Runflow's examples can be read at the control server, its signature too."""
    await runflow.post("/v1/callback-secrets", {})
    run = await runflow.post(MODEL, {"input": {"image_url": next(iter(ADDRESSES))}, "callback_url": WEBHOOK})
    while not (came := (await control.get("/webhook"))["callbacks"]):
        await runflow.finished(run["id"])
    assert run["id"] == json.loads(came[0]["body"])["run_id"]
    assert {"Runflow-Request-Id", "Runflow-Signature"} == set(came[0]["headers"])
    (record,) = await runflow.get(f"/v1/runs/{run['id']}/callback")
    assert ("succeeded", WEBHOOK) == (record["status_code"], record["callback_url"])


@pytest.mark.parametrize(("resolution", "known"), [("1024x1024", True), (None, True), ("512x768", False)])
async def test_a_picture_is_made_from_a_text(
    resolution: str | None, known: Any, control: Any, prodia: Any, split_parts: Any
) -> None:
    """It is a JPEG of the size that was asked for, billed; at its own size the sandbox knows what is in it."""
    config = {"prompt": "a cute robot cat"} | ({"resolution": resolution} if resolution else {})
    status, headers, body = await prodia.post({"type": TXT2IMG, "config": config}, query="?price=true")
    assert 200 == status
    (_, job), (named, picture) = split_parts(headers["Content-Type"], body)
    assert "image/jpeg" == named["Content-Type"]
    assert {"product": "inference-flux-fast-schnell-txt2img", "dollars": 0.001} == json.loads(job)["price"]
    assert [1000] == [call["microusd"] for call in await control.books()]
    _, headers, _ = await prodia.segment(picture, "robot cat")
    assert known == (headers["X-Sandbox-Masks"] == "scene")
    status, headers, raw = await prodia.post({"type": TXT2IMG, "config": config}, accept="image/jpeg")
    assert (200, "image/jpeg", picture) == (status, headers["Content-Type"], raw)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"resolution": "1024x1024"}, "missing property 'prompt'"),
        ({"prompt": ""}, "minLength"),
        ({"prompt": "x", "resolution": "big"}, "config.resolution: does not match"),
        ({"prompt": "x", "resolution": "100x1024"}, "config.resolution: got a side of 100"),
        ({"prompt": "x", "resolution": 5}, "config.resolution: does not match"),
    ],
)
async def test_a_picture_that_cannot_be_made_is_refused(config: Any, word: str, control: Any, prodia: Any) -> None:
    """The setting at fault is named, and nothing is billed."""
    status, _, body = await prodia.post({"type": TXT2IMG, "config": config})
    assert 400 == status
    assert word in body.decode()
    assert [] == await control.books()


async def test_strictness_can_be_switched(control: Any, runflow: Any, prodia: Any) -> None:
    """Prodia passes over unknown fields until it is told not to, Runflow the other way round; both name the field."""
    body = {"input": {"image_url": next(iter(ADDRESSES)), "colour": 1}, "team": "a"}
    job = CAT | {"name": "mine", "config": CAT["config"] | {"colour": 1}}
    refused = await runflow.post(MODEL, body, status=422)
    assert ["team", "input.colour"] == [error["field"] for error in refused["errors"]]
    assert 200 == (await prodia.post(job))[0]
    await control.put("/upstreams/runflow-eu/strict", {"strict": False})
    await control.put("/upstreams/prodia/strict", {"strict": True})
    await runflow.post(MODEL, body)
    status, _, answer = await prodia.post(job)
    assert 400 == status
    assert b"job: additional properties 'name' not allowed" in answer
    del job["name"]
    assert b"config: additional properties 'colour' not allowed" in (await prodia.post(job))[2]
    assert 200 == (await prodia.post(CAT))[0]
    bad: list[Any] = [{}, {"strict": 1}, [], {"strict": True, "x": 1}]
    for value in bad:
        assert "strict" in (await control.put("/upstreams/prodia/strict", value, status=422))["error"]


async def test_a_strict_sandbox_is_strict_everywhere(workers: ThreadWorkers, session: Any) -> None:
    """Started so, every upstream refuses what its documents do not name."""
    sandbox = await Sandbox.start(workers=workers, strict=True)
    job = {"type": "inference.ping.v1", "name": "mine"}
    headers = {"Authorization": "Bearer any"}
    async with session.post(f"{sandbox.upstreams['prodia']}/job", json=job, headers=headers) as answer:
        assert 400 == answer.status
    for region in ("runflow-eu", "runflow-us"):
        url = f"{sandbox.upstreams[region]}{MODEL}"
        async with session.post(url, json={"input": {"image_url": "x", "a": 1}}, headers=headers) as answer:
            assert 422 == answer.status
    await sandbox.stop()
