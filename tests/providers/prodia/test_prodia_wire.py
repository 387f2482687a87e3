"""Prodia's job and answers as its documents show them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.contract import AutomaticPrompt, Money, Outcome, ProviderFailed, Question, Reply, TextPrompt
from providers.masks import read_mask
from providers.prodia.translate import to_error, to_job, to_job_error, to_segmentation
from providers.prodia.wire import Answer, FailureText, Job, SegmentJob, Wanted, job_body, read_answer, read_failure
from tests.providers.loopback import disc, file_of, picture_of

B = "9a1b" * 15
#: From https://docs.prodia.com/reference/price, with the type of a segmentation.
JOB: dict[str, Any] = {
    "type": "inference.sam3.segment.v1",
    "created_at": "2026-02-10T12:30:00.612Z",
    "updated_at": "2026-02-10T12:30:01.108Z",
    "expires_at": "2026-02-10T12:35:00.612Z",
    "id": "0b6c2f2e-3f0d-4b5e-9a55-1f2d3c4b5a69",
    "state": {"current": "completed"},
    "config": {"prompt": "robot cat", "confidence_threshold": 0.5},
    "metrics": {"elapsed": 0.2994, "ips": 13.35},
    "price": {"product": "inference-sam3-segment-v1", "dollars": 0.0011},
}


def part(name: str, filename: str, media_type: str, content: bytes) -> bytes:
    """Return one part as Prodia writes it."""
    head = f'--{B}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    return f"{head}Content-Type: {media_type}\r\n\r\n".encode() + content + b"\r\n"


def multipart(job: Any, *outputs: bytes, status: int = 200) -> Reply:
    """Return a multipart reply with the job first."""
    parts = [] if job is None else [part("job", "job.json", "application/json", json.dumps(job).encode())]
    parts += [part("output", f"mask_{n}.png", "image/png", output) for n, output in enumerate(outputs)]
    body = b"".join(parts) + f"--{B}--\r\n".encode()
    return Reply(status, {"content-type": f"multipart/form-data; boundary={B}"}, body)


def reply(media_type: str, body: bytes, status: int = 200) -> Reply:
    """Return a reply of one media type."""
    return Reply(status, {"content-type": media_type}, body)


def job_of(answer: Answer) -> Job:
    """Return the job of an answer that has one."""
    assert answer.job is not None
    return answer.job


def test_job_body() -> None:
    """The request is the job first, then the picture with its real type and extension, in the form all clients send."""
    job = SegmentJob("inference.sam3.segment.v1", Wanted("robot cat", 0.5))
    assert job_body(job, picture=b"\xff\xd8\xff", media_type="image/jpeg", boundary=b"BOUNDARY") == (
        b"--BOUNDARY\r\n"
        b'Content-Disposition: form-data; name="job"; filename="job.json"\r\n'
        b"Content-Type: application/json\r\n"
        b"\r\n"
        b'{"type":"inference.sam3.segment.v1","config":{"prompt":"robot cat","confidence_threshold":0.5}}\r\n'
        b"--BOUNDARY\r\n"
        b'Content-Disposition: form-data; name="input"; filename="input.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n"
        b"\r\n"
        b"\xff\xd8\xff\r\n"
        b"--BOUNDARY--\r\n"
    )


@pytest.mark.parametrize(("min_score", "threshold"), [(None, 0.5), (0.0, 0.0), (0.8, 0.8)])
def test_threshold(min_score: float | None, threshold: float) -> None:
    """The least score is Prodia's threshold; without one, Prodia's default is sent."""
    question = Question(picture_of((256, 256)), TextPrompt("robot cat"), 10, min_score)
    assert to_job(question, model="m") == SegmentJob("m", Wanted("robot cat", threshold))


def test_prompt_is_trimmed() -> None:
    """The prompt goes without the blanks around it, which count among Prodia's 500 characters."""
    question = Question(picture_of((256, 256)), TextPrompt("  robot cat\n"), 10)
    assert to_job(question, model="m") == SegmentJob("m", Wanted("robot cat", 0.5))


@pytest.mark.parametrize("name", ["inference.sam2.segment.v1", "inference.segment.v1"])
def test_automatic_job(name: str) -> None:
    """A SAM 2 job has its type, under the name that was configured, and no config at all."""
    job = to_job(Question(picture_of((256, 256)), AutomaticPrompt(), 10, 0.5), model=name)
    assert job == SegmentJob(name, None)
    body = job_body(job, picture=b"", media_type="image/png", boundary=b"B")
    assert f'{{"type":"{name}"}}\r\n--B\r\n'.encode() in body


def test_answer() -> None:
    """A success is its job's figures and its outputs, in order."""
    answer = read_answer(multipart(JOB, b"one", b"two"))
    assert answer.outputs == (b"one", b"two")
    assert job_of(answer) == Job(JOB["id"], True, False, None, 0.2994, Money(1100))


def test_outputs_first() -> None:
    """The order of the parts does not matter."""
    whole = multipart(JOB, b"one").body
    job = part("job", "job.json", "application/json", json.dumps(JOB).encode())
    turned = whole.replace(job, b"").replace(f"--{B}--\r\n".encode(), b"") + job + f"--{B}--\r\n".encode()
    answer = read_answer(reply(f"multipart/form-data; boundary={B}", turned))
    assert (answer.outputs, job_of(answer).finished) == ((b"one",), True)


def test_outputs_by_type() -> None:
    """Where no part is called output, every picture is one."""
    body = part("job", "job.json", "application/json", b"{}") + part("mask", "m.png", "image/png", b"one")
    body += part("note", "n.txt", "text/plain", b"no mask") + f"--{B}--".encode()
    assert read_answer(reply(f"multipart/form-data; boundary={B}", body)).outputs == (b"one",)


def test_nothing_found() -> None:
    """A completed job without outputs is an answer: nothing was found."""
    answer = read_answer(multipart(JOB))
    assert (answer.outputs, job_of(answer).finished) == ((), True)


def test_one_picture() -> None:
    """A picture alone is one mask."""
    assert read_answer(reply("image/png", b"one")) == Answer(None, (b"one",))


@pytest.mark.parametrize(
    ("job", "finished", "failed", "error"),
    [
        ({}, True, False, None),
        ({"state": {"current": "processed"}}, True, False, None),
        ({"state": {"current": "succeeded"}}, True, False, None),
        ({"state": "completed"}, True, False, None),
        ({"state": {"current": "processing"}}, False, False, None),
        ({"state": {"current": "failed"}}, False, True, None),
        ({"state": {"current": "failed", "history": [{"message": "no GPU"}]}}, False, True, "no GPU"),
        ({"state": {"current": "completed"}, "error": "too dark"}, False, True, "too dark"),
        ({"error": {"message": "nested"}}, False, True, "nested"),
        ({"error": ""}, True, False, None),
        ({"error": None}, True, False, None),
    ],
)
def test_state(job: dict[str, Any], finished: bool, failed: bool, error: str | None) -> None:  # noqa: FBT001 - a table
    """State and error are believed even in an answer of status 200."""
    read = job_of(read_answer(multipart(job)))
    assert (read.finished, read.failed, read.error) == (finished, failed, error)


@pytest.mark.parametrize("price", [None, {}, {"dollars": None}, {"dollars": -1}, {"dollars": "free"}, 5])
def test_no_price(price: Any) -> None:
    """A price that is missing or none at all is reported as none, and the answer stands."""
    assert job_of(read_answer(multipart({**JOB, "price": price}))).price is None


def test_price_is_exact() -> None:
    """The price is read digit by digit from the JSON's text."""
    text = json.dumps(JOB).replace("0.0011", "0.002500000000000000001")
    body = part("job", "job.json", "application/json", text.encode()) + f"--{B}--".encode()
    assert job_of(read_answer(reply(f"multipart/form-data; boundary={B}", body))).price == Money(2500)


@pytest.mark.parametrize(
    "malformed",
    [
        reply("", b""),
        reply("text/html", b"<html>"),
        reply("application/json", json.dumps(JOB).encode()),
        reply("application/json", b"{"),
        reply("multipart/form-data", b""),
        reply("multipart/form-data; boundary=abc", b"nothing"),
        multipart(None),
        multipart([]),
        Reply(200, multipart(JOB, b"one").headers, multipart(JOB, b"one").body[:-30]),
        Reply(200, multipart(JOB).headers, multipart(JOB).body.replace(b'{"type"', b"{type")),
    ],
)
def test_malformed(malformed: Reply) -> None:
    """A 2xx that is not what was asked for is refused, and never taken for an empty answer."""
    with pytest.raises(ValueError, match=r".+"):
        read_answer(malformed)


WORDS = "config.confidence_threshold: maximum: got 2, want 1"


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (multipart({"error": WORDS, "id": "j1"}, status=400), FailureText(WORDS, "j1")),
        (reply("application/json", json.dumps({"error": WORDS}).encode(), 400), FailureText(WORDS, None)),
        (
            reply(
                "application/json",
                json.dumps({"state": {"history": [{"message": "a"}, {"message": WORDS}]}}).encode(),
                400,
            ),
            FailureText(WORDS, None),
        ),
        (
            reply("application/json", json.dumps({"message": "bad config", "detail": [{"msg": WORDS}]}).encode(), 400),
            FailureText(f"bad config: {WORDS}", None),
        ),
        (reply("text/plain", b"token is invalid", 401), FailureText("token is invalid", None)),
        (reply("text/plain; charset=utf-8", b'"quoted"', 401), FailureText("quoted", None)),
        (reply("", b"", 500), FailureText("", None)),
        (multipart({}, status=400), FailureText("", None)),
        (multipart(None, status=500), FailureText("", None)),
        (reply("application/json", b"[]", 500), FailureText("", None)),
    ],
)
def test_failures(failure: Reply, expected: FailureText) -> None:
    """All five forms of an error, and answers that say nothing, give their words and their job."""
    assert read_failure(failure) == expected


def test_failure_broken() -> None:
    """An error whose multipart is broken is quoted as the text that it is."""
    broken = Reply(502, {"content-type": "multipart/form-data; boundary=x"}, b"Bad Gateway\xff")
    assert read_failure(broken).message == "Bad Gateway\ufffd"


@pytest.mark.parametrize(
    ("status", "outcome", "elsewhere"),
    [
        (400, Outcome.REFUSED, False),
        (401, Outcome.DENIED, True),
        (402, Outcome.DENIED, True),
        (403, Outcome.DENIED, True),
        (404, Outcome.DENIED, True),
        (413, Outcome.REFUSED, True),
        (422, Outcome.REFUSED, False),
        (429, Outcome.OVERLOADED, True),
        (500, Outcome.FAILED, True),
        (503, Outcome.FAILED, True),
    ],
)
def test_error(status: int, outcome: Outcome, elsewhere: bool) -> None:  # noqa: FBT001 - a table
    """The status decides what an error is; its words and its job go along."""
    error = to_error(multipart({"error": "words", "id": "j1"}, status=status), now=0.0)
    assert (error.outcome, error.elsewhere, error.may_have_charged) == (outcome, elsewhere, False)
    assert (error.status, error.upstream_ref) == (status, "j1")
    assert error.message.startswith(f"Prodia answered {status}: words")


def test_error_is_short_and_without_secrets() -> None:
    """An error text is cut at 300 characters, and the token is not in it."""
    error = to_error(reply("text/plain", b"token tok_1 is invalid " + b"x" * 9000, 401), now=0.0, hide=["tok_1"])
    assert error.message.startswith("Prodia answered 401: token *** is invalid xxx")
    assert len(error.message) <= len("Prodia answered 401: ") + 300


@pytest.mark.parametrize(
    ("job", "may_have_charged"),
    [(Job("j1", False, True, "no GPU", 0.0, None), False), (Job("j1", False, False, None, 0.0, None), True)],
)
def test_job_error(job: Job, may_have_charged: bool) -> None:  # noqa: FBT001 - a table
    """A job that failed is not billed; one that goes on may be."""
    error = to_job_error(job, status=200)
    assert isinstance(error, ProviderFailed)
    assert (error.may_have_charged, error.upstream_ref) == (may_have_charged, "j1")


def test_segmentation() -> None:
    """Masks become instances without a score, labelled with the text; black ones are left out; warnings come once."""
    shape = disc((40, 50), x=20, y=20, radius=10)
    question = Question(picture_of((40, 50)), TextPrompt("robot cat"), 10)
    outputs = [file_of(shape), file_of(shape * 0), file_of(shape[::2, ::2]), file_of(shape[::2, ::2])]
    segmentation = to_segmentation([read_mask(output, size=(40, 50)) for output in outputs], question)
    assert [(instance.score, instance.label) for instance in segmentation.instances] == [(None, "robot cat")] * 3
    assert segmentation.instances[0].mask.bitmap.tolist() == shape.tolist()
    assert segmentation.warnings == ("A mask of 25x20 pixels was resized to 50x40 by nearest neighbour.",)


def test_segmentation_unread() -> None:
    """Masks beyond the deployment's cap are named in a warning."""
    question = Question(picture_of((40, 50)), TextPrompt("robot cat"), 10)
    reading = read_mask(file_of(disc((40, 50), x=20, y=20, radius=10)), size=(40, 50))
    segmentation = to_segmentation([reading], question, unread=2)
    assert len(segmentation.instances) == 1
    assert segmentation.warnings == ("Prodia sent 3 masks; only the first 1 were read.",)


@pytest.mark.parametrize(
    ("min_score", "warnings"),
    [(None, ()), (0.3, ("Prodia's SAM 2 gives no scores: min_score left nothing out.",))],
)
def test_automatic_segmentation(min_score: float | None, warnings: tuple[str, ...]) -> None:
    """What SAM 2 found has no label; a least score that it cannot heed is said not to have been."""
    question = Question(picture_of((40, 50)), AutomaticPrompt(), 10, min_score)
    reading = read_mask(file_of(disc((40, 50), x=20, y=20, radius=10)), size=(40, 50))
    segmentation = to_segmentation([reading], question)
    assert [(instance.score, instance.label) for instance in segmentation.instances] == [(None, None)]
    assert segmentation.warnings == warnings


@pytest.mark.parametrize("elapsed", ["1e999", "-1", "1" + "0" * 400, '"fast"', "true", "null", "86401"])
def test_no_seconds(elapsed: str) -> None:
    """A duration that is none is no duration, and the answer stands."""
    text = json.dumps(JOB).replace("0.2994", elapsed)
    body = part("job", "job.json", "application/json", text.encode()) + f"--{B}--".encode()
    assert job_of(read_answer(reply(f"multipart/form-data; boundary={B}", body))).seconds == 0.0


@pytest.mark.parametrize("name", ["", "x" * 129, "two\nlines", "\ud800", "é", 5, None])
def test_no_id(name: Any) -> None:
    """An id that no log line could hold is left out, and the answer stands."""
    assert job_of(read_answer(multipart({**JOB, "id": name}))).id is None
