"""
What every answer of Prodia comes to that its documents leave open, byte by byte over a socket.

Three tables: answers that are read all the same, 2xx answers that are not, and errors. A 2xx that cannot be read may
have been charged, since the job may have been done; a job that says that it failed was not.
"""

from __future__ import annotations

import gzip
import json
import ssl
import struct
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import cv2
import numpy as np
import pytest

from providers.contract import (
    Deadline,
    Deployment,
    Mask,
    Means,
    Money,
    Outcome,
    ProviderError,
    Question,
    Secret,
    Segmentation,
    TextPrompt,
    Usage,
)
from providers.fetch import GuardedFetcher
from providers.prodia import Prodia
from providers.transport import HttpUpstream, trusted
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders
from tests.providers.loopback import file_of, picture_of
from tests.providers.prodia.wild import (
    BOUNDARY,
    FILES,
    JOB,
    MULTIPART,
    SHAPES,
    SIZE,
    answer_of,
    body,
    chunked,
    job_part,
    json_said,
    levels,
    output,
    outputs,
    said,
    text_said,
    without,
)
from tests.providers.raw_server import answering, serving, whole

TOKEN = "tok_6f1d0c5e"
WORDS = "config.confidence_threshold: maximum: got 2, want 1"
TRUTHS = [Mask.from_bitmap(shape) for shape in SHAPES]
FULL = Usage(seconds=0.25, reported=Money(1100), upstream_ref=str(JOB["id"]))
NOW = 784_111_747.0
"""Sun, 06 Nov 1994 08:49:07 GMT, thirty seconds before the dates in the table of Retry-After."""


@pytest.fixture(scope="module")
def tls() -> ssl.SSLContext:
    """The authorities that are believed."""
    return trusted()


@asynccontextmanager
async def asked(
    tls: ssl.SSLContext, *sent: bytes, then: str = "fin", seconds: float = 20
) -> AsyncIterator[tuple[Segmentation, Usage]]:
    """Ask a server that answers with those bytes, and give the answer."""
    upstream = HttpUpstream(time.monotonic, tls=tls)
    fetcher = GuardedFetcher(time.monotonic, tls=tls)
    workers = ThreadWorkers(threads=2, queue=64)

    async def never(_: float) -> None:
        raise AssertionError("the adapter waits for nothing: the gateway decides about repeating")

    means = Means(upstream, fetcher, workers, shared_decoders(), time.monotonic, never)
    prodia = Prodia(means, wall_clock=lambda: NOW)
    try:
        async with serving(answering(*sent, then=then)) as (server, url):
            deployment = Deployment("p", "prodia", "inference.sam3.segment.v1", "global", f"{url}/v2", Secret(TOKEN))
            question = Question(picture_of(SIZE), TextPrompt("robot cat"), 10)
            deadline = Deadline.after(seconds, time.monotonic)
            answer = await prodia.segment(question, deployment, attempt_id="att_1", deadline=deadline)
            assert len(server.requests) == 1
            yield answer
    finally:
        await prodia.close()
        await upstream.close()
        await fetcher.close()
        workers.close()


async def failure(tls: ssl.SSLContext, *sent: bytes, then: str = "fin", seconds: float = 20) -> ProviderError:
    """Ask a server that answers with those bytes, which has to fail, and return the error."""
    with pytest.raises(ProviderError) as caught:
        async with asked(tls, *sent, then=then, seconds=seconds):
            pass
    error = caught.value
    assert error.message.isprintable()
    assert len(error.message) <= 600
    assert TOKEN not in error.message
    return error


HALVES = [file_of(shape[::2, ::2].copy()) for shape in SHAPES]
RESIZED = "A mask of 150x128 pixels was resized to 300x256 by nearest neighbour."
PADDING = "".join(f"X-Padding-{number}: {number}\r\n" for number in range(200)).encode()
TWO_MASKS = [job_part(), *outputs()]
GZIPPED = gzip.compress(body(*TWO_MASKS))

READ: dict[str, tuple[bytes, int, tuple[str, ...], Usage]] = {
    # name: bytes, masks of the truth, warnings, usage
    "as documented": (answer_of(JOB), 2, (), FULL),
    "parts reversed": (said(*reversed(outputs()), job_part()), -2, (), FULL),
    "duplicate filenames": (said(job_part(), *map(output, FILES)), 2, (), FULL),
    "no filenames": (said(job_part(), *(output(file, filename=None) for file in FILES)), 2, (), FULL),
    "named mask": (said(job_part(), *(output(file, name="mask") for file in FILES)), 2, (), FULL),
    "foreground beside masks": (
        said(
            job_part(),
            output(b"a cut-out", name="foreground", filename="foreground.png"),
            *(output(file, name="mask", filename="mask.png") for file in FILES),
        ),
        2,
        (),
        FULL,
    ),
    "named anything": (said(job_part(), *(output(file, name="image") for file in FILES)), 2, (), FULL),
    "no job": (said(*outputs()), 2, (), Usage()),
    "empty job": (answer_of({}), 2, (), Usage()),
    "no price": (answer_of(without("price")), 2, (), Usage(0.25, None, FULL.upstream_ref)),
    "price null": (answer_of({**JOB, "price": None}), 2, (), Usage(0.25, None, FULL.upstream_ref)),
    "price below zero": (answer_of({**JOB, "price": {"dollars": -1}}), 2, (), Usage(0.25, None, FULL.upstream_ref)),
    "price as text": (answer_of({**JOB, "price": {"dollars": "0.0011"}}), 2, (), FULL),
    "no metrics": (answer_of(without("metrics")), 2, (), Usage(0.0, Money(1100), FULL.upstream_ref)),
    "no state": (answer_of(without("state")), 2, (), FULL),
    "state processed": (answer_of({**JOB, "state": {"current": "processed"}}), 2, (), FULL),
    "more keys": (answer_of({**JOB, "permits": {"async": True}}), 2, (), FULL),
    "duplicate keys": (said(job_part(b'{"id":"a",' + job_part()[1][1:]), *outputs()), 2, (), FULL),
    "status 201": (said(*TWO_MASKS, status="201 Created"), 2, (), FULL),
    "chunked": (chunked(body(*TWO_MASKS)), 2, (), FULL),
    "until the connection closes": (f"HTTP/1.0 200 OK\r\n{MULTIPART}\r\n\r\n".encode() + body(*TWO_MASKS), 2, (), FULL),
    "after informational answers": (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5 + answer_of(JOB), 2, (), FULL),
    "200 part headers": (said(job_part(), *((PADDING + head, data) for head, data in outputs())), 2, (), FULL),
    "60 answer headers": (said(*TWO_MASKS, extra=[f"X-{n}: {n}" for n in range(60)]), 2, (), FULL),
    "quoted boundary": (
        said(*TWO_MASKS, head=f'content-type: Multipart/Form-Data; BOUNDARY="{BOUNDARY}"'),
        2,
        (),
        FULL,
    ),
    "multipart/mixed": (said(*TWO_MASKS, head=f"Content-Type: multipart/mixed; boundary={BOUNDARY}"), 2, (), FULL),
    "preamble of 4 MB": (whole(b"x" * 4_000_000 + b"\r\n" + body(*TWO_MASKS), "200 OK", MULTIPART), 2, (), FULL),
    "epilogue of 4 MB": (whole(body(*TWO_MASKS) + b"x" * 4_000_000, "200 OK", MULTIPART), 2, (), FULL),
    "no line end at the end": (whole(body(*TWO_MASKS)[:-2], "200 OK", MULTIPART), 2, (), FULL),
    "nothing found": (answer_of(JOB, []), 0, (), FULL),
    "all black": (answer_of(JOB, [file_of(shape * 0) for shape in SHAPES]), 0, (), FULL),
    "one black": (answer_of(JOB, [FILES[0], file_of(SHAPES[0] * 0), FILES[1]]), 2, (), FULL),
    "soft edges": (answer_of(JOB, levels(40, 200)), 2, (), FULL),
    "zero and one": (
        answer_of(JOB, levels(0, 1)),
        2,
        ("A mask of the values 0 and 1 was read as one of 0 and full brightness.",),
        FULL,
    ),
    "price without measure": (
        said(job_part(b'{"price":{"dollars":1e99999999999999999999}}'), *outputs()),
        2,
        (),
        Usage(),
    ),
    "durations without measure": (
        answer_of(json.dumps(JOB).replace("0.25", "1e999").replace("13.35", "NaN").encode()),
        2,
        (),
        Usage(0.0, Money(1100), FULL.upstream_ref),
    ),
    "gzip": (whole(GZIPPED, "200 OK", MULTIPART, "Content-Encoding: gzip"), 2, (), FULL),
    "a picture alone": (whole(FILES[0], "200 OK", "Content-Type: image/png"), 1, (), Usage()),
    "1,000 parts": (
        answer_of(JOB, [FILES[0]] + [file_of(SHAPES[0] * 0)] * 998),
        1,
        ("Prodia sent 999 masks; only the first 256 were read.",),
        FULL,
    ),
}


@pytest.mark.parametrize("name", READ)
async def test_read_all_the_same(tls: ssl.SSLContext, name: str) -> None:
    """The answer brings its masks, its warnings and its usage."""
    sent, masks, warnings, usage = READ[name]
    async with asked(tls, sent) as (segmentation, used):
        expected = TRUTHS[:masks] if masks >= 0 else TRUTHS[::-1]
        assert expected == [instance.mask for instance in segmentation.instances]
        assert warnings == segmentation.warnings
        assert usage == used


async def test_masks_of_another_size(tls: ssl.SSLContext) -> None:
    """Masks of half the size come back at the picture's, each pixel as a block, with one warning."""
    async with asked(tls, answer_of(JOB, HALVES)) as (segmentation, _):
        expected = [Mask.from_bitmap(shape[::2, ::2].repeat(2, 0).repeat(2, 1)) for shape in SHAPES]
        assert expected == [instance.mask for instance in segmentation.instances]
        assert (RESIZED,) == segmentation.warnings


def huge(width: int, height: int) -> bytes:
    """Return a small PNG file of that many black pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = b"IDAT" + zlib.compress(bytes((width // 8 + 1) * height), 9)
    pieces = (head, rows, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(piece) - 4) + piece + struct.pack(">I", zlib.crc32(piece)) for piece in pieces
    )


NOISE = bytes(cv2.imencode(".png", np.random.default_rng(7).integers(0, 255, (*SIZE, 3), np.uint8))[1])
DEEP = b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
MANY_HEADERS = b"".join(b"X-%d: x\r\n" % number for number in range(10_000))
CUT = body(*TWO_MASKS)

UNREAD: dict[str, tuple[bytes, Outcome, bool, str]] = {
    # name: bytes, outcome, may have charged, what the message says
    "state failed": (answer_of({**JOB, "state": {"current": "failed"}}), Outcome.FAILED, False, "no reason given"),
    "state failed, with history": (
        answer_of({"state": {"current": "failed", "history": [{"message": "a"}, {"message": "no GPU"}]}}, []),
        Outcome.FAILED,
        False,
        "no GPU",
    ),
    "error beside masks": (answer_of({**JOB, "error": "no GPU"}), Outcome.FAILED, False, "no GPU"),
    "state cancelled": (answer_of({"state": {"current": "cancelled"}}, []), Outcome.FAILED, False, "job failed"),
    "state processing": (answer_of({"state": {"current": "processing"}}, []), Outcome.FAILED, True, "not finished"),
    "JSON with an error": (json_said({"error": "no GPU"}), Outcome.FAILED, False, "no GPU"),
    "JSON without masks": (json_said(dict(JOB)), Outcome.FAILED, True, "without its masks"),
    "JSON cut off": (json_said(b'{"id":'), Outcome.FAILED, True, "not what it documents"),
    "JSON list": (json_said([]), Outcome.FAILED, True, "no JSON object"),
    "job cut off": (said(job_part(b'{"id":'), *outputs()), Outcome.FAILED, True, "not what it documents"),
    "job too deep": (said(job_part(DEEP), *outputs()), Outcome.FAILED, True, "not what it documents"),
    "no boundary": (said(*TWO_MASKS, head="Content-Type: multipart/form-data"), Outcome.FAILED, True, "boundary"),
    "another boundary": (
        said(*TWO_MASKS, head="Content-Type: multipart/form-data; boundary=abc"),
        Outcome.FAILED,
        True,
        "delimiter",
    ),
    "neither job nor output": (said(), Outcome.FAILED, True, "neither a job nor an output"),
    "no closing delimiter": (
        whole(body(*TWO_MASKS, closed=False), "200 OK", MULTIPART),
        Outcome.FAILED,
        True,
        "delimiter",
    ),
    "cut in a mask": (whole(CUT[: len(CUT) // 2], "200 OK", MULTIPART), Outcome.FAILED, True, "delimiter"),
    "line feeds alone": (whole(CUT.replace(b"\r\n", b"\n"), "200 OK", MULTIPART), Outcome.FAILED, True, "delimiter"),
    "5,000 parts": (answer_of(JOB, [b"x"] * 5_000), Outcome.FAILED, True, "more than 2048 parts"),
    "10,000 part headers": (
        said(job_part(), *((MANY_HEADERS + head, data) for head, data in outputs())),
        Outcome.FAILED,
        True,
        "headers have no end",
    ),
    "half a gzip": (whole(GZIPPED[:-9], "200 OK", MULTIPART), Outcome.FAILED, True, "compressed"),
    "too large": (
        f"HTTP/1.1 200 OK\r\n{MULTIPART}\r\nContent-Length: 99999999\r\n\r\n".encode(),
        Outcome.FAILED,
        True,
        "larger than",
    ),
    "HTML": (whole(b"<html>", "200 OK", "Content-Type: text/html"), Outcome.FAILED, True, "text/html"),
    "no content type": (whole(b"<html>"), Outcome.FAILED, True, "Content-Type ''"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", Outcome.FAILED, True, "answered 204"),
    "a mask that is HTML": (answer_of(JOB, [FILES[0], b"<html>"]), Outcome.FAILED, True, "no PNG, JPEG or WebP"),
    "an empty mask": (answer_of(JOB, [b""]), Outcome.FAILED, True, "no PNG, JPEG or WebP"),
    "a mask cut off": (answer_of(JOB, [FILES[0][:-40]]), Outcome.FAILED, True, "is cut off"),
    "a mask in colours": (answer_of(JOB, [NOISE]), Outcome.FAILED, True, "picture in colours"),
    "a huge mask": (answer_of(JOB, [huge(16_000, 16_000)]), Outcome.FAILED, True, "claims 16000x16000 pixels"),
    "a picture alone that is none": (
        whole(b"x", "200 OK", "Content-Type: image/png"),
        Outcome.FAILED,
        True,
        "no PNG, JPEG or WebP",
    ),
    "10,000 answer headers": (
        b"HTTP/1.1 200 OK\r\n" + MANY_HEADERS + said(*TWO_MASKS).partition(b"\r\n")[2],
        Outcome.UNANSWERED,
        True,
        "",
    ),
    "shorter than it says": (answer_of(JOB)[:-40], Outcome.UNANSWERED, True, "in the middle of the answer"),
    "chunks without an end": (chunked(body(*TWO_MASKS), ended=False), Outcome.UNANSWERED, True, "middle of the answer"),
    "no HTTP": (b"\x00\x01\x02\r\n\r\n", Outcome.UNANSWERED, True, ""),
    "nothing": (b"", Outcome.UNANSWERED, True, ""),
}


#: Of these, what names the price could be read.
PRICED = {
    *("error beside masks", "state failed", "JSON without masks", "a mask that is HTML", "an empty mask"),
    *("a mask cut off", "a mask in colours", "a huge mask", "no closing delimiter", "cut in a mask", "5,000 parts"),
    "10,000 part headers",
}


@pytest.mark.parametrize("name", UNREAD)
async def test_not_read(tls: ssl.SSLContext, name: str) -> None:
    """
    The answer is a `ProviderError` that could be cured elsewhere and says whether it may have been charged.

    Where its price could be read, the error says that, too: it settles the call.
    """
    sent, outcome, may_have_charged, says = UNREAD[name]
    error = await failure(tls, sent)
    assert (outcome, may_have_charged, True) == (error.outcome, error.may_have_charged, error.elsewhere), error.message
    assert says in error.message
    told = None if error.usage is None else (error.usage.reported, error.usage.upstream_ref)
    assert told == ((FULL.reported, FULL.upstream_ref) if name in PRICED else None)


@pytest.mark.parametrize("then", ["wait", "rst"])
async def test_half_an_answer(tls: ssl.SSLContext, then: str) -> None:
    """An answer that stops in the middle, silently or by a reset, leaves open whether it was charged."""
    error = await failure(tls, answer_of(JOB)[:400], then=then, seconds=0.4)
    assert (Outcome.UNANSWERED, True) == (error.outcome, error.may_have_charged)


SHAPES_OF_ERRORS = {
    "multipart": lambda status: said(job_part({"error": WORDS, "id": "j1"}), status=status),
    "JSON error": lambda status: json_said({"error": WORDS, "id": "j1"}, status),
    "JSON history": lambda status: json_said({"state": {"history": [{"message": WORDS}]}, "id": "j1"}, status),
    "JSON message": lambda status: json_said({"message": WORDS, "detail": [{"msg": "see config"}], "id": "j1"}, status),
    "text": lambda status: text_said(WORDS, status),
    "multipart that is broken": lambda status: whole(WORDS.encode(), status, MULTIPART),
}

STATUSES: dict[int, tuple[Outcome, bool, bool]] = {
    # status: outcome, elsewhere, may have charged
    302: (Outcome.DENIED, True, False),
    400: (Outcome.REFUSED, False, False),
    401: (Outcome.DENIED, True, False),
    402: (Outcome.DENIED, True, False),
    403: (Outcome.DENIED, True, False),
    404: (Outcome.DENIED, True, False),
    405: (Outcome.DENIED, True, False),
    409: (Outcome.FAILED, True, False),
    413: (Outcome.REFUSED, True, False),
    415: (Outcome.REFUSED, True, False),
    422: (Outcome.REFUSED, False, False),
    429: (Outcome.OVERLOADED, True, False),
    500: (Outcome.FAILED, True, False),
    502: (Outcome.FAILED, True, True),
    503: (Outcome.FAILED, True, False),
    504: (Outcome.FAILED, True, True),
    599: (Outcome.FAILED, True, True),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("shape", SHAPES_OF_ERRORS)
async def test_errors(tls: ssl.SSLContext, shape: str, status: int) -> None:
    """The status decides what an error is, whatever its shape; its words and its job are passed on."""
    error = await failure(tls, SHAPES_OF_ERRORS[shape](f"{status} Whatever"))
    assert STATUSES[status] == (error.outcome, error.elsewhere, error.may_have_charged)
    assert f"Prodia answered {status}: {WORDS}" in error.message
    assert (status, None if "multipart that" in shape or shape == "text" else "j1") == (
        error.status,
        error.upstream_ref,
    )


@pytest.mark.parametrize(
    ("sent", "outcome"),
    [
        (said(*TWO_MASKS, status="500 Internal Server Error"), Outcome.FAILED),
        (said(*TWO_MASKS, status="400 Bad Request"), Outcome.REFUSED),
        (said(job_part({}), status="400 Bad Request"), Outcome.REFUSED),
        (whole(b"", "400 Bad Request"), Outcome.REFUSED),
        (json_said(b"[" * 100_000, "400 Bad Request"), Outcome.REFUSED),
        (json_said({"error": {"error": 5}, "id": ["j"]}, "400 Bad Request"), Outcome.REFUSED),
        (text_said(f"Bearer {TOKEN} " + "\x00\x1b[31m" + "x" * 100_000, "400 Bad Request"), Outcome.REFUSED),
    ],
)
async def test_errors_that_look_like_something_else(tls: ssl.SSLContext, sent: bytes, outcome: Outcome) -> None:
    """An error status is an error even with masks in its body, without words, or with far too many of them."""
    assert outcome == (await failure(tls, sent)).outcome


RETRY_AFTER: dict[str, float | None] = {
    "3": 3.0,
    "0.25": 0.25,
    " 7 ": 7.0,
    "0": 0.0,
    "-5": 0.0,
    "1e9": 60.0,
    "inf": 60.0,
    "9" * 400: 60.0,
    "nan": None,
    "": None,
    "soon": None,
    "3, 4": None,
    "Sun, 06 Nov 1994 08:49:37 GMT": 30.0,
    "Sunday, 06-Nov-94 08:49:37 GMT": 30.0,
    "Sun Nov  6 08:49:37 1994": 30.0,
    "Sun, 06 Nov 1994 10:49:37 +0200": 30.0,
    "Sun, 06 Nov 1988 08:49:37 GMT": 0.0,
    "Fri, 31 Dec 9999 23:59:59 GMT": 60.0,
    "Fri, 31 Dec 99999 23:59:59 GMT": None,
}


@pytest.mark.parametrize("value", RETRY_AFTER)
async def test_retry_after(tls: ssl.SSLContext, value: str) -> None:
    """Seconds, fractions and the three forms of a date are understood; more than a minute is not believed."""
    error = await failure(tls, text_said("too many requests", "429 Too Many Requests", f"Retry-After: {value}"))
    assert (Outcome.OVERLOADED, RETRY_AFTER[value]) == (error.outcome, error.retry_after_seconds)


async def test_retry_after_by_their_clock(tls: ssl.SSLContext) -> None:
    """A date is measured against the answer's own date, so that two clocks that differ do no harm."""
    headers = ("Date: Thu, 19 Nov 2026 10:00:00 GMT", "Retry-After: Thu, 19 Nov 2026 10:00:04 GMT")
    error = await failure(tls, text_said("", "429 Too Many Requests", *headers))
    assert 4.0 == error.retry_after_seconds


async def test_503_with_a_wait(tls: ssl.SSLContext) -> None:
    """A 503 that says when to come back is an overload."""
    error = await failure(tls, text_said("", "503 Service Unavailable", "Retry-After: 2"))
    assert (Outcome.OVERLOADED, 2.0, False) == (error.outcome, error.retry_after_seconds, error.may_have_charged)


@pytest.mark.parametrize("value", [{"dollars": 1e300}, {"dollars": True}, {"dollars": [1]}, "free", 5])
async def test_prices_that_are_none(tls: ssl.SSLContext, value: Any) -> None:
    """A price that nobody can owe is no price, and the masks stand."""
    async with asked(tls, answer_of({**JOB, "price": value})) as (segmentation, usage):
        assert TRUTHS == [instance.mask for instance in segmentation.instances]
        assert usage.reported is None
