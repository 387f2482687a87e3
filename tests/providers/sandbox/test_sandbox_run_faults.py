"""The faults of runs and of their outputs, as a client of the fake Runflow sees them, and what is billed."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest

MODEL = "/v1/models/meta/sam-3/image/runs"
FLAT = "/v1/run/meta/sam-3/image"


@pytest.fixture
async def image_url(control: Any) -> str:
    """Return the address of a known picture."""
    return str((await control.scene("shoes"))["image_url"])


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_a_run_can_be_created_under_another_status(
    status: int, control: Any, runflow: Any, image_url: str
) -> None:
    """The status is the one that was asked for; the run is as ever."""
    await control.strike("runflow-eu", {"kind": "create_status", "status": status})
    created = await runflow.post(MODEL, {"input": {"image_url": image_url}}, status=status)
    assert "succeeded" == (await runflow.finished(created["id"]))["status_code"]


async def test_a_run_fails_as_it_is_told_to(control: Any, runflow: Any, image_url: str) -> None:
    """Code, message and stage are those of the fault; nothing is billed, and a synchronous call says the same."""
    told = {"failure_code": "NSFW", "failure_message": "refused", "failure_stage_code": "dispatch"}
    await control.strike("runflow-eu", {"kind": "run_failed", **told})
    run = await runflow.run(image_url, prompt="shoe")
    assert ("failed", None) == (run["status_code"], run["output"])
    assert told == {name: run[name] for name in told}
    error = await runflow.post(FLAT, {"image_url": image_url}, status=500)
    assert ("NSFW", "refused") == (error["code"], error["message"])
    assert [] == await control.books()


@pytest.mark.parametrize("spelling", ["canceled", "cancelled"])
async def test_a_run_is_cancelled_in_either_spelling(spelling: str, control: Any, runflow: Any, image_url: str) -> None:
    """The service cancels the run; nothing is billed."""
    await control.strike("runflow-eu", {"kind": "cancelled", "spelling": spelling})
    assert spelling == (await runflow.run(image_url))["status_code"]
    assert spelling in (await runflow.post(FLAT, {"image_url": image_url}, status=500))["message"]
    assert [] == await control.books()


async def test_a_run_succeeds_in_part(control: Any, runflow: Any, image_url: str) -> None:
    """Of two masks the first comes, under a status of its own, and the run is billed."""
    await control.strike("runflow-eu", {"kind": "partial_succeeded"})
    run = await runflow.run(image_url, prompt="shoe")
    assert ("partial_succeeded", "0.005") == (run["status_code"], run["cost"])
    assert await control.truth("shoes", "left shoe") == await runflow.masks(run)
    assert 1 == len(await control.books())


@pytest.mark.parametrize("status", ["queued", "dispatching", "running"])
async def test_a_run_stays_where_it_is_stuck(status: str, control: Any, runflow: Any, image_url: str) -> None:
    """While another run ends, the stuck one stays in its status, and is never billed."""
    await control.strike("runflow-eu", {"kind": "stuck", "status": status, "times": 1})
    stuck = await runflow.create(image_url)
    other = await runflow.run(image_url)
    assert (status, "succeeded") == (
        (await runflow.get(f"/v1/runs/{stuck['id']}"))["status_code"],
        other["status_code"],
    )
    assert [other["id"]] == [call["id"] for call in await control.books()]


async def test_a_status_goes_back(control: Any, runflow: Any, image_url: str) -> None:
    """After the end was read the run is running again, without output, and ended at the next reading."""
    run = await runflow.run(image_url)
    await control.strike("runflow-eu", {"kind": "status_back"})
    seen = [await runflow.get(f"/v1/runs/{run['id']}") for _ in range(3)]
    assert ["succeeded", "running", "succeeded"] == [told["status_code"] for told in seen]
    assert [False, True, False] == [told["output"] is None for told in seen]


@pytest.mark.parametrize("listed", [True, False])
async def test_a_run_is_lost(listed: Any, control: Any, runflow: Any, image_url: str) -> None:
    """Reading it is a 404; the list has it, or has lost it too."""
    await control.strike("runflow-eu", {"kind": "run_lost", "listed": listed})
    created = await runflow.create(image_url, client_ref="r1")
    assert "RUN_NOT_FOUND" == (await runflow.get(f"/v1/runs/{created['id']}", status=404))["code"]
    found = (await runflow.get("/v1/runs?q=client_ref.EQ:'r1'"))["items"]
    assert ([created["id"]] if listed else []) == [run["id"] for run in found]


async def test_a_new_run_is_told_under_the_id_of_another(control: Any, runflow: Any, image_url: str) -> None:
    """The second run's creation names the first; both exist and are billed."""
    first = await runflow.run(image_url, client_ref="one")
    await control.strike("runflow-eu", {"kind": "duplicate_run_id"})
    second = await runflow.create(image_url, client_ref="two")
    assert first["id"] == second["id"]
    (found,) = (await runflow.get("/v1/runs?q=client_ref.EQ:'two'"))["items"]
    await runflow.finished(found["id"])
    assert {first["id"], found["id"]} == {call["id"] for call in await control.books()}
    assert first["id"] != found["id"]


@pytest.mark.parametrize("path", [MODEL, FLAT])
async def test_a_data_uri_is_refused(path: str, control: Any, runflow: Any) -> None:
    """A picture in the request itself is a 422 in the words of its time; an address is fine."""
    await control.strike("runflow-eu", {"kind": "data_refused"})
    url = "data:image/png;base64," + base64.b64encode(await control.picture("desk")).decode()
    body = {"image_url": url} if path == FLAT else {"input": {"image_url": url}}
    assert "got 'runflow'" in (await runflow.post(path, body, status=422))["message"]
    assert [] == await control.books()


@pytest.mark.parametrize(
    ("form", "output"), [("null", None), ("missing", {}), ("empty", {"outputs": [], "masks": [], "image": None})]
)
async def test_a_success_has_no_outputs(form: str, output: Any, control: Any, runflow: Any, image_url: str) -> None:
    """The run succeeded and is billed, and there is nothing in its output, in any model or generation."""
    await control.strike("runflow-eu", {"kind": "no_outputs", "form": form})
    run = await runflow.run(image_url, prompt="shoe")
    told = run["output"]
    if form == "empty":
        told = {"outputs": told["outputs"], **{name: told["model_data"][name] for name in ("masks", "image")}}
    assert ("succeeded", output) == (run["status_code"], told)
    smart = (await runflow.smart(image_url, "shoe"))["output"]
    assert {"null": None, "missing": {}, "empty": []}[form] == (smart["outputs"] if form == "empty" else smart)
    flat = await runflow.post(FLAT, {"image_url": image_url}, status=200)
    assert {"null": None, "missing": {}, "empty": []}[form] == (flat["masks"] if form == "empty" else flat)
    assert 3 == len(await control.books())


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("image_urls", lambda output: output["image_urls"]),
        ("image_list", lambda output: output["image"]),
        ("strings", lambda output: output["model_data"]["masks"]),
        ("output_url", lambda output: [output["output_url"]]),
    ],
)
async def test_an_output_is_written_as_other_models_write_theirs(
    form: str, read: Any, control: Any, runflow: Any, image_url: str
) -> None:
    """Addresses stand where ComfyUI endpoints, older models and the SDK have them, and lead to files."""
    await control.strike("runflow-eu", {"kind": "output_form", "form": form})
    urls = read((await runflow.run(image_url, prompt="shoe"))["output"])
    assert (1 if form == "output_url" else 2) == len(urls)
    assert all([(await runflow.download(url)).startswith(b"\x89PNG") for url in urls])


@pytest.mark.parametrize(("kind", "name", "single"), [("scores", "scores", "score"), ("boxes", "boxes", "box")])
@pytest.mark.parametrize("form", ["missing", "null", "nulls", "short", "nested", "nan"])
async def test_scores_and_boxes_are_not_one_for_each_mask(
    kind: str, name: str, single: str, form: str, control: Any, runflow: Any, image_url: str
) -> None:
    """In the list and in metadata alike, and in a synchronous answer too."""
    await control.strike("runflow-eu", {"kind": kind, "form": form})
    wanted = {"prompt": "shoe", "include_scores": True, "include_boxes": True}
    run = await runflow.run(image_url, **wanted)
    flat = await runflow.post(FLAT, {"image_url": image_url, "return_multiple_masks": True, **wanted}, status=200)
    for told in (run["output"]["model_data"], flat):
        assert 2 == len(told["masks"])
        first, second = (entry.get(single, "absent") for entry in told["metadata"])
        values = told.get(name, "absent")
        if form == "missing":
            assert ("absent", "absent", "absent") == (values, first, second)
        elif form == "null":
            assert (None, None, None) == (values, first, second)
        elif form == "nulls":
            assert ([None, second], None) == (values, first)
            assert second is not None
        elif form == "short":
            assert ([first], "absent") == (values, second)
        elif form == "nested":
            assert ([first[0], second[0]],) == tuple(values)
        else:
            flattened = values if kind == "scores" else [*values[0], *values[1]]
            assert all(math.isnan(value) for value in flattened)
            assert "NaN" in json.dumps(first)


async def test_addresses_have_expired(control: Any, runflow: Any, image_url: str) -> None:
    """The signature is right and its time over; another reading brings fresh ones."""
    run = await runflow.run(image_url, prompt="shoe")
    await control.strike("runflow-eu", {"kind": "expired_urls"})
    expired = await runflow.get(f"/v1/runs/{run['id']}")
    async with runflow.session.get(expired["output"]["outputs"][0]["url"]) as answer:
        assert (403, True) == (answer.status, "expired" in await answer.text())
    await control.heal("runflow-eu")
    assert 2 == len(await runflow.masks(await runflow.get(f"/v1/runs/{run['id']}")))


@pytest.mark.parametrize("redirect", [False, True])
async def test_masks_are_somewhere_else(redirect: Any, control: Any, runflow: Any, image_url: str) -> None:
    """The address is the told one, or our own one redirects there."""
    away = "http://169.254.169.254/latest/meta-data/"
    await control.strike("runflow-eu", {"kind": "bad_mask_url", "url": away, "redirect": redirect})
    url = (await runflow.run(image_url, prompt="shoe"))["output"]["model_data"]["masks"][0]["url"]
    if not redirect:
        assert away == url
        return
    async with runflow.session.get(url, allow_redirects=False) as answer:
        assert (302, away) == (answer.status, answer.headers["Location"])


async def test_files_come_as_data_uris_unasked(control: Any, runflow: Any, image_url: str) -> None:
    """Every address of the output is a data: URI."""
    await control.strike("runflow-eu", {"kind": "data_urls"})
    data = (await runflow.run(image_url, prompt="shoe"))["output"]["model_data"]
    assert all(image["url"].startswith("data:image/png;base64,") for image in (data["image"], *data["masks"]))


async def test_another_price_is_billed_and_told(control: Any, runflow: Any, prodia: Any, image_url: str) -> None:
    """Run record, job record and books agree on the price of the fault."""
    for upstream in ("runflow-eu", "prodia"):
        await control.strike(upstream, {"kind": "price", "dollars": "0.12"})
    assert "0.12" == (await runflow.run(image_url))["cost"]
    job = {"type": "inference.segment.v1"}
    _, _, body = await prodia.post(job, await control.picture("desk"), query="?price=true", accept="application/json")
    assert 0.12 == json.loads(body)["price"]["dollars"]
    assert [120_000, 120_000] == [call["microusd"] for call in await control.books()]


async def test_a_fault_is_spent_after_its_times(control: Any, runflow: Any, image_url: str) -> None:
    """Two calls are struck and the third is not; what was put can still be read back."""
    fault = {"kind": "throttle", "times": 2, "retry_after": 315_360_000}
    await control.strike("runflow-eu", fault)
    body = {"input": {"image_url": image_url}}
    for status in (429, 429, 201):
        await runflow.post(MODEL, body, status=status)
    (on,) = (await control.get("/upstreams/runflow-eu/fault"))["faults"]
    assert {"times": 2, "retry_after": 315_360_000} == {name: on[name] for name in ("times", "retry_after")}


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "stuck", "status": "succeeded"},
        {"kind": "create_status", "status": 204},
        {"kind": "price", "dollars": "-1"},
        {"kind": "price", "dollars": 0.5},
        {"kind": "mask_form"},
        {"kind": "mask_form", "form": "gif"},
        {"kind": "bad_mask_url", "url": 3},
        {"kind": "callback", "early": 1},
        {"kind": "callback", "copies": 11},
        {"kind": "status", "status": 500, "times": 0},
        {"kind": "refuse", "times": 1},
        {"kind": "parts", "form": "reversed"},
        {"kind": "no_outputs", "form": []},
    ],
)
async def test_a_wrong_fault_is_refused(fault: Any, control: Any) -> None:
    """A value out of bounds, of another type, or a fault of another provider changes nothing."""
    await control.put("/upstreams/runflow-eu/fault", fault, status=422)
    assert [] == (await control.get("/upstreams/runflow-eu/fault"))["faults"]
