"""The fake Prodia, over sockets, against what its documents say."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import cv2
import numpy as np
import pytest

from providers.contract import Mask
from providers.sandbox.segmenting import score

SAM2 = {"type": "inference.sam2.segment.v1"}


def picture(width: int, height: int, extension: str = ".png") -> bytes:
    """Return a plain picture with a square in it."""
    pixels = np.full((height, width, 3), 240, np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = (200, 30, 30)
    return cv2.imencode(extension, pixels)[1].tobytes()


async def test_a_text_prompt_brings_the_true_masks(
    control: Any, prodia: Any, decode_mask: Any, split_parts: Any
) -> None:
    """The reply is the job, then one grey PNG output of IoU 1.0 for each object that the prompt names."""
    status, headers, body = await prodia.segment(await control.picture("shoes"), "shoe", confidence_threshold=0.9)
    assert (status, headers["X-Sandbox-Masks"]) == (200, "scene")
    (job_head, job_body), *outputs = split_parts(headers["Content-Type"], body)
    assert job_head == {
        "Content-Disposition": 'form-data; name="job"; filename="job.json"',
        "Content-Type": "application/json",
    }
    truth = await control.truth("shoes", "left shoe", "right shoe")
    masks = []
    for number, (head, data) in enumerate(outputs):
        assert head == {
            "Content-Disposition": f'form-data; name="output"; filename="mask_{number}.png"',
            "Content-Type": "image/png",
        }
        pixels = decode_mask(data)
        assert (pixels.shape, set(np.unique(pixels).tolist())) == ((480, 640), {0, 255})
        masks.append(Mask.from_bitmap(pixels))
    assert [mask.iou(true) for mask, true in zip(masks, truth, strict=True)] == [1.0] * 2
    job = json.loads(job_body)
    assert job["config"] == {"prompt": "shoe", "confidence_threshold": 0.9}
    assert (job["type"], job["state"]) == ("inference.sam3.segment.v1", {"current": "completed"})
    assert "price" not in job
    assert job["created_at"].endswith("Z")
    assert len(job["created_at"]) == len("2026-02-10T12:30:00.612Z")
    assert job["metrics"]["elapsed"] > 0
    assert job["id"] == str(uuid.UUID(job["id"]))
    assert await control.books() == [
        {
            "upstream": "prodia",
            "id": job["id"],
            "client_ref": None,
            "at": (await control.books())[0]["at"],
            "microusd": 1100,
            "answered": True,
        }
    ]


async def test_the_price_comes_when_it_is_asked_for(control: Any, prodia: Any, split_parts: Any) -> None:
    """With ?price=true the job names its product and dollars, and its defaults are filled in."""
    job = {"type": "inference.segment.v2", "config": {"prompt": "pen", "include_messages": True}}
    _, headers, body = await prodia.post(job, await control.picture("desk"), query="?price=true")
    told = json.loads(split_parts(headers["Content-Type"], body)[0][1])
    assert told["price"]["dollars"] == 0.0011
    assert told["config"] == {"prompt": "pen", "include_messages": True, "confidence_threshold": 0.5}


@pytest.mark.parametrize("kind", ["inference.segment.v1", "inference.sam2.segment.v1"])
async def test_sam_2_segments_everything(kind: str, control: Any, prodia: Any, split_parts: Any) -> None:
    """A job without a prompt brings every object of the scene."""
    _, headers, body = await prodia.post({"type": kind}, await control.picture("crowd"))
    assert len(split_parts(headers["Content-Type"], body)) == 1 + 16


async def test_the_threshold_leaves_out_what_is_scored_lower(control: Any, prodia: Any, split_parts: Any) -> None:
    """A higher threshold returns fewer masks; one that nothing reaches returns none, and is a billed success."""
    counts = []
    for threshold in (0, 0.5, score(4), 1):
        _, headers, body = await prodia.segment(await control.picture("crowd"), "coin", confidence_threshold=threshold)
        counts.append(len(split_parts(headers["Content-Type"], body)) - 1)
    assert counts == [16, 16, 5, 0]
    assert len(await control.books()) == 4


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("multipart/form-data; image/png", "multipart/form-data"),
        ("multipart/form-data; multipart/form-data", "multipart/form-data"),
        ("image/png", "image/png"),
        ("*/*", "image/png"),
        ("application/json", "application/json"),
    ],
)
async def test_accept_decides_the_form_of_the_reply(
    accept: str, media_type: str, control: Any, prodia: Any, decode_mask: Any
) -> None:
    """Multipart in all its spellings, a picture's raw bytes, or the job alone."""
    job = {"type": "inference.sam3.segment.v1", "config": {"prompt": "pen"}}
    _, headers, body = await prodia.post(job, await control.picture("desk"), accept=accept)
    assert headers["Content-Type"].partition(";")[0] == media_type
    if media_type == "image/png":
        assert await control.truth("desk", "pen") == [Mask.from_bitmap(decode_mask(body))]


@pytest.mark.parametrize("token", ["", " "])
async def test_a_missing_token_is_refused_in_plain_text(token: str, prodia: Any) -> None:
    """Without a token the answer is 401 with the documented text and no multipart."""
    status, headers, body = await prodia.post(SAM2, picture(300, 300), token=token)
    assert (status, headers["Content-Type"]) == (401, "text/plain; charset=utf-8")
    assert body.startswith(b"token is invalid")


@pytest.mark.parametrize("job", [{}, {"type": "inference.other.v1"}, {"type": 3}])
async def test_an_unknown_type_is_answered_as_too_many_requests(job: dict[str, Any], prodia: Any) -> None:
    """A job without a type, or of an unknown one, is a 429 as the service's own tests saw it."""
    status, headers, _ = await prodia.post(job, picture(300, 300))
    assert (status, headers["Retry-After"]) == (429, "1")


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({}, "config: missing property 'prompt'"),
        ({"prompt": ""}, "config.prompt: minLength: got 0, want 1"),
        ({"prompt": "x" * 501}, "config.prompt: maxLength: got 501, want 500"),
        ({"prompt": 3}, "config.prompt: got something else, want string"),
        ({"prompt": "x", "confidence_threshold": 2}, "config.confidence_threshold: maximum: got 2, want 1"),
        ({"prompt": "x", "confidence_threshold": -1}, "config.confidence_threshold: minimum: got -1, want 0"),
        ({"prompt": "x", "confidence_threshold": "y"}, "config.confidence_threshold: got something else, want number"),
        ([], "config: got something else, want object"),
    ],
)
async def test_a_bad_config_is_refused_in_multipart(
    config: Any, error: str, control: Any, prodia: Any, split_parts: Any
) -> None:
    """A bad configuration is a 400 whose job part names field and bound, and costs nothing."""
    status, headers, body = await prodia.post(
        {"type": "inference.sam3.segment.v1", "config": config}, picture(300, 300)
    )
    ((_, job),) = split_parts(headers["Content-Type"], body)
    assert (status, json.loads(job)["error"]) == (400, error)
    name = json.loads(job)["id"]
    assert name == str(uuid.UUID(name))
    assert await control.books() == []


@pytest.mark.parametrize(
    ("job", "pictures", "error"),
    [
        (SAM2, [], "input: exactly one image is needed, got 0"),
        (SAM2, [picture(300, 300), picture(301, 300)], "input: exactly one image is needed, got 2"),
        (SAM2, [b"not a picture"], "input: the file is no PNG, JPEG or WebP picture"),
        (SAM2, [picture(255, 300)], "input.width: minimum: got 255, want 256"),
        (SAM2, [picture(300, 2049)], "input.height: maximum: got 2,049, want 2,048"),
        ([], [picture(300, 300)], "job: got something else, want object"),
    ],
)
async def test_a_bad_input_is_refused_in_multipart(
    job: Any, pictures: list[bytes], error: str, control: Any, prodia: Any, split_parts: Any
) -> None:
    """No picture, two different ones, or one outside of the limits is a 400 with its reason, free of charge."""
    status, headers, body = await prodia.post(job, *pictures)
    ((_, told),) = split_parts(headers["Content-Type"], body)
    assert (status, json.loads(told)["error"]) == (400, error)
    assert await control.books() == []


async def test_a_file_of_more_than_ten_million_bytes_is_refused(prodia: Any) -> None:
    """One byte more than the limit is a 400 that names it."""
    status, _, body = await prodia.post(SAM2, picture(300, 300).ljust(10_000_001, b"\0"))
    assert (status, b"want 10,000,000 bytes" in body) == (400, True)


async def test_limits_are_inclusive_and_sam_3_takes_larger_pictures(prodia: Any) -> None:
    """256 and 2048 pixels are fine for SAM 2; 2049 are for SAM 3 only."""
    assert (await prodia.post(SAM2, picture(256, 2048)))[0] == 200
    assert (await prodia.segment(picture(2049, 256), "x"))[0] == 200


async def test_the_same_picture_twice_is_one_input(control: Any, prodia: Any) -> None:
    """Prodia's own client sends a File twice; both parts being equal, that is one picture."""
    data = await control.picture("desk")
    assert (await prodia.post(SAM2, data, data))[0] == 200


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp"])
async def test_the_format_is_sniffed_and_unknown_pictures_go_to_the_classic_engine(
    extension: str, prodia: Any, split_parts: Any, decode_mask: Any
) -> None:
    """Whatever the part calls itself, its bytes decide; the square of an unknown picture is found."""
    status, headers, body = await prodia.segment(picture(400, 300, extension), "square")
    assert (status, headers["X-Sandbox-Masks"]) == (200, "classic")
    square = np.zeros((300, 400), np.uint8)
    square[75:150, 100:200] = 1
    masks = [Mask.from_bitmap(decode_mask(data)) for _, data in split_parts(headers["Content-Type"], body)[1:]]
    assert max(mask.iou(Mask.from_bitmap(square)) for mask in masks) > 0.9


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        ("application/json", b'{"type": "inference.segment.v1"}', "input: exactly one image is needed, got 0"),
        ("application/json", b"{", "job: not JSON"),
        ("multipart/form-data; boundary=x", b"--x\r\n", "body: not multipart/form-data"),
        ("multipart/form-data; boundary=x", b"garbage", "body: not multipart/form-data"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", "job: exactly one part is needed, got 0"),
    ],
)
async def test_a_body_that_is_no_job_is_refused(
    content_type: str, body: bytes, error: str, prodia: Any, split_parts: Any
) -> None:
    """JSON without a picture, broken JSON and broken multipart are 400 with a job part."""
    headers = {"Authorization": "Bearer t", "Content-Type": content_type}
    async with prodia.session.post(f"{prodia.url}/job", data=body, headers=headers) as answer:
        ((_, job),) = split_parts(answer.headers["Content-Type"], await answer.read())
        assert answer.status == 400
    assert json.loads(job)["error"].startswith(error)


async def test_a_body_without_a_final_line_end_is_read(control: Any, prodia: Any) -> None:
    """Node 18 ends its body right after the closing delimiter, with the input before the job; that is a whole form."""
    body = b"".join(
        (
            b'--b-1\r\nContent-Disposition: form-data; name="input"; filename="image.jpg"\r\n',
            b"Content-Type: image/jpeg\r\n\r\n" + await control.picture("desk") + b"\r\n",
            b'--b-1\r\nContent-Disposition: form-data; name="job"; filename="job.json"\r\n',
            b'Content-Type: application/json\r\n\r\n{"type":"inference.segment.v1"}\r\n--b-1--',
        )
    )
    headers = {"Authorization": "Bearer t", "Content-Type": "multipart/form-data; boundary=b-1"}
    async with prodia.session.post(f"{prodia.url}/job", data=body, headers=headers) as answer:
        assert answer.status == 200


async def test_an_unknown_route_is_plain_text(prodia: Any) -> None:
    """What is not served answers 404 without JSON or multipart."""
    async with prodia.session.get(f"{prodia.url}/nothing") as answer:
        assert (answer.status, answer.content_type) == (404, "text/plain")


async def test_many_jobs_at_once_are_each_billed_once(control: Any, prodia: Any) -> None:
    """A hundred jobs at once all succeed, and the books hold a hundred calls."""
    data = await control.picture("desk")
    replies = await asyncio.gather(*(prodia.segment(data, "mug") for _ in range(100)))
    assert [status for status, _, _ in replies] == [200] * 100
    assert sum(call["microusd"] for call in await control.books()) == 100 * 1100
