"""The two older calls of SAM 3: a flat body, and the result in the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from providers.contract import Box, Deployment, Fate, ObjectPrompt, Point, ProviderFailed, ProviderUnanswered, Secret
from tests.providers.runflow.fake_runflow import ATTEMPT, CREATE, FLAT, RUN, TRUTHS, Scene

GENERATIONS = pytest.mark.parametrize("generation", [1, 2])
BOTH = ObjectPrompt((Point(3, 4), Point(9, 9, positive=False)), Box(1, 2, 30, 40))
POINTS = [{"x": 3, "y": 4, "label": 1, "object_id": 1}, {"x": 9, "y": 9, "label": 0, "object_id": 1}]
BOXES = [{"x_min": 1, "y_min": 2, "x_max": 30, "y_max": 40, "object_id": 1}]


def answering(scene: Scene, **changes: Any) -> None:
    """Have the call answered with fal's own fields."""
    masks = [{"url": scene.fake.mask_url(name)} for name in ("0.png", "1.webp")]
    body = {"image": masks[0], "masks": masks, "metadata": None, "scores": [0.9, 0.4], "boxes": None, **changes}

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(body)

    scene.fake.create = answer


@GENERATIONS
async def test_synchronous(scene: Scene, generation: int) -> None:
    """One call brings the masks: there is no run to look at, and no cost or id that would be named."""
    scene.use(generation=generation)
    answering(scene)
    instances, warnings, usage = await scene.ask(url="https://a.example/p.png")
    assert [(TRUTHS[0], 0.9, "disc"), (TRUTHS[1], 0.4, "disc")] == instances
    assert () == warnings
    assert (None, None) == (usage.reported, usage.upstream_ref)
    assert 0 == scene.fake.looks
    [(headers, body)] = scene.fake.sent("POST", FLAT[generation])
    assert ATTEMPT == headers["idempotency-key"]
    assert {
        "image_url": "https://a.example/p.png",
        "prompt": "disc",
        "max_masks": 10,
        "apply_mask": False,
        "return_multiple_masks": True,
        "include_scores": True,
        "include_boxes": True,
        "output_format": "png",
        "sync_mode": False,
    } == json.loads(body)


@GENERATIONS
async def test_prompts_as_text(scene: Scene, generation: int) -> None:
    """Points and boxes go as JSON text, as the pages of the older generations type them."""
    scene.use(generation=generation)
    answering(scene)
    await scene.ask(BOTH)
    [(_, body)] = scene.fake.sent("POST", FLAT[generation])
    sent = json.loads(body)
    assert (POINTS, BOXES) == (json.loads(sent["point_prompts"]), json.loads(sent["box_prompts"]))
    assert "" == sent["prompt"]


async def test_prompts_as_arrays_on_request(scene: Scene) -> None:
    """An older generation is sent arrays where the deployment says so."""
    scene.use(generation=1, prompts_as="json")
    answering(scene)
    await scene.ask(BOTH)
    [(_, body)] = scene.fake.sent("POST", FLAT[1])
    assert (POINTS, BOXES) == tuple(json.loads(body)[name] for name in ("point_prompts", "box_prompts"))


async def test_prompts_as_text_on_request(scene: Scene) -> None:
    """The current generation is sent text where the deployment says so, and no empty one."""
    scene.use(prompts_as="string")
    await scene.ask(ObjectPrompt(box=BOTH.box))
    [(_, body)] = scene.fake.sent("POST", CREATE)
    sent = json.loads(body)["input"]
    assert BOXES == json.loads(sent["box_prompts"])
    assert "point_prompts" not in sent


@GENERATIONS
async def test_nothing_found(scene: Scene, generation: int) -> None:
    """An empty list of masks is an answer."""
    scene.use(generation=generation)
    answering(scene, masks=[], image=None)
    instances, _, _ = await scene.ask()
    assert [] == instances


@GENERATIONS
async def test_a_run_instead(scene: Scene, generation: int) -> None:
    """An answer that is a run is looked at until it has ended."""
    scene.use(generation=generation)
    instances, _, usage = await scene.ask()
    assert TRUTHS == [mask for mask, _, _ in instances]
    assert RUN == usage.upstream_ref
    assert 4 == scene.fake.looks


@GENERATIONS
async def test_neither(scene: Scene, generation: int) -> None:
    """An answer with neither masks nor a run may have been billed."""
    scene.use(generation=generation)

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    scene.fake.create = answer
    error = await scene.failure(ProviderFailed)
    assert error.may_have_charged


@GENERATIONS
async def test_lost(scene: Scene, generation: int) -> None:
    """A lost answer cannot be found again, since the call leaves no reference; one that named its run can."""
    scene.use(generation=generation)

    async def lose(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    scene.fake.create = lose
    error = await scene.failure(ProviderUnanswered)
    assert error.may_have_charged
    assert Fate.UNKNOWN is (await scene.look_up()).fate
    assert [] == scene.fake.sent("GET", "/v1/runs")
    scene.fake.walk = ["succeeded"]
    assert Fate.CHARGED is (await scene.look_up(RUN)).fate


@pytest.mark.parametrize("option", [{"generation": 0}, {"generation": True}, {"generation": "3"}, {"prompts_as": "x"}])
def test_bad_options(scene: Scene, option: dict[str, Any]) -> None:
    """A generation that there is not, and a form that prompts cannot have, are refused before any traffic."""
    with pytest.raises(ValueError, match="has to be"):
        scene.use(**option)


def test_smart_segmentation_has_one_generation(scene: Scene) -> None:
    """The older calls are SAM 3's alone."""
    deployment = Deployment(
        "s", "runflow", "runflow/smart-segmentation", "eu", scene.fake.base, Secret("k"), {"generation": 2}
    )
    with pytest.raises(ValueError, match="set model to meta/sam-3/image"):
        scene.runflow.check(deployment)


async def test_organization(scene: Scene) -> None:
    """The organization to be billed is named in every call, and in none without the option."""
    await scene.ask()
    assert not any("x-organization-id" in headers for _, _, headers, _ in scene.fake.requests)
    scene.fake.requests.clear()
    scene.fake.walk = ["succeeded"]
    scene.use(organization_id="5f6c1c1e-0000-4000-8000-000000000001")
    await scene.ask()
    ours = [headers for _, path, headers, _ in scene.fake.requests if path.startswith("/v1/")]
    assert {"5f6c1c1e-0000-4000-8000-000000000001"} == {headers["x-organization-id"] for headers in ours}
