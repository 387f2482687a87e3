"""What holds for masks: on pictures whose truth is known, every pixel is right, whoever made it and however it came."""

import base64
import io
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.end_to_end.asking import Caller, on, text
from tests.end_to_end.masks import bitmap_of, iou
from tests.end_to_end.upstreams import Scene, Thing, Upstreams

SCENES = ("shapes", "shoes", "desk", "crowd", "street")

#: Those that the demonstration and the documents' own examples ask about.
ASKED_ABOUT_ELSEWHERE = ("coffee", "headshot", "robot-cat")

#: How an upright picture is turned so that its EXIF orientation turns it back.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

#: The least intersection over union with the truth; polygons are allowed to round.
LEAST_IOU = {"rle": 1.0, "png": 1.0, "polygon": 0.98}


def assert_found(instances: list[dict[str, Any]], things: list[Thing], least: float = 1.0) -> None:
    """Demand exactly these things, each once, in whatever order."""
    assert sorted(thing.area for thing in things) == sorted(each["area"] for each in instances)
    for thing in things:
        (found,) = [each for each in instances if each["box"] == thing.box]
        assert thing.area == found["area"]
        assert iou(bitmap_of(found["mask"]), thing.bitmap) >= least


def test_every_scene_is_asked_about(running_upstreams: Upstreams) -> None:
    """The sandbox knows exactly the scenes that these tests ask about."""
    assert sorted((*SCENES, *ASKED_ABOUT_ELSEWHERE)) == sorted(running_upstreams.scenes())


@pytest.mark.parametrize("encoding", ["rle", "png", "polygon"])
@pytest.mark.parametrize("deployment", ["runflow-eu", "prodia"])
@pytest.mark.parametrize("name", SCENES)
async def test_text_finds_the_exact_masks(
    visitor: Caller, upstreams: Upstreams, name: str, deployment: str, encoding: str
) -> None:
    """A phrase brings every thing of that name, with the scene's own pixels, box and area."""
    scene = upstreams.scene(name)
    phrases = sorted({thing.name for thing in scene.things})
    reply = await visitor.segment(
        {
            "image": {"url": scene.url},
            "prompts": [text(phrase) for phrase in phrases],
            "max_masks": 32,
            "output": {"masks": encoding},
            "route": on(deployment),
            "cache": {"mode": "skip"},
        }
    )
    body = reply.body
    assert (scene.width, scene.height) == (body["image"]["width"], body["image"]["height"])
    for index, phrase in enumerate(phrases):
        found = [each for each in body["instances"] if each["prompt_index"] == index]
        assert {encoding} == {each["mask"]["encoding"] for each in found}
        assert_found(found, scene.named(phrase), LEAST_IOU[encoding])
    assert [(deployment, "succeeded")] * len(phrases) == reply.attempts


@pytest.mark.parametrize("inner", ["json", "text"])
@pytest.mark.parametrize("variant", ["a", "b", "c", "d"])
async def test_every_way_in_which_runflow_writes_masks_is_read(
    visitor: Caller, upstreams: Upstreams, variant: str, inner: str
) -> None:
    """Whichever of its documented forms Runflow's output has, the masks are exact."""
    scene = upstreams.scene("desk")
    upstreams.write_as("runflow-us", variant, json_strings=inner == "text")
    reply = await visitor.segment(
        {
            "image": {"url": scene.url},
            "prompts": [text("mug")],
            "route": on("runflow-us"),
            "cache": {"mode": "skip"},
        }
    )
    assert_found(reply.body["instances"], scene.named("mug"))


@pytest.mark.parametrize("name", SCENES)
async def test_box_finds_its_thing(visitor: Caller, upstreams: Upstreams, name: str) -> None:
    """The box around a thing brings that thing alone, through Runflow."""
    scene = upstreams.scene(name)
    await _assert_each_found(visitor, scene, [{"kind": "object", "box": thing.box} for thing in scene.things])


@pytest.mark.parametrize("name", SCENES)
async def test_point_finds_its_thing(visitor: Caller, upstreams: Upstreams, name: str) -> None:
    """A point on a thing brings that thing alone, through Runflow."""
    scene = upstreams.scene(name)
    await _assert_each_found(visitor, scene, [{"kind": "object", "points": [_on(thing)]} for thing in scene.things])


async def test_negative_point_rules_a_thing_out(visitor: Caller, upstreams: Upstreams) -> None:
    """With a negative point on the square, the box around it means the bar that it half covers."""
    scene = upstreams.scene("shapes")
    (square,), (bar,) = scene.named("yellow square"), scene.named("purple bar")
    prompt = {"kind": "object", "box": square.box, "points": [{**_on(square), "positive": False}]}
    reply = await visitor.segment(
        {"image": {"url": scene.url}, "prompts": [prompt], "route": on("runflow-us"), "cache": {"mode": "skip"}}
    )
    assert_found(reply.body["instances"], [bar])


async def _assert_each_found(visitor: Caller, scene: Scene, prompts: list[dict[str, Any]]) -> None:
    """Ask one question about each thing of a scene, and demand that thing for it."""
    reply = await visitor.segment(
        {"image": {"url": scene.url}, "prompts": prompts, "route": on("runflow-eu"), "cache": {"mode": "skip"}}
    )
    for index, thing in enumerate(scene.things):
        assert_found([each for each in reply.body["instances"] if each["prompt_index"] == index], [thing])


def _on(thing: Thing) -> dict[str, Any]:
    """Return a point in the middle of a thing's pixels, in their reading order."""
    rows, columns = np.nonzero(thing.bitmap)
    middle = rows.size // 2
    return {"x": int(columns[middle]), "y": int(rows[middle])}


@pytest.mark.parametrize("deployment", ["runflow-eu", "prodia"])
@pytest.mark.parametrize("way", ["url", "base64", "data_uri", "part"])
async def test_picture_may_come_in_every_way(visitor: Caller, upstreams: Upstreams, way: str, deployment: str) -> None:
    """By address, as base64, as a data: URI or as a multipart part: the same picture, the same masks."""
    scene, data = upstreams.scene("shoes"), upstreams.picture("shoes")
    encoded = base64.b64encode(data).decode()
    images = {"url": {"url": scene.url}, "base64": {"data": encoded}}
    images["data_uri"] = {"data": f"data:image/png;base64,{encoded}"}
    body = {"prompt": "left shoe", "route": on(deployment), "cache": {"mode": "skip"}}
    if way == "part":
        form = aiohttp.FormData()
        form.add_field("image", data, filename="shoes.png", content_type="image/png")
        form.add_field("request", aiohttp.payload.JsonPayload(body), content_type="application/json")
        reply = await visitor.send("POST", "/v1/segmentations", status=200, data=form)
    else:
        reply = await visitor.segment({**body, "image": images[way]})
    assert_found(reply.body["instances"], scene.named("left shoe"))
    assert "image/png" == reply.body["image"]["media_type"]
    by_url = await visitor.quote({"image": {"url": scene.url}, "prompt": "left shoe"})
    assert by_url.body["image"] == reply.body["image"]


async def test_scores_are_runflows_own_and_sort_the_answer(visitor: Caller, upstreams: Upstreams) -> None:
    """Runflow's instances come best first with its scores; Prodia gives none, and none are invented."""
    body = {"image": {"url": upstreams.scene("crowd").url}, "prompt": "coin", "max_masks": 5}
    runflow = await visitor.segment({**body, "route": on("runflow-eu")})
    scores = [each["score"] for each in runflow.body["instances"]]
    assert len(scores) == 5
    assert sorted(scores, reverse=True) == scores
    assert scores[0] == 0.99
    prodia = await visitor.segment({**body, "route": on("prodia"), "cache": {"mode": "refresh"}})
    assert [None] * 5 == [each["score"] for each in prodia.body["instances"]]


async def test_nothing_found_is_a_success(visitor: Caller, upstreams: Upstreams) -> None:
    """A phrase that names nothing in the picture is an answer without instances, and is paid for."""
    body = {"image": {"url": upstreams.scene("shoes").url}, "prompt": "giraffe"}
    for deployment in ("runflow-eu", "prodia"):
        reply = await visitor.segment({**body, "route": on(deployment), "cache": {"mode": "skip"}})
        assert ("succeeded", []) == (reply.body["status"], reply.body["instances"])
    assert ["runflow-eu", "prodia"] == [call.upstream for call in upstreams.books()]


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_picture_on_its_side_is_turned_upright(visitor: Caller, upstreams: Upstreams, orientation: int) -> None:
    """Whatever EXIF says about how a camera was held, masks and coordinates are those of the upright picture."""
    scene = upstreams.scene("shoes")
    (shoe,) = scene.named("left shoe")
    with Image.open(io.BytesIO(upstreams.picture("shoes"))) as upright:
        stored = upright if orientation == 1 else upright.transpose(STORED[orientation])
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        target = io.BytesIO()
        stored.save(target, "PNG", exif=exif)
    for prompt, deployment in ((text("left shoe"), "prodia"), ({"kind": "object", "box": shoe.box}, "runflow-eu")):
        reply = await visitor.segment(
            {
                "image": {"data": base64.b64encode(target.getvalue()).decode()},
                "prompts": [prompt],
                "route": on(deployment),
                "cache": {"mode": "skip"},
            }
        )
        assert (scene.width, scene.height) == (reply.body["image"]["width"], reply.body["image"]["height"])
        assert_found(reply.body["instances"], [shoe])
