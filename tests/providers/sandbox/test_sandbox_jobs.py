"""Prodia's faults of multipart, its pings and its asynchronous jobs, over sockets."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import aiohttp
import pytest

from providers.contract import Mask
from providers.sandbox import Sandbox
from providers.workers import ThreadWorkers

HEADERS = {"Authorization": "Bearer t"}
SAM3 = {"type": "inference.sam3.segment.v1", "config": {"prompt": "shoe"}}


@pytest.fixture
async def struck(control: Any, prodia: Any) -> Any:
    """Return what lays faults on Prodia and segments the shoes."""
    picture = await control.picture("shoes")

    async def segment(*faults: dict[str, Any], query: str = "") -> tuple[str, bytes]:
        await control.strike("prodia", list(faults))
        status, headers, body = await prodia.post(SAM3, picture, query=query)
        assert status == 200
        return headers["Content-Type"], body

    return segment


def heads(pieces: list[tuple[dict[str, str], bytes]]) -> list[str]:
    """Return name and file name of every part."""
    return [head["Content-Disposition"].removeprefix("form-data; ") for head, _ in pieces]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            "reversed",
            [
                'name="output"; filename="mask_0.png"',
                'name="output"; filename="mask_1.png"',
                'name="job"; filename="job.json"',
            ],
        ),
        ("duplicate_names", ['name="job"; filename="job.json"', *['name="output"; filename="mask.png"'] * 2]),
        (
            "foreground",
            [
                'name="job"; filename="job.json"',
                'name="mask"; filename="mask.png"',
                'name="foreground"; filename="foreground.png"',
            ],
        ),
        ("no_filename", ['name="job"', 'name="output"', 'name="output"']),
        ("job_only", ['name="job"; filename="job.json"']),
    ],
)
async def test_the_parts_are_others(
    form: str, expected: list[str], struck: Any, control: Any, split_parts: Any
) -> None:
    """Order, names and file names are those of the form; the job is billed all the same."""
    content_type, body = await struck({"kind": "parts", "form": form})
    assert expected == heads(split_parts(content_type, body))
    assert 1 == len(await control.books())


async def test_there_are_a_thousand_parts(struck: Any, split_parts: Any) -> None:
    """A thousand outputs after the job."""
    assert 1001 == len(split_parts(*await struck({"kind": "parts", "form": "thousand"})))


async def test_there_is_no_part_at_all(struck: Any) -> None:
    """Only the closing delimiter."""
    content_type, body = await struck({"kind": "parts", "form": "none"})
    assert f"--{content_type.partition('boundary=')[2]}--\r\n".encode() == body


async def test_text_stands_around_the_parts(struck: Any) -> None:
    """A preamble and an epilogue of the size that was asked for."""
    content_type, body = await struck({"kind": "preamble", "bytes": 5000})
    delimiter = b"--" + content_type.partition("boundary=")[2].encode()
    before, _, rest = body.partition(delimiter)
    assert [5002, 5000] == [len(before), len(rest.rpartition(delimiter + b"--\r\n")[2])]


async def test_a_part_has_many_headers(struck: Any, split_parts: Any) -> None:
    """The first part has as many more as were asked for."""
    ((head, job), *_) = split_parts(*await struck({"kind": "many_headers", "count": 300}))
    assert (302, "completed") == (len(head), json.loads(job)["state"]["current"])


async def test_the_boundary_is_missing_or_another(struck: Any) -> None:
    """The content type names none, or one that never comes."""
    content_type, _ = await struck({"kind": "no_boundary"})
    assert "multipart/form-data" == content_type
    content_type, body = await struck({"kind": "wrong_boundary"})
    assert re.fullmatch(r"multipart/form-data; boundary=0{60}", content_type)
    assert b"0" * 60 not in body


async def test_a_reply_is_a_picture_or_json_unasked(struck: Any, control: Any, decode_mask: Any) -> None:
    """Although multipart was accepted, the first mask comes, or the job alone."""
    content_type, body = await struck({"kind": "raw_png"})
    assert "image/png" == content_type
    assert await control.truth("shoes", "left shoe") == [Mask.from_bitmap(decode_mask(body))]
    content_type, body = await struck({"kind": "json_reply"})
    assert ("application/json", "completed") == (content_type, json.loads(body)["state"]["current"])


async def test_a_job_lacks_its_price_and_its_metrics(struck: Any, split_parts: Any) -> None:
    """Although the price was asked for."""
    faults = ({"kind": "no_price"}, {"kind": "no_metrics"})
    job = json.loads(split_parts(*await struck(*faults, query="?price=true"))[0][1])
    assert not {"price", "metrics"} & set(job)


async def test_a_job_fails_under_a_200(struck: Any, control: Any, split_parts: Any) -> None:
    """The state is failed, there is an error and no output, and nothing is billed."""
    ((_, job),) = split_parts(*await struck({"kind": "state_failed", "message": "oops"}, query="?price=true"))
    told = json.loads(job)
    assert ({"current": "failed"}, "oops", False) == (told["state"], told["error"], "price" in told)
    assert [] == await control.books()


@pytest.mark.parametrize(
    ("accept", "media_type"), [("*/*", "application/json"), ("multipart/form-data", "multipart/form-data")]
)
async def test_a_ping_is_a_job_without_a_picture(
    accept: str, media_type: str, sandbox: Sandbox, control: Any, session: aiohttp.ClientSession
) -> None:
    """A JSON body is enough; the answer is the job in either form, and it is free."""
    headers = HEADERS | {"Accept": accept}
    url = sandbox.upstreams["prodia"] + "/job?price=true"
    async with session.post(url, json={"type": "inference.ping.v1"}, headers=headers) as answer:
        body = await answer.read()
        assert (200, media_type) == (answer.status, answer.content_type)
    assert b'"price":{"product":"inference-ping","dollars":0.0}' in body
    assert [] == await control.books()


async def test_an_unknown_type_can_be_a_mistake(control: Any, prodia: Any, split_parts: Any) -> None:
    """Where that is switched on, it is a 400 with its reason."""
    await control.habits("prodia", unknown_type="400")
    status, headers, body = await prodia.post({}, b"")
    ((_, job),) = split_parts(headers["Content-Type"], body)
    assert (400, "type: unknown job type") == (status, json.loads(job)["error"])


async def begun(client: aiohttp.ClientSession, base: str, job: Any, picture: bytes) -> tuple[int, bytes]:
    """Begin a job asynchronously; return status and body."""
    form = aiohttp.FormData()
    form.add_field("job", json.dumps(job), filename="job.json", content_type="application/json")
    form.add_field("input", picture, filename="image.png", content_type="image/png")
    async with client.post(f"{base}/job/async", data=form, headers=HEADERS) as answer:
        return answer.status, await answer.read()


async def test_an_asynchronous_job_is_begun_read_and_forgotten(workers: ThreadWorkers, decode_mask: Any) -> None:
    """201 and processing, then processed with outputs to fetch by their names; 404 after five minutes."""
    now = [1_800_000_000.0]
    sandbox = await Sandbox.start(workers=workers, clock=lambda: now[0], run_seconds=0.1)
    try:
        async with aiohttp.ClientSession(headers=HEADERS) as client:
            base = sandbox.upstreams["prodia"]
            habits = {"async_types": ["inference.sam3.segment.v1"]}
            await client.put(f"{sandbox.control_url}/upstreams/prodia/habits", json=habits)
            picture = await (await client.get(f"{sandbox.control_url}/scenes/shoes.png")).read()
            status, body = await begun(client, base, SAM3, picture)
            job = json.loads(body)
            assert (201, "processing") == (status, job["state"]["current"])
            url = f"{base}/job/async/{job['id']}"
            seen = [await (await client.get(f"{url}/job.state.current")).text()]
            while seen[-1] == "processing":
                await asyncio.sleep(0.01)
                seen.append(await (await client.get(f"{url}/job.state.current")).text())
            assert ("processing", "processed") == (seen[0], seen[-1])
            told = await (await client.get(f"{url}/job.json?price=true")).json()
            assert ("completed", 0.0011) == (told["state"]["current"], told["price"]["dollars"])
            names = await (await client.get(f"{url}/output")).json(content_type=None)
            assert ["mask_0.png", "mask_1.png"] == names
            mask = decode_mask(await (await client.get(f"{url}/output/{names[1]}")).read())
            assert (480, 640) == mask.shape
            (call,) = (await (await client.get(f"{sandbox.control_url}/books")).json())["calls"]
            assert (job["id"], True) == (call["id"], call["answered"])
            statuses = [(await client.get(f"{url}/output/mask_2.png")).status]
            statuses += [(await client.get(f"{url}/job.json", headers={"Authorization": ""})).status]
            now[0] += 301
            statuses += [(await client.get(f"{url}/job.json")).status]
            assert [404, 401, 404] == statuses
    finally:
        await sandbox.stop()


async def test_an_asynchronous_job_fails_with_its_reason(control: Any, prodia: Any) -> None:
    """A picture that cannot be read ends the job as failed, free of charge."""
    await control.habits("prodia", async_types=["inference.segment.v1"])
    status, body = await begun(prodia.session, prodia.url, {"type": "inference.segment.v1"}, b"no picture")
    url = f"{prodia.url}/job/async/{json.loads(body)['id']}"
    state = ""
    while state != "failed":
        state = await (await prodia.session.get(f"{url}/job.state.current", headers=HEADERS)).text()
    told = await (await prodia.session.get(f"{url}/job.json", headers=HEADERS)).json()
    assert (201, "failed") == (status, told["state"]["current"])
    assert "no PNG" in told["error"]
    assert [] == await control.books()


async def test_a_type_without_an_asynchronous_form_is_refused(control: Any, prodia: Any) -> None:
    """Segmentation is not permitted unless it is switched on."""
    status, body = await begun(prodia.session, prodia.url, SAM3, await control.picture("shoes"))
    assert (400, True) == (status, b"has no async form" in body)
