"""Callbacks of the fake Runflow as a listener sees them: signed, repeated, forged, early and late."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from providers.sandbox.callback_secrets import signature

MODEL = "/v1/models/meta/sam-3/image/runs"


@dataclass
class Listener:
    """A server that takes callbacks."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    """What it answers, one after the other; then 200."""
    arrived: asyncio.Queue[tuple[dict[str, str], bytes]] = field(default_factory=asyncio.Queue)

    async def take(self, request: web.Request) -> web.Response:
        """Note a callback."""
        await self.arrived.put((dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, text="noted")


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """A server on a free port."""
    listening = Listener()
    app = web.Application()
    app.router.add_post("/done", listening.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    listening.url = f"http://127.0.0.1:{site.port}/done"
    yield listening
    await runner.cleanup()


@pytest.fixture
async def body(control: Any, listener: Listener) -> dict[str, Any]:
    """Return the body of a run that succeeds and is called back."""
    image_url = (await control.scene("desk"))["image_url"]
    return {"input": {"image_url": image_url, "prompt": "pen"}, "callback_url": listener.url, "metadata": {"a": 1}}


async def deliveries(runflow: Any, run_id: str, count: int) -> list[dict[str, Any]]:
    """Wait for so many delivery records; the test's own time limit ends a wait in vain."""
    while True:
        records = await runflow.get(f"/v1/runs/{run_id}/callback")
        if len(records) >= count:
            return list(records)
        await asyncio.sleep(0.005)


def test_a_signature_is_that_of_the_documented_rule() -> None:
    """The lower-case hexadecimal HMAC-SHA256 of the body, keyed by the whole secret."""
    body = (
        b'{"event":"run.completed","run_id":"0197aaaa-0000-7000-8000-000000000001","status":"succeeded","output":'
        b'{"outputs":[{"type":"image","url":"https://example.com/m.png"}]},"duration_ms":1234,"created_at":'
        b'"2026-05-06T10:00:00+00:00","completed_at":"2026-05-06T10:01:42+00:00","metadata":null}'
    )
    assert 287 == len(body)
    expected = "84855507bcc10f2f44d1a1a9ced9e48890bf790ff3cc621ecaae2e6bfa0d8c26"
    assert expected == signature("whsec_test_0123456789", body)


async def test_a_callback_is_the_documented_body_and_unsigned_without_a_secret(
    runflow: Any, listener: Listener, body: Any
) -> None:
    """The eight fields, dates that end +00:00, a request id, and no signature."""
    run = await runflow.post(MODEL, body)
    headers, data = await listener.arrived.get()
    told = json.loads(data)
    fields = ["event", "run_id", "status", "output", "duration_ms", "created_at", "completed_at", "metadata"]
    assert fields == list(told)
    assert ("run.completed", run["id"], "succeeded", {"a": 1}) == tuple(
        told[name] for name in ("event", "run_id", "status", "metadata")
    )
    assert told["created_at"].endswith("+00:00")
    assert "Runflow-Request-Id" in headers
    assert "Runflow-Signature" not in headers


async def test_the_newest_secret_signs(control: Any, runflow: Any, listener: Listener, body: Any) -> None:
    """After a rotation the second secret signs; lists show no secret but to the control server."""
    made = [await runflow.post("/v1/callback-secrets", {"label": label}) for label in ("one", "two")]
    run = await runflow.post(MODEL, body)
    headers, data = await listener.arrived.get()
    plain = made[1]["plain_secret"]
    assert hmac.new(plain.encode(), data, hashlib.sha256).hexdigest() == headers["Runflow-Signature"]
    listed = (await runflow.get("/v1/callback-secrets"))["items"]
    assert [("one", False, True), ("two", True, False)] == [
        (item["label"], item["is_current"], item["last_used_at"] is None) for item in listed
    ]
    assert "plain_secret" not in listed[0]
    assert plain.startswith(listed[1]["key_prefix"])
    told = (await control.get("/upstreams/runflow-eu/callback-secrets"))["secrets"]
    assert [secret["plain_secret"] for secret in made] == [secret["plain_secret"] for secret in told]
    (record,) = await deliveries(runflow, run["id"], 1)
    assert made[1]["id"] == record["signing_secret_id"]
    await runflow.post("/v1/callback-secrets", {"label": "x" * 256}, status=422)


async def test_a_delivery_tells_its_attempts(runflow: Any, listener: Listener, body: Any) -> None:
    """A 503 is followed by another attempt, a 404 is not; a redelivery is a record of its own."""
    listener.statuses = [503, 404]
    run = await runflow.post(MODEL, body)
    (record,) = await deliveries(runflow, run["id"], 1)
    assert ("failed", 2, 3, True) == tuple(
        record[name] for name in ("status_code", "attempt_count", "max_attempts", "is_automatic")
    )
    assert [(1, 503, "noted"), (2, 404, "noted")] == [
        (attempt["attempt_number"], attempt["status_code"], attempt["response_body"]) for attempt in record["attempts"]
    ]
    assert run["id"] == record["payload"]["run_id"]
    await runflow.post(f"/v1/runs/{run['id']}/callback-redeliveries", {})
    records = await deliveries(runflow, run["id"], 2)
    assert [("failed", True), ("succeeded", False)] == [
        (record["status_code"], record["is_automatic"]) for record in records
    ]
    silent = await runflow.run(body["input"]["image_url"], prompt="pen")
    await runflow.post(f"/v1/runs/{silent['id']}/callback-redeliveries", {}, status=409)
    await runflow.get("/v1/runs/none/callback", status=404)


@pytest.mark.parametrize(
    ("retries", "statuses", "tried"),
    [
        ("model_page", [500, 503, 502], [500, 503, 502]),
        ("model_page", [500, 404], [500, 404]),
        ("model_page", [302], [302]),
        ("concepts", [500, 404, 302, 429, 503], [500, 404, 302, 429, 503]),
        ("concepts", [404], [404, 200]),
    ],
)
async def test_callbacks_are_tried_again_as_either_document_says(
    retries: str, statuses: list[int], tried: list[int], control: Any, runflow: Any, listener: Listener, body: Any
) -> None:
    """Three times and after 5xx alone, or five times and after all but a 2xx; the pauses are as long as wished."""
    await control.habits("runflow-eu", callback_retries=retries, callback_pace=0.001)
    listener.statuses = list(statuses)
    run = await runflow.post(MODEL, body)
    (record,) = await deliveries(runflow, run["id"], 1)
    assert tried == [attempt["status_code"] for attempt in record["attempts"]]
    assert {"model_page": 3, "concepts": 5}[retries] == record["max_attempts"]
    assert len(tried) == listener.arrived.qsize()


async def test_nobody_far_away_is_called(runflow: Any, body: Any) -> None:
    """An address that is not on this machine gets no callback; the record says why."""
    run = await runflow.post(MODEL, body | {"callback_url": "http://192.0.2.1/done"})
    (record,) = await deliveries(runflow, run["id"], 1)
    assert "this machine only" in record["failure_detail"]


async def test_a_callback_can_come_often_and_after_forgeries(
    control: Any, runflow: Any, listener: Listener, body: Any
) -> None:
    """A forgery claims the run failed under a signature of nobody's; the true one comes twice."""
    secret = (await runflow.post("/v1/callback-secrets", {}))["plain_secret"]
    await control.strike("runflow-eu", {"kind": "callback", "copies": 2, "forgeries": 1})
    await runflow.post(MODEL, body)
    seen = [await listener.arrived.get() for _ in range(3)]
    assert [("failed", False), ("succeeded", True), ("succeeded", True)] == [
        (json.loads(data)["status"], headers["Runflow-Signature"] == signature(secret, data)) for headers, data in seen
    ]


@pytest.mark.parametrize(("told", "signed"), [("wrong", True), ("missing", False)])
async def test_a_signature_can_be_wrong_or_missing(
    told: str, signed: Any, control: Any, runflow: Any, listener: Listener, body: Any
) -> None:
    """Although there is a secret, the signature is another's, or there is none."""
    secret = (await runflow.post("/v1/callback-secrets", {}))["plain_secret"]
    await control.strike("runflow-eu", {"kind": "callback", "signature": told})
    await runflow.post(MODEL, body)
    headers, data = await listener.arrived.get()
    assert signed == ("Runflow-Signature" in headers)
    assert signature(secret, data) != headers.get("Runflow-Signature")


async def test_a_callback_can_come_before_the_answer(control: Any, runflow: Any, listener: Listener, body: Any) -> None:
    """An early callback has arrived when the run's creation is answered, which still says queued."""
    await control.strike("runflow-eu", {"kind": "callback", "early": True})
    run = await runflow.post(MODEL, body)
    assert "queued" == run["status_code"]
    assert run["id"] == json.loads(listener.arrived.get_nowait()[1])["run_id"]


async def test_a_callback_can_come_late_or_never(control: Any, runflow: Any, listener: Listener, body: Any) -> None:
    """A late callback comes when the run has long ended; of no copies none comes."""
    await control.strike("runflow-eu", {"kind": "callback", "late_seconds": 0.2})
    run = await runflow.post(MODEL, body)
    await runflow.finished(run["id"])
    ended = time.monotonic()
    assert listener.arrived.empty()
    await listener.arrived.get()
    assert time.monotonic() > ended
    await control.strike("runflow-eu", {"kind": "callback", "copies": 0})
    await runflow.finished((await runflow.post(MODEL, body))["id"])
    assert listener.arrived.empty()


@pytest.mark.parametrize(
    ("fault", "event", "status"),
    [
        ({"kind": "cancelled"}, "run.cancelled", "cancelled"),
        ({"kind": "partial_succeeded"}, "run.partial_succeeded", "partial_succeeded"),
        ([{"kind": "run_failed"}, {"kind": "callback", "error_output": True}], "run.failed", "failed"),
    ],
)
async def test_every_end_has_its_event(
    fault: Any, event: str, status: str, control: Any, runflow: Any, listener: Listener, body: Any
) -> None:
    """Cancelled, partly succeeded and failed runs are called back under their own events."""
    await control.strike("runflow-eu", fault)
    await runflow.post(MODEL, body)
    told = json.loads((await listener.arrived.get())[1])
    assert (event, status) == (told["event"], told["status"])
    if status == "failed":
        assert {"code": "INPUT_VALIDATION_FAILED", "message": "image dimensions exceed 4096x4096"} == told["output"][
            "error"
        ]
    else:
        assert (told["output"] is None) == (status == "cancelled")
