"""The older generations of Runflow's SAM 3, Smart Segmentation, and what the account says, over sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from providers.contract import Mask
from providers.sandbox import Sandbox
from providers.workers import ThreadWorkers

OLDER = ("/v1/run/sam-3/image", "/v1/run/meta/sam-3/image")
MODEL = "/v1/models/meta/sam-3/image/runs"
SMART = "/v1/models/runflow/smart-segmentation/runs"


def union(masks: list[Mask]) -> Mask:
    """Return all masks as one."""
    return Mask.from_bitmap(np.any([mask.bitmap for mask in masks], axis=0))


@pytest.mark.parametrize("path", OLDER)
async def test_an_older_generation_answers_with_the_masks_at_once(
    path: str, control: Any, runflow: Any, decode_mask: Any
) -> None:
    """A flat body brings fal's flat output in one call, its masks true, and is billed as a run without a reference."""
    body = {
        "prompt": "shoe",
        "image_url": (await control.scene("shoes"))["image_url"],
        "apply_mask": False,
        "return_multiple_masks": True,
        "include_scores": True,
        "include_boxes": True,
    }
    told = await runflow.post(path, body, status=200)
    assert ["boxes", "image", "masks", "metadata", "scores"] == sorted(told)
    files = [await runflow.download(mask["url"]) for mask in (*told["masks"], told["image"])]
    truth = await control.truth("shoes", "left shoe", "right shoe")
    assert [*truth, truth[0]] == [Mask.from_bitmap(decode_mask(file)) for file in files]
    assert [2, 2] == [len(told["scores"]), len(told["boxes"])]
    assert [{"index": 1, "score": told["scores"][1], "box": told["boxes"][1]}] == told["metadata"][1:]
    assert [(5000, None, True)] == [
        (call["microusd"], call["client_ref"], call["answered"]) for call in await control.books()
    ]


@pytest.mark.parametrize("path", OLDER)
async def test_the_older_generations_have_the_documented_defaults(path: str, control: Any, runflow: Any) -> None:
    """A picture alone is searched for a wheel, of which one comes, with neither scores nor boxes."""
    told = await runflow.post(path, {"image_url": (await control.scene("street"))["image_url"]}, status=200)
    assert (1, None, None) == (len(told["masks"]), told["scores"], told["boxes"])


@pytest.mark.parametrize("as_text", [False, True])
async def test_prompts_of_the_older_generations_are_lists_or_their_text(
    as_text: Any, control: Any, runflow: Any, decode_mask: Any
) -> None:
    """A box and a point, as arrays or as JSON text, bring the objects under them."""
    mouse, pen = await control.truth("desk", "mouse", "pen")
    rows, columns = np.nonzero(pen.bitmap)
    points = [{"x": int(columns[0]), "y": int(rows[0]), "label": 1}]
    edges = (mouse.box.x_min, mouse.box.y_min, mouse.box.x_max, mouse.box.y_max)
    boxes = [dict(zip(("x_min", "y_min", "x_max", "y_max"), edges, strict=True))]
    body = {
        "image_url": (await control.scene("desk"))["image_url"],
        "prompt": "",
        "apply_mask": False,
        "return_multiple_masks": True,
        "point_prompts": json.dumps(points) if as_text else points,
        "box_prompts": json.dumps(boxes) if as_text else boxes,
    }
    told = await runflow.post(OLDER[1], body, status=200)
    files = [await runflow.download(mask["url"]) for mask in told["masks"]]
    assert [pen, mouse] == [Mask.from_bitmap(decode_mask(file)) for file in files]


async def test_an_older_generation_that_finds_nothing_says_so(control: Any, runflow: Any) -> None:
    """Nothing found is a billed success without masks and image."""
    body = {"image_url": (await control.scene("desk"))["image_url"], "prompt": "submarine"}
    told = await runflow.post(OLDER[0], body, status=200)
    assert ([], None, []) == (told["masks"], told["image"], told["metadata"])
    assert 1 == len(await control.books())


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "VALIDATION_ERROR"),
        ({"image_url": "http://127.0.0.1/", "promt": "x"}, 422, "VALIDATION_ERROR"),
        ({"image_url": "http://127.0.0.1/", "max_masks": 33}, 422, "VALIDATION_ERROR"),
        ({"image_url": "data:image/png;base64,bm90IGEgcGljdHVyZQ=="}, 422, "INPUT_VALIDATION_FAILED"),
    ],
)
async def test_errors_of_the_older_generations_come_in_the_envelope(
    body: Any, status: int, code: str, control: Any, runflow: Any
) -> None:
    """A bad body and a bad picture are 422 in the envelope of generation 3, and free."""
    assert code == (await runflow.post(OLDER[0], body, status=status))["code"]
    assert [] == await control.books()


async def test_texts_of_the_older_generations_spare_what_their_examples_read(control: Any, runflow: Any) -> None:
    """With JSON text switched on, scores are text, and data["image"]["url"] still works."""
    await control.put("/upstreams/runflow-eu/variant", {"json_strings": True})
    body = {"image_url": (await control.scene("street"))["image_url"], "include_scores": True}
    told = await runflow.post(OLDER[0], body, status=200)
    assert told["image"]["url"].startswith("http")
    assert [0.99] == json.loads(told["scores"])


async def test_a_synchronous_run_is_billed_when_its_caller_leaves(workers: ThreadWorkers, session: Any) -> None:
    """Hanging up saves nothing: the run ends, is billed, and was never answered."""
    sandbox = await Sandbox.start(workers=workers, run_seconds=0.2)
    try:
        body = {"image_url": f"{sandbox.control_url}/scenes/desk.png", "prompt": "pen"}
        url = sandbox.upstreams["runflow-us"] + OLDER[1]
        call = session.post(url, json=body, headers={"Authorization": "Bearer k"})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.1)
        calls: list[Any] = []
        while not calls:
            await asyncio.sleep(0.01)
            calls = (await (await session.get(f"{sandbox.control_url}/books")).json())["calls"]
    finally:
        await sandbox.stop()
    assert [("runflow-us", False)] == [(call["upstream"], call["answered"]) for call in calls]


@pytest.mark.parametrize(("file_format", "lead"), [("png", b"\x89PNG"), ("webp", b"RIFF")])
@pytest.mark.parametrize("polarity", ["normal", "inverted"])
async def test_smart_segmentation_brings_one_mask_of_all_that_is_named(
    file_format: str, lead: bytes, polarity: str, control: Any, runflow: Any, decode_mask: Any
) -> None:
    """All shoes come as one mask, in the format and the polarity that is on, for $0.12."""
    await control.habits("runflow-eu", smart_format=file_format, smart_masks="one", smart_polarity=polarity)
    run = await runflow.smart((await control.scene("shoes"))["image_url"], "shoe")
    output = run["output"]
    assert {"seed": None, "timing": None, "nsfw_detected": None} == {
        name: value for name, value in output.items() if name != "outputs"
    }
    (entry,) = output["outputs"]
    assert {"url", "type"} == set(entry)
    file = await runflow.download(entry["url"])
    assert lead == file[:4]
    pixels = decode_mask(file)
    pixels = pixels[:, :, 0] if pixels.ndim == 3 else pixels
    white = Mask.from_bitmap(pixels if polarity == "normal" else 255 - pixels)
    assert union(await control.truth("shoes", "left shoe", "right shoe")) == white
    assert ("0.12", [120_000]) == (run["cost"], [call["microusd"] for call in await control.books()])


async def test_smart_segmentation_may_bring_each_thing_in_a_mask_of_its_own(
    control: Any, runflow: Any, decode_mask: Any
) -> None:
    """The page says one or more; it is one run all the same, for one price."""
    run = await runflow.smart((await control.scene("shoes"))["image_url"], "shoe")
    masks = [Mask.from_bitmap(decode_mask(await runflow.download(each["url"]))) for each in run["output"]["outputs"]]
    assert masks == [*await control.truth("shoes", "left shoe"), *await control.truth("shoes", "right shoe")]
    assert [120_000] == [call["microusd"] for call in await control.books()]


async def test_smart_segmentation_of_nothing_brings_nothing(control: Any, runflow: Any) -> None:
    """A prompt that names nothing is a billed success without outputs."""
    run = await runflow.smart((await control.scene("desk"))["image_url"], "submarine")
    assert ("succeeded", []) == (run["status_code"], run["output"]["outputs"])


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"prompt": "x"}, "input.image_url"),
        ({"image_url": "http://127.0.0.1/a.png"}, "input.prompt"),
        ({"image_url": "http://127.0.0.1/a.png", "prompt": ""}, "input.prompt"),
        ({"image_url": "http://127.0.0.1/a", "prompt": "x"}, "input.image_url"),
        ({"image_url": "data:image/png;base64,AA==", "prompt": "x"}, "input.image_url"),
        ({"image_url": "http://127.0.0.1/a.png", "prompt": "x", "apply_mask": True}, "input.apply_mask"),
    ],
)
async def test_smart_segmentation_takes_a_picture_by_its_name_and_a_prompt(
    value: dict[str, Any], field: str, runflow: Any
) -> None:
    """Both fields are required, nothing else is known, and the address has to end like a picture's."""
    errors = (await runflow.post(SMART, {"input": value}, status=422))["errors"]
    assert [field] == [error["field"] for error in errors]


async def test_the_extension_is_not_looked_at_where_that_is_switched_off(control: Any, runflow: Any) -> None:
    """Without the check an uploaded data: URI is fine too."""
    await control.habits("runflow-eu", smart_extensions=False)
    run = await runflow.smart((await control.scene("desk"))["image_url"] + "?name", "pen")
    assert "succeeded" == run["status_code"]
    assert "failed" == (await runflow.smart("data:image/png;base64,AA==", "pen"))["status_code"]


async def test_habits_are_read_switched_and_go_back(control: Any) -> None:
    """What is not named goes back to usual; what is wrong is named, and changes nothing."""
    assert "cents" == (await control.habits("runflow-eu", balance="cents"))["balance"]
    usual = {
        "smart_format": "png",
        "smart_masks": "each",
        "smart_polarity": "normal",
        "smart_extensions": True,
        "balance": "decimal",
        "callback_retries": "model_page",
        "callback_pace": 1,
    }
    assert usual == await control.habits("runflow-eu")
    for upstream, value, word in (
        ("runflow-eu", {"balance": "euros"}, "balance: one of decimal, cents"),
        ("runflow-eu", {"colour": "red"}, "colour: there is no such field"),
        ("runflow-eu", {"smart_extensions": 1}, "smart_extensions: true or false"),
        ("runflow-eu", [], "habits are an object"),
        ("prodia", {"async_types": ["x"]}, "async_types: a list of inference.segment.v1"),
    ):
        assert word in (await control.put(f"/upstreams/{upstream}/habits", value, status=422))["error"]
    assert usual == await control.get("/upstreams/runflow-eu/habits")
    assert {"async_types": ["inference.ping.v1"], "unknown_type": "429"} == await control.get(
        "/upstreams/prodia/habits"
    )


async def test_the_account_tells_itself_its_balance_and_its_prices(control: Any, runflow: Any) -> None:
    """Balance in each of its bodies, readiness, whose key it is, and what a run of each model costs."""
    assert {"items": [{"balance_usd": "100.000000"}]} == await runflow.get("/v1/credit-balances")
    await control.habits("runflow-eu", balance="cents")
    assert {"balance_cents": 10_000, "currency": "USD"} == await runflow.get("/v1/billing/balance")
    assert "ok" == (await runflow.get("/v1/readiness"))["status"]
    assert "any-key"[:8] == (await runflow.get("/v1/auth/me"))["key_prefix"]
    prices = [
        (await runflow.get(f"/v1/models/{model}/pricing"))["price"]
        for model in ("meta/sam-3/image", "runflow/smart-segmentation")
    ]
    assert ["0.005", "0.12"] == prices
    await runflow.get("/v1/models/meta/sam-4/pricing", status=404)
    statuses = [item["code"] for item in (await runflow.get("/v1/runs/statuses"))["items"]]
    assert {"queued", "dispatching", "running", "succeeded", "failed", "canceled", "partial_succeeded"} == set(statuses)


async def test_an_administrator_cancels_a_run_whose_work_goes_on(workers: ThreadWorkers, session: Any) -> None:
    """The first cancellation is a 201, a second a 200; the run stays cancelled, and its work is billed all the same."""
    sandbox = await Sandbox.start(workers=workers, run_seconds=0.2)
    try:
        base, headers = sandbox.upstreams["runflow-eu"], {"Authorization": "Bearer rf_svc_1"}
        body = {"input": {"image_url": f"{sandbox.control_url}/scenes/desk.png", "prompt": "pen"}}
        run = await (await session.post(base + MODEL, json=body, headers=headers)).json()
        url = f"{base}/v1/admin/runs/{run['id']}/cancellation"
        answers = [
            await session.post(url, json=value, headers=headers) for value in ({"reason": "no"}, {"reason": "no use"})
        ]
        answers += [await session.post(url, headers=headers)]
        answers += [await session.post(url, headers={"Authorization": "Bearer rf_live_1"})]
        assert [422, 201, 200, 403] == [answer.status for answer in answers]
        calls: list[Any] = []
        while not calls:
            await asyncio.sleep(0.01)
            calls = (await (await session.get(f"{sandbox.control_url}/books")).json())["calls"]
        ended = await (await session.get(f"{base}/v1/runs/{run['id']}", headers=headers)).json()
    finally:
        await sandbox.stop()
    assert ("canceled", None, None) == (ended["status_code"], ended["output"], ended["cost"])
    assert [run["id"]] == [call["id"] for call in calls]
