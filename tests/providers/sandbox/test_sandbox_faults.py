"""Every fault as a client sees it on the wire, and what the books say afterwards."""

from __future__ import annotations

import asyncio
import email.utils
import errno
import json
import re
import socket
from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import cv2
import numpy as np
import pytest

from providers.sandbox import Sandbox
from providers.workers import ThreadWorkers

MODEL = "/v1/models/meta/sam-3/image/runs"
RESET = errno.ECONNRESET


class Wire:
    """A bare connection that sends one request and reads what comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold both directions."""
        self.reader = reader
        self.writer = writer

    @classmethod
    async def post(cls, url: str, value: Any) -> Wire:
        """Connect and send a JSON request with a key."""
        parts = urlsplit(url)
        wire = cls(*await asyncio.open_connection(parts.hostname, parts.port))
        body = json.dumps(value).encode()
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer k\r\n"
        wire.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await wire.writer.drain()
        return wire

    async def close(self) -> None:
        """Leave."""
        self.writer.close()
        await self.writer.wait_closed()


@pytest.fixture
async def body(control: Any) -> dict[str, Any]:
    """Return the body of a run that succeeds."""
    scene = await control.scene("desk")
    return {"input": {"image_url": scene["image_url"], "prompt": "pen"}, "client_ref": "r1"}


async def billed(control: Any, count: int) -> list[dict[str, Any]]:
    """Wait until the books hold so many calls; the test's own time limit ends a wait in vain."""
    while True:
        calls = await control.books()
        if len(calls) >= count:
            assert len(calls) == count
            return calls
        await asyncio.sleep(0.005)


async def settled(runflow: Any) -> list[dict[str, Any]]:
    """Return all runs of the region, once none is under way any more."""
    while True:
        runs = (await runflow.get("/v1/runs"))["items"]
        if all(run["status_code"] in ("succeeded", "failed") for run in runs):
            return runs
        await asyncio.sleep(0.005)


async def test_status_answers_instead_of_processing(control: Any, runflow: Any, prodia: Any, body: Any) -> None:
    """The status comes with the provider's own kind of body, or with the one that was given; nothing is billed."""
    await control.strike("runflow-eu", {"kind": "status", "status": 503})
    assert (await runflow.post(MODEL, body, status=503))["code"] == "MODEL_UNAVAILABLE"
    await control.strike("runflow-eu", {"kind": "status", "status": 500, "body": {"detail": "boom"}})
    assert await runflow.post(MODEL, body, status=500) == {"detail": "boom"}
    await control.strike("prodia", {"kind": "status", "status": 502, "body": "bad gateway"})
    status, headers, text = await prodia.segment(await control.picture("desk"), "pen")
    assert (status, headers["Content-Type"], text) == (502, "text/plain; charset=utf-8", b"bad gateway")
    assert await settled(runflow) == []
    assert await control.books() == []
    await control.heal("runflow-eu")
    await runflow.run(body["input"]["image_url"], prompt="pen")
    assert len(await control.books()) == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"retry_after": 7}, r"7"),
        ({"retry_after": 0.5}, r"0\.5"),
        ({"retry_after": None}, None),
        ({}, None),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, r"Wed, 21 Oct 2026 07:28:00 GMT"),
        ({"retry_after": 5, "form": "date"}, r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"),
    ],
)
async def test_throttle_says_when_to_come_back(
    fault: dict[str, Any], expected: str | None, control: Any, runflow: Any, prodia: Any
) -> None:
    """A 429 carries Retry-After as seconds, as a date, or not at all, on both providers."""
    for upstream in ("runflow-eu", "prodia"):
        await control.strike(upstream, {"kind": "throttle", **fault})
    status, headers, _ = await prodia.segment(b"", "pen")
    values = [headers.get("Retry-After")]
    async with runflow.session.post(runflow.url + MODEL, json={}, headers={"Authorization": "Bearer k"}) as answer:
        assert (status, answer.status, (await answer.json())["code"]) == (429, 429, "RATE_LIMITED")
        values.append(answer.headers.get("Retry-After"))
    for value in values:
        assert (value is None) == (expected is None)
        assert expected is None or re.fullmatch(expected, value or "")
    if fault.get("form") == "date":
        assert email.utils.parsedate_to_datetime(values[0] or "").tzinfo is UTC


async def test_latency_delays_and_then_serves(control: Any, runflow: Any, body: Any) -> None:
    """A slow call is still processed and billed for a client that waits."""
    await control.strike("runflow-eu", {"kind": "latency", "seconds": 0.05, "on": "any"})
    assert (await runflow.run(body["input"]["image_url"], prompt="pen"))["status_code"] == "succeeded"
    assert len(await control.books()) == 1


async def test_a_client_that_leaves_before_processing_is_not_billed(control: Any, runflow: Any, body: Any) -> None:
    """A create that hangs longer than its client waits makes no run."""
    await control.strike("runflow-eu", {"kind": "latency", "seconds": 3600})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(runflow.post(MODEL, body), 0.1)
    await control.heal("runflow-eu")
    assert await settled(runflow) == []
    assert await control.books() == []


async def test_reset_before_resets_and_bills_nothing(control: Any, runflow: Any, prodia: Any, body: Any) -> None:
    """The connection ends in a RST, and there is neither run nor bill."""
    await control.strike("runflow-eu", {"kind": "reset_before"})
    await control.strike("prodia", {"kind": "reset_before"})
    wire = await Wire.post(runflow.url + MODEL, body)
    with pytest.raises(ConnectionResetError) as caught:
        await wire.reader.read()
    assert caught.value.errno == RESET
    wire.writer.close()
    with pytest.raises(aiohttp.ClientError):
        await prodia.segment(await control.picture("desk"), "pen")
    assert await settled(runflow) == []
    assert await control.books() == []


@pytest.mark.parametrize("kind", ["reset_after", "lost_answer", "cut_body"])
async def test_a_run_whose_creation_is_never_told_exists_and_is_billed(
    kind: str, control: Any, runflow: Any, body: Any
) -> None:
    """Reset, silence or half a body after a create: the run completes, is billed, and is found by its reference."""
    await control.strike("runflow-eu", {"kind": kind})
    wire = await Wire.post(runflow.url + MODEL, body)
    (call,) = await billed(control, 1)
    assert (call["client_ref"], call["answered"]) == ("r1", False)
    if kind == "reset_after":
        with pytest.raises(ConnectionResetError):
            await wire.reader.read()
    elif kind == "cut_body":
        head, _, rest = (await wire.reader.read()).partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None
        assert len(rest) == int(length.group(1)) // 2
    else:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.reader.read(1), 0.1)
    wire.writer.close()
    found = (await runflow.get("/v1/runs?q=client_ref.EQ:'r1'"))["items"]
    assert [(run["id"], run["status_code"]) for run in found] == [(call["id"], "succeeded")]
    assert [call["answered"] for call in await control.books()] == [True]


@pytest.mark.parametrize("kind", ["reset_after", "lost_answer", "cut_body"])
async def test_a_job_whose_answer_is_lost_is_billed_and_unanswered(kind: str, control: Any, prodia: Any) -> None:
    """Prodia has done the work; the client has nothing, and nothing to ask by."""
    await control.strike("prodia", {"kind": kind})
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        await asyncio.wait_for(prodia.segment(await control.picture("desk"), "pen"), 1)
    assert [(call["microusd"], call["answered"]) for call in await billed(control, 1)] == [(1100, False)]


async def test_a_job_goes_on_and_is_billed_when_its_caller_leaves(workers: ThreadWorkers) -> None:
    """Once Prodia has begun, hanging up saves nothing."""
    sandbox = await Sandbox.start(workers=workers, run_seconds=0.3)
    try:
        async with aiohttp.ClientSession() as client:
            picture = await (await client.get(f"{sandbox.control_url}/scenes/desk.png")).read()
            form = aiohttp.FormData()
            form.add_field("job", '{"type": "inference.segment.v1"}', filename="job.json")
            form.add_field("input", picture, filename="image.png")
            post = client.post(sandbox.upstreams["prodia"] + "/job", data=form, headers={"Authorization": "Bearer t"})
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(post, 0.15)
            calls: list[dict[str, Any]] = []
            while not calls:
                await asyncio.sleep(0.01)
                calls = (await (await client.get(f"{sandbox.control_url}/books")).json())["calls"]
    finally:
        await sandbox.stop()
    assert [call["answered"] for call in calls] == [False]


async def test_drip_sends_everything_slowly(control: Any, prodia: Any, split_parts: Any) -> None:
    """A dripped answer comes in many pieces, whole in the end, and counts as answered."""
    await control.strike("prodia", {"kind": "drip", "bytes_per_second": 20_000})
    status, headers, body = await prodia.segment(await control.picture("desk"), "pen")
    assert status == 200
    assert len(split_parts(headers["Content-Type"], body)) == 2
    assert [call["answered"] for call in await control.books()] == [True]


async def test_bad_json_cannot_be_parsed(control: Any, runflow: Any, prodia: Any, body: Any, split_parts: Any) -> None:
    """The JSON of a run and of a job is broken, both being billed and not answered."""
    await control.strike("runflow-eu", {"kind": "bad_json"})
    await control.strike("prodia", {"kind": "bad_json"})
    async with runflow.session.post(runflow.url + MODEL, json=body, headers={"Authorization": "Bearer k"}) as answer:
        with pytest.raises(json.JSONDecodeError):
            await answer.json()
    _, headers, reply = await prodia.segment(await control.picture("desk"), "pen")
    with pytest.raises(json.JSONDecodeError):
        json.loads(split_parts(headers["Content-Type"], reply)[0][1])
    assert [call["answered"] for call in await billed(control, 2)] == [False, False]


async def test_bad_png_cannot_be_decoded(control: Any, runflow: Any, prodia: Any, body: Any, split_parts: Any) -> None:
    """The masks of both providers are no pictures, although they begin like one."""
    await control.strike("runflow-eu", {"kind": "bad_png"})
    await control.strike("prodia", {"kind": "bad_png"})
    run = await runflow.run(body["input"]["image_url"], prompt="pen")
    _, headers, reply = await prodia.segment(await control.picture("desk"), "pen")
    masks = [
        await runflow.download(run["output"]["model_data"]["masks"][0]["url"]),
        split_parts(headers["Content-Type"], reply)[1][1],
    ]
    assert [mask[:4] for mask in masks] == [b"\x89PNG"] * 2
    assert [cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_UNCHANGED) for mask in masks] == [None, None]
    assert len(await control.books()) == 2


async def test_bad_multipart_has_no_end(control: Any, prodia: Any) -> None:
    """The reply lacks its closing delimiter although its length is right."""
    await control.strike("prodia", {"kind": "bad_multipart"})
    status, headers, body = await prodia.segment(await control.picture("desk"), "pen")
    boundary = headers["Content-Type"].partition("boundary=")[2].encode()
    assert (status, body.count(b"--" + boundary), body.endswith(b"--\r\n")) == (200, 2, False)
    assert len(await control.books()) == 1


async def test_wrong_type_calls_itself_a_page(control: Any, runflow: Any, prodia: Any, body: Any) -> None:
    """The answer is text/html by its header."""
    for upstream in ("runflow-eu", "prodia"):
        await control.strike(upstream, {"kind": "wrong_type"})
    async with runflow.session.post(runflow.url + MODEL, json=body, headers={"Authorization": "Bearer k"}) as answer:
        assert (answer.status, answer.content_type) == (201, "text/html")
    _, headers, _ = await prodia.segment(await control.picture("desk"), "pen")
    assert headers["Content-Type"].startswith("text/html")
    assert len(await billed(control, 2)) == 2


async def test_refuse_closes_the_port_until_it_is_healed(
    sandbox: Sandbox, control: Any, runflow: Any, body: Any
) -> None:
    """Connections are refused, open ones end, the other region goes on, and healing opens the same port again."""
    parts = urlsplit(runflow.url)
    idle = await asyncio.open_connection(parts.hostname, parts.port)
    async with aiohttp.ClientSession() as keeping:
        await (await keeping.get(runflow.url + "/v1/health")).read()
        await control.strike("runflow-eu", {"kind": "refuse"})
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await keeping.get(runflow.url + "/v1/health")
        assert caught.value.errno == errno.ECONNREFUSED
        assert await idle[0].read() == b""
        idle[1].close()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((parts.hostname, parts.port))
        async with keeping.get(sandbox.upstreams["runflow-us"] + "/v1/health") as answer:
            assert answer.status == 200
        await control.strike("runflow-eu", {"kind": "refuse"})
        await control.heal("runflow-eu")
        await control.heal("runflow-eu")
        async with keeping.get(runflow.url + "/v1/health") as answer:
            assert answer.status == 200


async def test_a_run_goes_on_while_its_region_refuses_connections(control: Any, runflow: Any, body: Any) -> None:
    """A region that nobody can reach still ends and bills what it began."""
    await runflow.post(MODEL, body)
    await control.strike("runflow-eu", {"kind": "refuse"})
    assert [call["answered"] for call in await billed(control, 1)] == [False]


async def test_share_strikes_that_part_of_the_calls(workers: ThreadWorkers) -> None:
    """With a share the strikes follow the seed, the same ones every time, and about so many."""
    seen = []
    for _ in range(2):
        sandbox = await Sandbox.start(workers=workers, random_seed=7)
        try:
            async with aiohttp.ClientSession() as client:
                fault = {"kind": "status", "status": 500, "share": 0.5, "on": "any"}
                await client.put(f"{sandbox.control_url}/upstreams/runflow-us/fault", json=fault)
                health = sandbox.upstreams["runflow-us"] + "/v1/health"
                seen.append([(await client.get(health)).status for _ in range(40)])
        finally:
            await sandbox.stop()
    assert seen[0] == seen[1]
    assert 10 < seen[0].count(500) < 30


@pytest.mark.parametrize("step", ["create", "poll", "upload", "download", "asset", "account"])
async def test_on_names_the_call_that_is_struck(step: str, control: Any, runflow: Any, body: Any) -> None:
    """A fault laid on one call leaves all the others alone."""
    run = await runflow.run(body["input"]["image_url"], prompt="pen")
    wanted = {"filename": "a.png", "mime_type": "image/png", "size_bytes": 5}
    asset = (await runflow.post("/v1/asset-uploads", wanted))["asset_id"]
    url = run["output"]["outputs"][0]["url"]
    await control.strike("runflow-eu", {"kind": "status", "status": 418, "on": step})
    calls = {
        "create": ("POST", runflow.url + MODEL, body),
        "poll": ("GET", f"{runflow.url}/v1/runs/{run['id']}", None),
        "upload": ("POST", runflow.url + "/v1/asset-uploads", wanted),
        "download": ("GET", url, None),
        "asset": ("GET", f"{runflow.url}/v1/assets/{asset}", None),
        "account": ("GET", runflow.url + "/v1/billing/balance", None),
    }
    struck = []
    for name, (method, address, value) in calls.items():
        headers = {} if name == "download" else {"Authorization": "Bearer k"}
        async with runflow.session.request(method, address, json=value, headers=headers) as answer:
            if answer.status == 418:
                struck.append(name)
    assert struck == [step]


async def test_several_faults_work_together_and_the_newest_replace_them(control: Any, runflow: Any, body: Any) -> None:
    """A list of faults is on at once; the next one put takes their place."""
    slow_and_lost = [
        {"kind": "latency", "seconds": 0.01},
        {"kind": "wrong_type"},
        {"kind": "status", "status": 500, "on": "poll"},
    ]
    await control.strike("runflow-eu", slow_and_lost)
    async with runflow.session.post(runflow.url + MODEL, json=body, headers={"Authorization": "Bearer k"}) as answer:
        run = await answer.json(content_type=None)
        assert answer.content_type == "text/html"
    await runflow.get(f"/v1/runs/{run['id']}", status=500)
    await control.strike("runflow-eu", {"kind": "status", "status": 404})
    await runflow.get(f"/v1/runs/{run['id']}")
    await runflow.post(MODEL, body, status=404)
