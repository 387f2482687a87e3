"""The fake Runflow, over sockets, against what its documents say."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest
from aiohttp import web

from providers.contract import Mask
from providers.sandbox import Sandbox
from providers.workers import ThreadWorkers

MODEL = "/v1/models/meta/sam-3/image/runs"


async def test_a_text_prompt_brings_the_true_masks(control: Any, runflow: Any) -> None:
    """Every object that the prompt names comes with IoU 1.0, its true box and area, scored below 1 and falling."""
    image_url = (await control.scene("shoes"))["image_url"]
    run = await runflow.run(image_url, prompt="shoe", include_scores=True, include_boxes=True, client_ref="ref-1")
    truth = await control.truth("shoes", "left shoe", "right shoe")
    masks = await runflow.masks(run)
    assert [mask.iou(true) for mask, true in zip(masks, truth, strict=True)] == [1.0] * 2
    assert truth == masks
    data = run["output"]["model_data"]
    assert sorted(data["scores"], reverse=True) == data["scores"]
    assert all(0.5 < score < 1 for score in data["scores"])
    box = truth[1].box
    assert box is not None
    centre_x, centre_y, width, height = data["boxes"][1]
    assert (box.x_min, box.x_max) == (round((centre_x - width / 2) * 640), round((centre_x + width / 2) * 640))
    assert (box.y_min, box.y_max) == (round((centre_y - height / 2) * 480), round((centre_y + height / 2) * 480))
    assert (run["cost"], run["client_ref"], run["jurisdiction_code"]) == ("0.005", "ref-1", "eu")
    assert [("runflow-eu", run["id"], "ref-1", 5000, True)] == [
        (call["upstream"], call["id"], call["client_ref"], call["microusd"], call["answered"])
        for call in await control.books()
    ]


@pytest.mark.parametrize("scene", ["shapes", "shoes", "desk", "crowd", "street"])
async def test_every_object_of_every_scene_is_found_by_its_name(scene: str, control: Any, runflow: Any) -> None:
    """Asking for an object by its whole name brings its true mask."""
    known = await control.scene(scene)
    name = known["objects"][-1]["name"]
    masks = await runflow.masks(await runflow.run(known["image_url"], prompt=name.upper()))
    assert await control.truth(scene, name) == masks


async def test_masks_are_grey_with_two_values_at_the_size_of_the_picture(
    control: Any, runflow: Any, decode_mask: Any
) -> None:
    """A mask file is an 8-bit grey PNG of 0 and 255, as large as the picture."""
    run = await runflow.run((await control.scene("desk"))["image_url"], prompt="mug handle")
    image = run["output"]["model_data"]["masks"][0]
    pixels = decode_mask(await runflow.download(image["url"]))
    assert ((768, 1024), np.uint8, {0, 255}) == (pixels.shape, pixels.dtype, set(np.unique(pixels).tolist()))
    assert (image["width"], image["height"], image["content_type"]) == (1024, 768, "image/png")


async def test_a_run_starts_queued_and_walks_to_its_end(workers: ThreadWorkers) -> None:
    """The statuses come in the documented order, and a new run holds nulls for what is not known yet."""
    sandbox = await Sandbox.start(workers=workers, run_seconds=0.3)
    headers = {"Authorization": "Bearer k"}
    try:
        async with aiohttp.ClientSession(sandbox.upstreams["runflow-us"], headers=headers) as client:
            body = {"input": {"image_url": f"{sandbox.control_url}/scenes/shapes.png"}}
            created = await (await client.post(MODEL, json=body)).json()
            seen = [created["status_code"]]
            run = created
            while run["status_code"] != "succeeded":
                run = await (await client.get(f"/v1/runs/{created['id']}")).json()
                if run["status_code"] != seen[-1]:
                    seen.append(run["status_code"])
                await asyncio.sleep(0.01)
    finally:
        await sandbox.stop()
    assert seen == ["queued", "dispatching", "running", "succeeded"]
    assert tuple(created[name] for name in ("output", "cost", "started_at", "failure_code")) == (None, None, None, None)
    assert uuid.UUID(created["id"]).version == 7
    assert created["created_at"].endswith("+00:00")


async def test_the_defaults_are_the_documented_ones(control: Any, runflow: Any, decode_mask: Any) -> None:
    """Left alone, the model looks for a wheel, returns one mask, and that as a cut-out of the picture."""
    body = {"input": {"image_url": (await control.scene("street"))["image_url"]}}
    run = await runflow.finished((await runflow.post(MODEL, body))["id"])
    data = run["output"]["model_data"]
    assert (len(data["masks"]), data["scores"], data["boxes"]) == (1, None, None)
    cut = decode_mask(await runflow.download(data["image"]["url"]))
    wheel = (await control.truth("street", "front wheel"))[0]
    picture = cv2.imdecode(np.frombuffer(await control.picture("street"), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert wheel == Mask.from_bitmap(cut[:, :, 3])
    assert np.array_equal(cut[:, :, :3], picture * wheel.bitmap[:, :, None])


async def test_max_masks_cuts_and_counts_only_with_multiple_masks(control: Any, runflow: Any) -> None:
    """Of sixteen coins come max_masks, and one where multiple masks are not asked for."""
    image_url = (await control.scene("crowd"))["image_url"]
    assert [
        len((await runflow.run(image_url, prompt="coins", **fields))["output"]["model_data"]["masks"])
        for fields in ({}, {"max_masks": 5}, {"max_masks": 5, "return_multiple_masks": False})
    ] == [16, 5, 1]


@pytest.mark.parametrize(("output_format", "exact"), [("png", True), ("webp", True), ("jpeg", False)])
async def test_output_format_is_honoured(
    output_format: str, exact: Any, control: Any, runflow: Any, decode_mask: Any
) -> None:
    """Masks come as PNG, as lossless WebP or as JPEG; by its threshold even the last covers the object."""
    run = await runflow.run((await control.scene("desk"))["image_url"], prompt="pen", output_format=output_format)
    image = run["output"]["model_data"]["masks"][0]
    pixels = decode_mask(await runflow.download(image["url"]))
    pixels = pixels if pixels.ndim == 2 else pixels[:, :, 0]
    assert f"image/{output_format}" == image["content_type"]
    assert await control.truth("desk", "pen") == [Mask.from_bitmap(pixels >= 128)]
    assert exact == (set(np.unique(pixels).tolist()) == {0, 255})


async def test_sync_mode_returns_data_uris(control: Any, runflow: Any, decode_mask: Any) -> None:
    """With sync_mode the media stand in the answer itself."""
    run = await runflow.run((await control.scene("desk"))["image_url"], prompt="pen", sync_mode=True)
    head, _, text = run["output"]["model_data"]["masks"][0]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert await control.truth("desk", "pen") == [Mask.from_bitmap(decode_mask(base64.b64decode(text)))]


async def test_nothing_named_so_is_a_success_without_masks(control: Any, runflow: Any) -> None:
    """A prompt that names nothing succeeds, is billed and brings no masks."""
    run = await runflow.run((await control.scene("desk"))["image_url"], prompt="elephant")
    assert (run["status_code"], run["output"]["outputs"], run["output"]["model_data"]["masks"]) == ("succeeded", [], [])
    assert len(await control.books()) == 1


async def test_box_and_point_prompts_find_the_object_they_mean(control: Any, runflow: Any) -> None:
    """A box finds what fills it best, points what lies under them; one object_id makes one object of both."""
    desk = await control.scene("desk")
    boxes = {thing["name"]: thing["box"] for thing in desk["objects"]}
    run = await runflow.run(desk["image_url"], box_prompts=[boxes["mouse"], boxes["pen"]])
    assert await control.truth("desk", "mouse", "pen") == await runflow.masks(run)
    run = await runflow.run(desk["image_url"], point_prompts=[{"x": 830, "y": 230, "label": 1}])
    assert await control.truth("desk", "mug") == await runflow.masks(run)
    both = {"box_prompts": [boxes["mug"] | {"object_id": 7}]}
    both["point_prompts"] = [
        {"x": 970, "y": 230, "label": 1, "object_id": 7},
        {"x": 830, "y": 230, "label": 0, "object_id": 7},
    ]
    run = await runflow.run(desk["image_url"], **both)
    assert await control.truth("desk", "mug handle") == await runflow.masks(run)
    run = await runflow.run(desk["image_url"], point_prompts=json.dumps([{"x": 5, "y": 5, "label": 1}]))
    assert await runflow.masks(run) == []


async def test_a_forgotten_prompt_looks_for_wheels_too(control: Any, runflow: Any) -> None:
    """A box prompt without an explicit empty prompt also brings the wheels: the documented default is active."""
    street = await control.scene("street")
    box = next(thing["box"] for thing in street["objects"] if thing["name"] == "traffic light")
    run = await runflow.run(street["image_url"], prompt=None, box_prompts=[box])
    assert (await runflow.masks(run))[:2] == await control.truth("street", "front wheel", "rear wheel")
    run = await runflow.run(street["image_url"], prompt="", box_prompts=[box])
    assert await runflow.masks(run) == await control.truth("street", "traffic light")


async def test_an_uploaded_copy_in_another_format_is_the_same_scene(control: Any, runflow: Any) -> None:
    """A lossless re-encoding of a known picture, uploaded as an asset, brings the true masks."""
    pixels = cv2.imdecode(np.frombuffer(await control.picture("shapes"), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    webp = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    run = await runflow.run(await runflow.upload(webp, "image/webp"), prompt="orange ring")
    assert await control.truth("shapes", "orange ring") == await runflow.masks(run)


async def test_a_data_uri_is_a_picture_and_its_bytes_leave_the_record(control: Any, runflow: Any) -> None:
    """A data: URI works as image_url, and the run's echo of the input no longer holds its bytes."""
    url = "data:image/png;base64," + base64.b64encode(await control.picture("shapes")).decode()
    run = await runflow.run(url, prompt="red circle")
    assert await control.truth("shapes", "red circle") == await runflow.masks(run)
    assert run["input"]["image_url"] == "data:image/png;base64"


async def test_an_unknown_picture_is_segmented_by_the_classic_engine(runflow: Any) -> None:
    """On a picture that is no scene the masks are the classic engine's, and a header says so."""
    pixels = np.full((300, 300, 3), 255, np.uint8)
    pixels[60:200, 80:220] = (0, 0, 200)
    url = await runflow.upload(cv2.imencode(".png", pixels)[1].tobytes())
    run = await runflow.run(url, box_prompts=[{"x_min": 70, "y_min": 50, "x_max": 230, "y_max": 210}])
    square = Mask.from_bitmap((pixels[:, :, 0] == 0).astype(np.uint8))
    assert (await runflow.masks(run))[0].iou(square) > 0.95
    assert (await runflow.masks(await runflow.run(url, prompt="anything"))) != []
    async with runflow.session.get(f"{runflow.url}/v1/runs/{run['id']}", headers={"Authorization": "Bearer k"}) as got:
        assert got.headers["X-Sandbox-Masks"] == "classic"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://192.0.2.1/a.png", "this machine only"),
        ("http://169.254.169.254/latest", "this machine only"),
        ("http://example.com/a.png", "this machine only"),
        ("runflow://assets/1", "got 'runflow'"),
        ("data:image/png;base64,bm90IGEgcGljdHVyZQ==", "no PNG, JPEG or WebP"),
        ("data:image/png,text", "not base64"),
        ("{control}/scenes/none.png", "status 404"),
        ("{control}/scenes", "no PNG, JPEG or WebP"),
    ],
)
async def test_a_bad_picture_fails_the_run_and_is_not_billed(url: str, reason: str, control: Any, runflow: Any) -> None:
    """A picture that cannot be had or read ends in a failed run with its reason, free of charge."""
    run = await runflow.run(url.replace("{control}", control.url))
    assert (
        run["status_code"],
        run["failure_code"],
        run["failure_stage_code"],
        run["output"],
        run["cost"],
    ) == ("failed", "INPUT_VALIDATION_FAILED", "preprocess", None, None)
    assert reason in run["failure_message"]
    assert await control.books() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input"),
        ({"input": {}}, "input.image_url"),
        ({"input": {"image_url": "http://127.0.0.1/", "max_masks": 33}}, "input.max_masks"),
        ({"input": {"image_url": "http://127.0.0.1/", "max_masks": True}}, "input.max_masks"),
        ({"input": {"image_url": "http://127.0.0.1/", "apply_mask": "no"}}, "input.apply_mask"),
        ({"input": {"image_url": "http://127.0.0.1/", "output_format": "gif"}}, "input.output_format"),
        ({"input": {"image_url": "http://127.0.0.1/", "promt": "x"}}, "input.promt"),
        ({"input": {"image_url": "http://127.0.0.1/", "box_prompts": [{"x_min": 5}]}}, "input.box_prompts"),
        ({"input": {"image_url": "http://127.0.0.1/", "point_prompts": "nonsense"}}, "input.point_prompts"),
        ({"input": {"image_url": "http://127.0.0.1/"}, "client_ref": "x" * 256}, "client_ref"),
        ([], ""),
    ],
)
async def test_bad_input_is_refused_with_its_field(body: Any, field: str, control: Any, runflow: Any) -> None:
    """A body that breaks the schema is a 422 in the documented envelope, with the field in `errors`."""
    answer = await runflow.post(MODEL, body, status=422)
    assert {"code", "message", "errors"} == set(answer)
    assert field in [error["field"] for error in answer["errors"]]
    assert await control.books() == []


async def test_errors_come_in_the_documented_envelope(runflow: Any) -> None:
    """No key, an unknown run, no JSON and an unknown route answer 401, 404, 400 and 404 with a code."""
    async with runflow.session.post(runflow.url + MODEL, json={}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (401, "UNAUTHORIZED")
    headers = {"Authorization": "Bearer k"}
    async with runflow.session.post(runflow.url + MODEL, data=b"{", headers=headers) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "BAD_REQUEST")
    assert (await runflow.get(f"/v1/runs/{uuid.uuid4()}", status=404))["code"] == "RUN_NOT_FOUND"
    assert (await runflow.get("/v2/other", status=404))["code"] == "NOT_FOUND"


async def test_an_idempotency_key_replays_and_conflicts(control: Any, runflow: Any) -> None:
    """One key and body is one run however often it is sent; the same key with another body is a conflict."""
    body = {"input": {"image_url": (await control.scene("desk"))["image_url"], "prompt": "pen"}}
    first = await runflow.post(MODEL, body, Idempotency_Key="k1")
    again = await runflow.post(MODEL, body, Idempotency_Key="k1")
    conflict = await runflow.post(MODEL, body | {"client_ref": "x"}, Idempotency_Key="k1", status=409)
    other = await runflow.post(MODEL, body)
    assert first == again
    assert conflict["code"] == "CONFLICT"
    for run in (first, other):
        await runflow.finished(run["id"])
    assert {first["id"], other["id"]} == {call["id"] for call in await control.books()}


async def test_runs_are_found_by_their_reference(control: Any, runflow: Any) -> None:
    """The list finds a lost run by its client_ref, and one region knows nothing of the other's."""
    image_url = (await control.scene("desk"))["image_url"]
    run = await runflow.run(image_url, prompt="pen", client_ref="lost one")
    await runflow.run(image_url, prompt="pen", client_ref="another")
    found = await runflow.get("/v1/runs?limit=5&q=client_ref.EQ:'lost one'")
    assert [run["id"]] == [item["id"] for item in found["items"]]
    assert [{"id": run["id"]}] == (await runflow.get("/v1/runs?q=client_ref.EQ:'lost one'&fields=id"))["items"]
    assert (await runflow.get("/v1/runs?q=client_ref.EQ:'none'"))["items"] == []
    assert len((await runflow.get("/v1/runs?q=status_code:succeeded"))["items"]) == 2
    await runflow.get("/v1/runs?q=nonsense", status=422)
    await runflow.get("/v1/runs?limit=501", status=422)


async def test_output_addresses_expire_and_take_no_credential(workers: ThreadWorkers) -> None:
    """A signed address answers 403 after its time or with a changed signature, and 400 to an Authorization header."""
    now = [1_800_000_000.0]
    sandbox = await Sandbox.start(workers=workers, clock=lambda: now[0], output_seconds=60)
    try:
        async with aiohttp.ClientSession() as client:
            headers = {"Authorization": "Bearer k"}
            base = sandbox.upstreams["runflow-eu"]
            body = {"input": {"image_url": f"{sandbox.control_url}/scenes/desk.png", "prompt": "pen"}}
            created = await (await client.post(base + MODEL, json=body, headers=headers)).json()
            run = created
            while run["status_code"] != "succeeded":
                run = await (await client.get(f"{base}/v1/runs/{created['id']}", headers=headers)).json()
            url = run["output"]["outputs"][0]["url"]
            assert "X-Amz-Signature=" in url
            assert [
                (await client.get(url)).status,
                (await client.get(url, headers=headers)).status,
                (await client.get(url[:-1] + ("0" if url[-1] != "0" else "1"))).status,
                (await client.get(url.partition("?")[0])).status,
                (await client.get(f"{base}/outputs/x")).status,
            ] == [200, 400, 403, 403, 404]
            now[0] += 61
            assert (await client.get(url)).status == 403
            fresh = await (await client.get(f"{base}/v1/runs/{created['id']}", headers=headers)).json()
            assert (await client.get(fresh["output"]["outputs"][0]["url"])).status == 200
    finally:
        await sandbox.stop()


async def test_an_upload_takes_the_three_documented_steps(control: Any, runflow: Any) -> None:
    """Announce, put without a credential, confirm; what does not fit is refused at its step."""
    picture = await control.picture("shapes")
    wanted = {"filename": "a b.png", "mime_type": "image/png", "size_bytes": len(picture)}
    announced = await runflow.post("/v1/asset-uploads", wanted)
    url, confirmations = announced["upload_url"], f"/v1/asset-uploads/{announced['asset_id']}/confirmations"
    assert (await runflow.post(confirmations, {}, status=409))["code"] == "CONFLICT"
    png = {"Content-Type": "image/png"}
    for headers, data, status in (
        (png | {"Authorization": "Bearer k"}, picture, 400),
        ({"Content-Type": "image/jpeg"}, picture, 403),
        (png, picture[:-1], 200),
    ):
        async with runflow.session.put(url, data=data, headers=headers) as answer:
            assert status == answer.status
    await runflow.post(confirmations, {}, status=422)
    async with runflow.session.put(url, data=picture, headers=png) as answer:
        assert answer.status == 200
    asset = await runflow.post(confirmations, {"folder_id": None})
    assert await runflow.download(asset["url"]) == picture
    again = await runflow.get(f"/v1/assets/{announced['asset_id']}")
    assert (again["id"], again["mime_type"], again["size_bytes"]) == (asset["id"], "image/png", len(picture))
    await runflow.post("/v1/asset-uploads", wanted | {"size_bytes": 52_428_801}, status=422)
    await runflow.get(f"/v1/assets/{uuid.uuid4()}", status=404)


async def test_the_balance_falls_by_what_was_billed(control: Any, runflow: Any) -> None:
    """The balance is a decimal string that a succeeded run lowers by its price; health needs no key."""
    before = (await runflow.get("/v1/billing/balance"))["balance"]
    await runflow.run((await control.scene("desk"))["image_url"], prompt="pen")
    assert (before, (await runflow.get("/v1/billing/balance"))["balance"]) == ("100.000000", "99.995000")
    async with runflow.session.get(f"{runflow.url}/v1/health") as answer:
        assert await answer.json() == {"status": "ok"}


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize(("variant", "outputs"), [("a", 1), ("b", 3), ("c", 2), ("d", None)])
async def test_the_output_is_written_in_each_reading(
    variant: str, outputs: int | None, strings: Any, control: Any, runflow: Any
) -> None:
    """Each variant has its masks where it says, as JSON or as JSON text."""
    await control.put("/upstreams/runflow-eu/variant", {"variant": variant, "json_strings": strings})
    run = await runflow.run((await control.scene("street"))["image_url"], prompt="wheel", include_scores=True)
    output = run["output"]
    data = output if variant == "d" else output["model_data"]
    assert outputs == (None if variant == "d" else len(output["outputs"]))
    assert all(isinstance(value, str) for value in data.values()) or not strings
    read = {name: json.loads(value) if strings else value for name, value in data.items()}
    if variant in "ad":
        assert len(read["masks"]) == 2
    expected = {
        "a": {"image", "masks", "metadata", "scores", "boxes"},
        "b": {"metadata", "scores", "boxes"},
        "c": set(),
    }
    assert expected.get(variant, expected["a"]) == set(data)
    if variant != "c":
        assert [entry["index"] for entry in read["metadata"]] == [0, 1]
        assert [entry["score"] for entry in read["metadata"]] == read["scores"]


async def test_a_callback_tells_the_end_and_is_sent_again_after_an_error(control: Any, runflow: Any) -> None:
    """A callback that meets a 500 comes again, with the documented body, for succeeded and failed runs."""
    arrived: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        await arrived.put((request.headers["Runflow-Request-Id"], await request.json()))
        return web.Response(status=500 if arrived.qsize() == 1 and not seen else 200)

    seen: list[Any] = []
    app = web.Application()
    app.router.add_post("/done", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        body = {
            "input": {"image_url": (await control.scene("street"))["image_url"]},
            "callback_url": f"http://127.0.0.1:{site.port}/done",
            "metadata": {"a": 1},
        }
        run = await runflow.post(MODEL, body)
        seen.append(await arrived.get())
        seen.append(await arrived.get())
        failing = await runflow.post(MODEL, body | {"input": {"image_url": "runflow://x"}})
        seen.append(await arrived.get())
    finally:
        await runner.cleanup()
    events = [(told["event"], told["run_id"], told["status"], told["metadata"]) for _, told in seen]
    completed = ("run.completed", run["id"], "succeeded", {"a": 1})
    assert [completed, completed, ("run.failed", failing["id"], "failed", {"a": 1})] == events
    assert len(seen[0][1]["output"]["outputs"]) == 1
    assert seen[2][1]["output"] is None


async def test_many_runs_at_once_are_each_billed_once(control: Any, runflow: Any) -> None:
    """Two hundred uploads and runs at once all succeed; the books hold each of them once, under its reference."""
    picture = await control.picture("street")

    async def one(number: int) -> str:
        run = await runflow.run(await runflow.upload(picture), prompt="car", client_ref=f"r{number}")
        return str(run["status_code"])

    assert await asyncio.gather(*(one(number) for number in range(200))) == ["succeeded"] * 200
    assert sorted(call["client_ref"] for call in await control.books()) == sorted(f"r{n}" for n in range(200))


async def test_a_wrong_method_is_refused_in_the_envelope(runflow: Any) -> None:
    """The framework's own 405 comes in the envelope too, and blames the request."""
    async with runflow.session.delete(f"{runflow.url}/v1/runs") as answer:
        assert (answer.status, (await answer.json())["code"]) == (405, "BAD_REQUEST")
