"""Attempts at Runflow over sockets, against a server that behaves as its documents say, faults included."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from providers.contract import (
    Box,
    Money,
    ObjectPrompt,
    Outcome,
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
    ProviderUnreachable,
    Secret,
)
from tests.providers.loopback import file_of, picture_of, serving
from tests.providers.runflow.fake_runflow import ATTEMPT, CREATE, DISCS, KEY, RUN, SIZE, TRUTHS, Answer, Scene


async def test_text(scene: Scene) -> None:
    """A text prompt brings every mask with its score, the text as label, and the cost that Runflow names."""
    instances, warnings, usage = await scene.ask()
    assert instances == [(TRUTHS[0], 0.9, "disc"), (TRUTHS[1], 0.4, "disc")]
    assert warnings == ()
    assert (usage.reported, usage.seconds, usage.upstream_ref) == (Money(5000), 0.812, RUN)


async def test_create_call(scene: Scene) -> None:
    """The create call carries the attempt as client_ref and as Idempotency-Key, and the address of the upload."""
    await scene.ask()
    [(headers, body)] = scene.fake.sent("POST", CREATE)
    assert headers["idempotency-key"] == ATTEMPT
    sent = json.loads(body)
    assert sent["client_ref"] == ATTEMPT
    assert (sent["input"]["prompt"], sent["input"]["apply_mask"]) == ("disc", False)
    assert sent["input"]["image_url"] == f"{scene.fake.base}/files/picture?X-Amz-Signature=1"


async def test_upload(scene: Scene) -> None:
    """A picture without an address is announced, put as it is without a credential, and confirmed."""
    await scene.ask()
    picture = picture_of(SIZE)
    [(_, announced)] = scene.fake.sent("POST", "/v1/asset-uploads")
    assert json.loads(announced) == {
        "filename": "image.png",
        "mime_type": "image/png",
        "size_bytes": len(picture.data),
    }
    [(headers, put)] = scene.fake.sent("PUT", "/put/a1")
    assert put == picture.data
    assert headers["content-type"] == "image/png"
    assert "authorization" not in headers


async def test_picture_by_url(scene: Scene) -> None:
    """A picture with an address goes by it, and nothing is uploaded."""
    await scene.ask(url="https://a.example/p.png")
    [(_, body)] = scene.fake.sent("POST", CREATE)
    assert json.loads(body)["input"]["image_url"] == "https://a.example/p.png"
    assert scene.fake.sent("POST", "/v1/asset-uploads") == []


async def test_object(scene: Scene) -> None:
    """An object prompt goes as a box in pixels, and its instances have no label."""
    instances, _, _ = await scene.ask(ObjectPrompt(box=Box(1, 2, 30, 40)))
    assert [label for _, _, label in instances] == [None, None]
    [(_, body)] = scene.fake.sent("POST", CREATE)
    assert json.loads(body)["input"]["box_prompts"] == [
        {"x_min": 1, "y_min": 2, "x_max": 30, "y_max": 40, "object_id": 1}
    ]


async def test_masks_carry_no_credential(scene: Scene) -> None:
    """Masks are fetched without the key."""
    await scene.ask()
    fetched = [headers for _, path, headers, _ in scene.fake.requests if path.startswith("/files/")]
    assert len(fetched) == 2
    assert all("authorization" not in headers for headers in fetched)


async def test_min_score(scene: Scene) -> None:
    """A mask scored too low is not even fetched."""
    instances, _, _ = await scene.ask(min_score=0.5)
    assert [score for _, score, _ in instances] == [0.9]
    assert "/files/1.webp?X-Amz-Signature=1" not in [path for _, path, _, _ in scene.fake.requests]


async def test_nothing_found(scene: Scene) -> None:
    """A run without masks is a success without instances."""
    scene.fake.output = {"outputs": [], "model_data": {"masks": []}}
    instances, _, usage = await scene.ask()
    assert instances == []
    assert usage.reported == Money(5000)


async def test_black_mask(scene: Scene) -> None:
    """An all-black mask is left out, and the scores of the others stay theirs."""
    scene.fake.files["0.png"] = file_of(np.zeros(SIZE, np.uint8))
    instances, _, _ = await scene.ask()
    assert instances == [(TRUTHS[1], 0.4, "disc")]


async def test_data_uris(scene: Scene) -> None:
    """Masks may come inside the answer."""
    uris = ["data:image/png;base64," + base64.b64encode(file_of(bitmap)).decode() for bitmap in DISCS]
    scene.fake.output = {"outputs": [], "model_data": {"masks": [{"url": uri} for uri in uris]}}
    instances, _, _ = await scene.ask()
    assert [mask for mask, _, _ in instances] == TRUTHS


async def test_small_masks(scene: Scene) -> None:
    """Masks of another size are resized, and one warning says so for all of them."""
    scene.fake.files = {"0.png": file_of(DISCS[0][::2, ::2]), "1.webp": file_of(DISCS[1][::2, ::2])}
    instances, warnings, _ = await scene.ask()
    assert [mask.size for mask, _, _ in instances] == [SIZE, SIZE]
    assert warnings == ("A mask of 40x30 pixels was resized to 80x60 by nearest neighbour.",)


async def test_partly_succeeded(scene: Scene) -> None:
    """A partly succeeded run gives what there is, with a warning."""
    scene.fake.walk = ["partial_succeeded"]
    instances, warnings, _ = await scene.ask()
    assert len(instances) == 2
    assert len(warnings) == 1


async def test_synchronous_answer(scene: Scene) -> None:
    """A create call that already answers with masks is believed, and no run is looked at."""

    async def create(_: web.Request) -> web.Response:
        return web.json_response({"masks": [{"url": scene.fake.mask_url("0.png")}], "scores": [0.7]})

    scene.fake.create = create
    instances, _, usage = await scene.ask()
    assert instances == [(TRUTHS[0], 0.7, "disc")]
    assert (usage.upstream_ref, scene.fake.looks) == (None, 0)


async def test_expired_address(scene: Scene) -> None:
    """A mask whose address has expired is asked for again with new signatures."""
    scene.fake.signatures = {"2"}

    async def look(request: web.Request) -> web.Response | None:
        if request.query.get("add_signature") != "true":
            return None
        output = json.loads(json.dumps(scene.fake.output).replace("Signature=1", "Signature=2"))
        return web.json_response({"id": RUN, "status_code": "succeeded", "output": output})

    scene.fake.look = look
    instances, _, usage = await scene.ask()
    assert [mask for mask, _, _ in instances] == TRUTHS
    assert usage.reported == Money(5000)


async def test_mask_gone(scene: Scene) -> None:
    """A mask that never comes fails the attempt, which may be billed and names its run."""
    scene.fake.files = {}
    error = await scene.failure(ProviderFailed)
    assert (error.may_have_charged, error.elsewhere, error.upstream_ref) == (True, True, RUN)
    assert "Signature" not in error.message


async def test_mask_gone_and_nothing_more_heard(scene: Scene) -> None:
    """A mask that does not come fails the attempt, also where the look for new signatures hangs until the deadline."""
    scene.fake.files = {}

    async def look(request: web.Request) -> web.Response | None:
        if request.query.get("add_signature") == "true":
            await asyncio.sleep(1)
        return None

    scene.fake.look = look
    error = await scene.failure(ProviderFailed, seconds=0.5)
    assert (error.may_have_charged, error.elsewhere, error.upstream_ref) == (True, True, RUN)


@pytest.mark.parametrize("data", [b"<html>", file_of(DISCS[0])[:-20], b""])
async def test_mask_unreadable(scene: Scene, data: bytes) -> None:
    """A file that is no mask fails the attempt, which may be billed, and is by what the run says that it costs."""
    scene.fake.files = dict.fromkeys(scene.fake.files, data)
    error = await scene.failure(ProviderFailed)
    assert (error.may_have_charged, error.upstream_ref) == (True, RUN)
    assert error.usage is not None
    assert (error.usage.reported, error.usage.upstream_ref) == (Money(5000), RUN)


@pytest.mark.parametrize("duration", [10**400, -1, "1e3", None, {"ms": 1}, 1.5e300, float("nan")])
async def test_a_duration_that_makes_no_sense(scene: Scene, duration: Any) -> None:
    """A figure that is no money never costs an answer."""
    scene.fake.extra["duration_ms"] = duration
    _, _, usage = await scene.ask()
    assert (usage.seconds, usage.reported) == (0.0, Money(5000))


@pytest.mark.parametrize("output", [None, {}, {"outputs": None}, {"masks": [{"url": ""}]}])
async def test_output_unreadable(scene: Scene, output: dict[str, Any] | None) -> None:
    """A success that names no masks in any known way is a failure that may be billed, not an empty answer."""
    scene.fake.output = output
    error = await scene.failure(ProviderFailed)
    assert (error.may_have_charged, error.upstream_ref) == (True, RUN)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"code": "UNAUTHORIZED", "message": f"unknown key {KEY}"}, ProviderDenied),
        (402, {"code": "INSUFFICIENT_CREDIT", "message": "no credit"}, ProviderDenied),
        (404, {"detail": "Not Found"}, ProviderDenied),
        (422, {"code": "VALIDATION_ERROR", "errors": [{"field": "x", "message": "y"}]}, ProviderRefused),
        (429, {"code": "RATE_LIMITED", "message": "slower"}, ProviderOverloaded),
        (500, {"code": "INTERNAL"}, ProviderFailed),
        (503, {"code": "MODEL_UNAVAILABLE"}, ProviderOverloaded),
    ],
)
async def test_create_refused(scene: Scene, status: int, body: dict[str, Any], kind: type[ProviderError]) -> None:
    """A create call that is answered with an error has made no run, is not billed and not repeated."""

    async def create(_: web.Request) -> web.Response:
        return web.json_response(body, status=status, headers={"Retry-After": "2"} if status == 429 else {})

    scene.fake.create = create
    error = await scene.failure(kind)
    assert (error.status, error.may_have_charged) == (status, False)
    assert error.retry_after_seconds == (2.0 if status == 429 else None)
    assert KEY not in error.message
    assert len(scene.fake.sent("POST", CREATE)) == 1


async def test_create_unreadable(scene: Scene) -> None:
    """A create call whose answer cannot be read may have made a run."""

    async def create(_: web.Request) -> web.Response:
        return web.Response(text="<html>", status=201)

    scene.fake.create = create
    assert (await scene.failure(ProviderFailed)).may_have_charged is True


async def test_create_lost(scene: Scene) -> None:
    """A create call that is cut off before its answer may have made a run, and is not repeated."""

    async def create(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    scene.fake.create = create
    assert (await scene.failure(ProviderUnanswered)).may_have_charged is True
    assert len(scene.fake.sent("POST", CREATE)) == 1


async def test_create_hangs(scene: Scene) -> None:
    """A create call that is not answered until the deadline may have made a run."""
    never = asyncio.Event()

    async def create(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    scene.fake.create = create
    assert (await scene.failure(ProviderUnanswered, seconds=0.2)).may_have_charged is True
    never.set()


@pytest.mark.parametrize("fault", ["announce", "address", "put"])
async def test_upload_fails(scene: Scene, fault: str) -> None:
    """Whatever happens before the create call, nothing is billed and no run is made."""
    if fault == "announce":
        scene.deployment = replace(scene.deployment, credential=Secret("wrong"))
    elif fault == "address":
        scene.fake.upload_url = "http://169.254.169.254/put"
    else:
        scene.fake.upload_url = f"{scene.fake.base}/files/expired"
        scene.fake.put_status = 403
    with pytest.raises(ProviderError) as caught:
        await scene.ask()
    assert caught.value.may_have_charged is False
    assert caught.value.of_storage == (fault == "put")
    assert (caught.value.outcome is Outcome.DENIED) == (fault != "put")
    assert scene.fake.sent("POST", CREATE) == []


async def test_upload_cut_off(scene: Scene) -> None:
    """An upload that breaks off is unanswered like any call, and yet not billed."""
    scene.fake.put_status = None
    with pytest.raises(ProviderUnanswered) as caught:
        await scene.ask()
    assert caught.value.may_have_charged is False


async def test_nobody_listens(scene: Scene) -> None:
    """An endpoint that refuses connections is unreachable: nothing left."""
    async with serving(web.Application()) as base:
        pass
    scene.deployment = replace(scene.deployment, endpoint=base)
    assert (await scene.failure(ProviderUnreachable)).may_have_charged is False


@pytest.mark.parametrize("walk", [["queued", "failed"], ["failed"], ["canceled"], ["cancelled"], ["errored"]])
async def test_run_fails(scene: Scene, walk: list[str]) -> None:
    """A run that fails or is cancelled is not billed, and names itself."""
    scene.fake.walk = walk
    error = await scene.failure(ProviderFailed)
    assert (error.may_have_charged, error.elsewhere, error.upstream_ref) == (False, True, RUN)


async def test_run_refuses(scene: Scene) -> None:
    """A run that fails its validation is a refusal."""

    async def look(_: web.Request) -> web.Response:
        failure = {"failure_code": "INPUT_VALIDATION_FAILED", "failure_message": "image dimensions exceed 4096x4096"}
        return web.json_response({"id": RUN, "status_code": "failed", **failure})

    scene.fake.look = look
    error = await scene.failure(ProviderRefused)
    assert (error.elsewhere, error.may_have_charged, error.upstream_ref) == (False, False, RUN)
    assert "4096x4096" in error.message


async def test_run_never_ends(scene: Scene) -> None:
    """A run that goes on after the deadline is unanswered, may be billed and can be found again."""
    scene.fake.walk = ["running"]
    error = await scene.failure(ProviderUnanswered, seconds=0.3)
    assert (error.may_have_charged, error.upstream_ref) == (True, RUN)
    assert scene.fake.looks >= 2


def faults_then_none(*answers: Callable[[], web.Response | None]) -> Answer:
    """Return looks that go wrong in these ways, one after another, and then go well."""
    rest = list(answers)

    async def look(request: web.Request) -> web.Response | None:
        if not rest:
            return None
        answer = rest.pop(0)()
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer

    return look


async def test_looks_that_fail(scene: Scene) -> None:
    """Looks at a run are repeated through their errors, broken connections, overload and nonsense."""
    scene.fake.look = faults_then_none(
        lambda: web.Response(status=500),
        lambda: web.Response(status=502, text="<html>"),
        lambda: None,
        lambda: web.Response(status=429, headers={"Retry-After": "0.01"}),
        lambda: web.Response(status=404, text='{"code":"RUN_NOT_FOUND"}'),
        lambda: web.Response(text="{"),
    )
    instances, _, _ = await scene.ask()
    assert [mask for mask, _, _ in instances] == TRUTHS
    assert len(scene.fake.sent("POST", CREATE)) == 1


@pytest.mark.parametrize(("status", "kind"), [(404, ProviderFailed), (200, ProviderFailed)])
async def test_run_stays_unknown(scene: Scene, status: int, kind: type[ProviderError]) -> None:
    """A run that is unknown or unreadable three times in a row is given up long before the deadline."""

    async def look(_: web.Request) -> web.Response:
        return web.Response(status=status, text="<html>")

    scene.fake.look = look
    error = await scene.failure(kind)
    assert (error.may_have_charged, error.upstream_ref) == (True, RUN)
    assert scene.fake.looks == 3


async def test_look_forbidden(scene: Scene) -> None:
    """A key that may create runs and not read them fails at the first look, and the run may be billed."""

    async def look(_: web.Request) -> web.Response:
        return web.json_response({"code": "PERMISSION_DENIED", "message": "runs:read"}, status=403)

    scene.fake.look = look
    error = await scene.failure(ProviderDenied)
    assert (error.may_have_charged, error.upstream_ref, scene.fake.looks) == (True, RUN, 1)


async def test_cancelled_from_outside(scene: Scene) -> None:
    """A cancelled attempt ends as cancelled."""
    scene.fake.walk = ["running"]
    attempt = asyncio.create_task(scene.ask(url="https://a.example/p.png"))
    while scene.fake.looks == 0:  # noqa: ASYNC110 - the server counts, there is no event to await
        await asyncio.sleep(0)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt


async def test_new_configuration(scene: Scene) -> None:
    """A deployment that is configured anew under its old name is called as it now is."""
    scene.deployment = replace(scene.deployment, credential=Secret("old"))
    with pytest.raises(ProviderDenied):
        await scene.ask()
    scene.deployment = replace(scene.deployment, credential=Secret(KEY))
    instances, _, _ = await scene.ask()
    assert len(instances) == 2


async def test_defaults(scene: Scene) -> None:
    """A key in the environment is a deployment of the public endpoint that can work; without one there is none."""
    [deployment] = scene.runflow.defaults({"RUNFLOW_API_KEY": "rf_live_x"})
    scene.runflow.check(deployment)
    assert (deployment.endpoint, deployment.credential) == ("https://api.runflow.io", Secret("rf_live_x"))
    assert list(scene.runflow.defaults({"RUNFLOW_API_KEY": ""})) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"picture_as": "data"}, "options.picture_as is 'data'"),
        ({"poll_seconds": 0}, "options.poll_seconds is 0"),
        ({"asset_hosts": 7}, "options.asset_hosts is 7"),
        ({"colour": "red"}, "options.colour is unknown"),
    ],
)
async def test_check(scene: Scene, options: dict[str, Any], words: str) -> None:
    """An option that cannot work is refused by name."""
    with pytest.raises(ValueError, match="deployment 'eu'") as refusal:
        scene.runflow.check(replace(scene.deployment, options=options))
    assert words in str(refusal.value)
