"""
The table of the faults that a provider can have, and what comes of each: 28 groups for each shape of call.

A row names the fault, how the attempt ends, how its reservation ends, how often the struck deployment bills, and what
the caller gets. Where a shape cannot have a fault, `ABSENT` says why.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import StrEnum
from time import time
from typing import Any

from tests.end_to_end import bends
from tests.end_to_end.bends import MEGABYTE
from tests.end_to_end.crooked import Bend, End, Twist

RUNS, SYNC, PRODIA, LOCAL = SHAPES = ("runflow-runs", "runflow-sync", "prodia", "local")
RUNFLOW = (RUNS, SYNC)
WIRED = (RUNS, SYNC, PRODIA)
#: For variants of a fault that the two Runflow shapes read with the same code.
PAIR = (RUNS, PRODIA)

GROUPS = range(1, 29)

#: The calls of each shape: the one that is billed, the one whose answer names the masks, the one that brings them.
STEPS = {
    RUNS: {"call": "create", "masks": "poll", "files": "download"},
    SYNC: {"call": "run", "masks": "run", "files": "download"},
    PRODIA: {"call": "job", "masks": "job", "files": "job"},
}

#: For faults that last until the deadline: two deployments share it, so the struck one has a half, and the other one
#: has to answer in the rest on a machine that does three things at once.
SHORT_SECONDS = 4.0


class Then(StrEnum):
    """What the caller gets."""

    NEXT = "the next deployment's masks"
    SERVED = "the struck deployment's own"
    REFUSED = "a refusal: another deployment would do the same"
    LATE = "word that the deadline passed"


class Shown(StrEnum):
    """Which masks an answer holds."""

    TRUE = "the true one"
    NOTHING = "none"
    EVERYTHING = "one that covers the picture"
    MOST = "as many as were asked for"


@dataclass(frozen=True, slots=True)
class Knob:
    """A fault of the sandbox's own."""

    told: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A deployment that leads to the wrong place."""

    name: str
    """`tls`: https where none is spoken; `blackhole`: connections are neither taken nor refused."""


@dataclass(frozen=True, slots=True)
class Bent:
    """An answer that is bent on its way; `on` is one of the words of `STEPS`, or a call's own name."""

    on: str
    bend: Bend
    processed: bool = True
    then: End = End.CLOSE
    bytes_per_second: int | None = None
    times: int | None = None

    def twist(self, shape: str) -> Twist:
        """Return it for one shape."""
        step = STEPS[shape].get(self.on, self.on)
        return Twist(step, self.bend, self.processed, self.then, self.bytes_per_second, self.times)


@dataclass(frozen=True, slots=True)
class Row:
    """One fault, and what is stated of it."""

    group: int
    name: str
    shapes: tuple[str, ...]
    fault: Knob | Place | Bent | None
    """None where the question alone brings it about."""
    outcome: str
    ledger: str
    """`settle`, `release`, `hold`; or `priced`: settled where the shape names a price, else on hold."""
    billed: int
    """The struck deployment's calls in the books."""
    then: Then = Then.NEXT
    shown: Shown = Shown.TRUE
    rests: tuple[float, float] | None = None
    """Bounds of the seconds for which the struck deployment is left alone afterwards; None: it goes on being asked."""
    said: str = ""
    """Stands in the attempt's message."""
    warned: str = ""
    """Stands in one of the answer's warnings."""
    deadline_seconds: float = 20.0
    told: int | None = None
    """Micro-dollars: the price that the provider names; None for that which it bills."""
    asked: str = "left shoe"
    """The question, one of `QUESTIONS` in the test."""
    unnamed: bool = False
    """Whether the answer does not name the call, so that the ledger cannot either."""
    twice: bool = False
    """Whether another question has gone the same way before, and had its answer."""

    def case(self, shape: str) -> str:
        """Return its name for one shape."""
        return f"{shape}/{self.group:02}-{self.name}"


# How an attempt ends, with what it means for the money.
_CLEAN: dict[str, Any] = {"outcome": "failed", "ledger": "release", "billed": 0}
_UNCLEAR: dict[str, Any] = {"outcome": "failed", "ledger": "hold", "billed": 0}
_SPOILT: dict[str, Any] = {"outcome": "failed", "ledger": "hold", "billed": 1}
_PAID: dict[str, Any] = {"outcome": "failed", "ledger": "priced", "billed": 1}
_LOST: dict[str, Any] = {"outcome": "unanswered", "ledger": "hold", "billed": 1}
_UNHEARD: dict[str, Any] = {"outcome": "unanswered", "ledger": "hold", "billed": 0}
_UNREACHED: dict[str, Any] = {"outcome": "unreachable", "ledger": "release", "billed": 0}
_GOOD: dict[str, Any] = {"outcome": "succeeded", "ledger": "settle", "billed": 1, "then": Then.SERVED}
_DENIED: dict[str, Any] = {"outcome": "denied", "ledger": "release", "billed": 0, "rests": (25.0, 33.0)}
_BUSY: dict[str, Any] = {"outcome": "overloaded", "ledger": "release", "billed": 0}
_SLOW: dict[str, Any] = {"deadline_seconds": SHORT_SECONDS}

_CREDIT = b'{"error": {"code": "INSUFFICIENT_CREDITS", "message": "Top up."}}'
_PAGE = b"<html><body>It works!</body></html>"


def _status(status: int) -> Knob:
    return Knob({"kind": "status", "status": status})


def _instead(status: int, **headers: str) -> Bent:
    return Bent("call", bends.answer(status, b"not now", **headers), processed=False)


def _throttled(name: str, value: str, rests: tuple[float, float]) -> Row:
    shapes = WIRED if name == "seconds" else PAIR
    return Row(2, f"retry-after-{name}", shapes, _instead(429, Retry_After=value), **_BUSY, rests=rests, said="429")


def _statuses() -> Iterator[Row]:
    yield Row(1, "500", WIRED, _status(500), **_CLEAN, said="500")
    yield Row(1, "502", WIRED, _status(502), **_UNCLEAR, said="502")
    yield Row(1, "503", WIRED, _instead(503), **_CLEAN, said="503")
    yield Row(1, "503-retry-after", PAIR, _instead(503, Retry_After="9"), **_BUSY, rests=(6.0, 9.0))
    yield Row(1, "504", PAIR, _status(504), **_UNCLEAR, said="504")
    for status in (500, 502, 503, 504):
        fault = Bent("poll", bends.answer(status), processed=False, times=2)
        yield Row(1, f"poll-{status}-twice", (RUNS,), fault, **_GOOD)
    yield Row(1, "poll-500-always", (RUNS,), Bent("poll", bends.answer(500), processed=False), **_LOST, **_SLOW)
    yield Row(1, "download-500", RUNFLOW, Bent("files", bends.answer(500), processed=False), **_PAID)
    yield Row(2, "429-bare", WIRED, _instead(429), **_BUSY, rests=(0.0, 1.0), said="429")
    yield _throttled("seconds", "7", (4.0, 7.0))
    yield _throttled("fraction", "7.5", (4.0, 7.5))
    yield _throttled("zero", "0", (0.0, 0.0))
    yield _throttled("negative", "-5", (0.0, 0.0))
    yield _throttled("word", "soon", (0.0, 1.0))
    longest = {RUNS: (295.0, 300.0), PRODIA: (55.0, 60.0)}
    for shape, rests in longest.items():
        yield replace(_throttled("ten-years", "315360000", rests), shapes=(shape,))
        in_ten_years = formatdate(time() + 315_360_000, usegmt=True)
        yield replace(_throttled("date-in-ten-years", in_ten_years, rests), shapes=(shape,))
    yield _throttled("date", formatdate(time() + 3600, usegmt=True), (55.0, 300.0))
    yield _throttled("date-gone-by", "Wed, 21 Oct 2015 07:28:00 GMT", (0.0, 0.0))
    busy = bends.answer(429, Retry_After="0.05")
    yield Row(2, "poll-once", (RUNS,), Bent("poll", busy, processed=False, times=1), **_GOOD)
    busy = bends.answer(429, Retry_After="315360000")
    yield Row(2, "poll-ten-years", (RUNS,), Bent("poll", busy, processed=False), **_LOST, **_SLOW)
    for status in (401, 403):
        yield Row(3, f"{status}", WIRED, _status(status), **_DENIED, said=f"{status}")
        fault = Bent("poll", bends.answer(status), processed=False)
        yield Row(3, f"poll-{status}", (RUNS,), fault, **{**_DENIED, "ledger": "hold", "billed": 1})
    yield Row(4, "402", WIRED, _status(402), **_DENIED, said="402")
    credit = Bent("call", bends.answer(400, _CREDIT, "application/json"), processed=False)
    yield Row(4, "credit-code-under-400", RUNFLOW, credit, **_DENIED)
    for status in (499, 520, 524, 599):
        yield Row(1, f"{status}", (RUNS,) if status == 599 else PAIR, _instead(status), **_UNCLEAR, said=f"{status}")
        fault = Bent("poll", bends.answer(status), processed=False, times=2)
        yield Row(1, f"poll-{status}-twice", (RUNS,), fault, **_GOOD)
    yield Row(1, "521", PAIR, _instead(521), **_CLEAN, said="521")
    yield Row(5, "408", WIRED, _status(408), **_CLEAN, said="408")
    yield Row(5, "poll-408-once", (RUNS,), Bent("poll", bends.answer(408), processed=False, times=1), **_GOOD)


def _connections() -> Iterator[Row]:
    yield Row(6, "connect-refused", WIRED, Knob({"kind": "refuse"}), **_UNREACHED, said="no connection")
    yield Row(7, "connect-blackhole", WIRED, Place("blackhole"), **_UNREACHED, **_SLOW, said="nothing of it left")
    yield Row(8, "no-tls-there", WIRED, Place("tls"), **_UNREACHED, said="TLS")
    silent = Bent("call", bends.nothing, processed=False, then=End.SILENCE)
    yield Row(9, "accept-then-silence", WIRED, silent, **_UNHEARD, **_SLOW, said="the deadline passed")
    fault = Bent("call", bends.head_alone, then=End.SILENCE)
    yield Row(9, "headers-then-silence", WIRED, fault, **_LOST, **_SLOW, said="the deadline passed")
    yield Row(9, "lost-answer", PAIR, Knob({"kind": "lost_answer"}), **_LOST, **_SLOW)
    fault = Bent("poll", bends.nothing, processed=False, then=End.SILENCE)
    yield Row(9, "poll-silence", (RUNS,), fault, **_LOST, **_SLOW)
    fault = Bent("files", bends.head_alone, then=End.SILENCE)
    yield Row(9, "download-silence", RUNFLOW, fault, **_PAID, **_SLOW)
    fault = Bent("call", bends.whole, bytes_per_second=40)
    yield Row(10, "slow-drip", WIRED, fault, **_LOST, **_SLOW, said="the deadline passed")
    fault = Bent("files", bends.whole, bytes_per_second=40)
    yield Row(10, "download-drip", RUNFLOW, fault, **_PAID, **_SLOW)
    yield Row(
        10, "engine-outlasts-deadline", (LOCAL,), None, "unanswered", "release", 0, Then.LATE,
        deadline_seconds=0.5, asked="large picture",
    )  # fmt: skip


def _framing() -> Iterator[Row]:
    reset = Knob({"kind": "reset_before"})
    yield Row(11, "reset-before-the-head", WIRED, reset, **_UNHEARD)
    yield Row(11, "reset-for-an-answer", WIRED, Knob({"kind": "reset_after"}), **_LOST)
    yield Row(11, "reset-mid-body", WIRED, Bent("call", bends.half, then=End.RESET), **_LOST)
    yield Row(11, "close-mid-body", WIRED, Bent("call", bends.half), **_LOST, said="the connection was closed")
    yield Row(11, "close-for-an-answer", PAIR, Bent("call", bends.nothing), **_LOST)
    fault = Bent("poll", bends.half, then=End.RESET, times=1)
    yield Row(11, "poll-reset-once", (RUNS,), fault, **_GOOD)
    yield Row(11, "download-cut-once", RUNFLOW, Bent("files", bends.half, times=1), **_GOOD)
    yield Row(11, "download-cut-always", RUNFLOW, Bent("files", bends.half), **_PAID)
    yield Row(12, "length-too-long", WIRED, Bent("call", bends.measured(100)), **_LOST)
    yield Row(12, "length-too-short", WIRED, Bent("call", bends.measured(-20)), **_LOST)
    yield Row(12, "download-too-long", RUNFLOW, Bent("files", bends.measured(100)), **_PAID)
    fault = Bent("call", bends.chunked(b""), then=End.SILENCE)
    yield Row(13, "chunks-never-end", WIRED, fault, **_LOST, **_SLOW)
    yield Row(13, "chunks-cut", PAIR, Bent("call", bends.chunked(b"")), **_LOST)
    yield Row(13, "bad-chunk", WIRED, Bent("call", bends.chunked(b"xyz\r\n\r\n")), **_LOST)
    yield Row(13, "good-chunks", PAIR, Bent("call", bends.chunked(b"0\r\n\r\n")), **_GOOD)


def _bodies() -> Iterator[Row]:
    yield Row(14, "gzip", WIRED, Bent("call", bends.packed()), **_GOOD)
    yield Row(14, "gzip-in-gzip", PAIR, Bent("call", bends.packed(times=2)), **_GOOD)
    yield Row(14, "gzip-bomb", WIRED, Bent("call", bends.bomb), **_SPOILT, said="inflates to more")
    yield Row(14, "download-gzip-bomb", RUNFLOW, Bent("files", bends.bomb), **_PAID, said="inflates to more")
    yield Row(15, "page-for-an-answer", WIRED, Bent("call", bends.saying(_PAGE, "text/html")), **_SPOILT)
    yield Row(15, "called-html", RUNFLOW, Bent("call", bends.labelled("text/html")), **_GOOD)
    yield Row(15, "called-html", (PRODIA,), Bent("call", bends.labelled("text/html")), **_SPOILT, said="text/html")
    job = bends.saying(b'{"id": "j", "state": {"current": "completed"}}', "application/json")
    yield Row(15, "json-for-multipart", (PRODIA,), Bent("call", job), **_SPOILT, said="without its masks")
    yield Row(15, "download-page", RUNFLOW, Bent("files", bends.saying(_PAGE, "text/html")), **_PAID)
    yield Row(16, "malformed", WIRED, Knob({"kind": "bad_json"}), **_SPOILT, said="not what it documents")
    cut = bends.rewritten(lambda written: written[: len(written) // 2])
    yield Row(16, "truncated", PAIR, Bent("call", cut), **_SPOILT, said="not what it documents")
    yield Row(16, "65-megabytes", WIRED, Bent("call", bends.saying(b" " * 68 * MEGABYTE)), **_SPOILT, said="larger")
    deep = bends.rewritten(lambda written: written[:-1] + b',"more":' + b"[" * 10_000 + b"]" * 10_000 + b"}")
    yield Row(16, "ten-thousand-deep", PAIR, Bent("call", deep), **_SPOILT, said="nested too deeply")
    double = bends.rewritten(lambda written: b'{"id":"00000000-0000-7000-8000-000000000000",' + written[1:])
    yield Row(16, "duplicate-keys", PAIR, Bent("call", double), **_GOOD)
    number = bends.rewritten(lambda written: written[:-1] + b',"more":NaN}')
    yield Row(16, "nan", WIRED, Bent("call", number), **_GOOD)
    yield Row(16, "not-utf-8", PAIR, Bent("call", bends.rewritten(lambda _: b'{"id":"\xff"}')), **_SPOILT)
    yield Row(16, "a-list", PAIR, Bent("call", bends.rewritten(lambda _: b"[]")), **_SPOILT)
    fault = Bent("poll", cut, times=2)
    yield Row(16, "poll-truncated-twice", (RUNS,), fault, **_GOOD)
    yield Row(16, "poll-truncated-always", (RUNS,), Bent("poll", cut), **_SPOILT)


def _multipart() -> Iterator[Row]:
    def row(name: str, bend: Bend, **stated: Any) -> Row:
        return Row(17, name, (PRODIA,), Bent("call", bend), **stated)

    log = (b'Content-Disposition: form-data; name="log"\r\nContent-Type: text/plain', b"a line")
    yield row("no-closing-delimiter", bends.saying(b""), **_SPOILT)
    yield row("no-boundary", bends.labelled("multipart/form-data"), **_SPOILT, said="without a boundary")
    yield row("wrong-boundary", bends.labelled("multipart/form-data; boundary=another"), **_SPOILT)
    yield row("no-parts", bends.parts(lambda _: []), **_SPOILT)
    yield row("no-job", bends.parts(lambda all_parts: all_parts[1:]), **_GOOD, unnamed=True)
    yield row("thousand-parts", bends.parts(lambda all_parts: all_parts + [log] * 998), **_GOOD)
    more = bends.parts(lambda all_parts: all_parts + [log] * 9998)
    yield row("ten-thousand-parts", more, **_PAID, said="parts")
    heads = bends.named(rb"$", b"\r\nX-More: " + b"\r\nX-More: ".join([b"x"] * 10_000))
    yield row("ten-thousand-headers", heads, **_PAID)
    padded = bends.parts(list, preamble=b"x" * 2 * MEGABYTE + b"\r\n", epilogue=b"x" * 2 * MEGABYTE)
    yield row("huge-preamble-and-epilogue", padded, **_GOOD)
    yield row("reversed", bends.parts(lambda all_parts: all_parts[::-1]), **_GOOD)
    yield row("no-file-names", bends.named(rb'; filename="[^"]*"', b""), **_GOOD)
    yield row("foreground", bends.named(rb'name="output"', b'name="foreground"'), **_GOOD)


def _masks() -> Iterator[Row]:
    yield Row(18, "bad-png", WIRED, Knob({"kind": "bad_png"}), **_PAID, said="cannot be read")
    forms = {
        "truncated": bends.truncated,
        "bad-crc": bends.bad_crc,
        "zero-by-zero": bends.claiming(0, 0),
        "65535-squared": bends.claiming(65535, 65535),
        "photograph": bends.photograph,
    }
    for name, form in forms.items():
        yield Row(
            18, name, WIRED if name == "truncated" else PAIR, Bent("files", bends.masks(form)), **_PAID, said="mask"
        )
    for name in ("2bit", "4bit"):
        yield Row(18, name, PAIR, Knob({"kind": "mask_form", "form": name}), **_GOOD)
    forms = {
        "16-bit": bends.bits16,
        "grey-alpha": bends.grey_alpha,
        "cut-out": bends.cut_out,
        "1-bit": bends.form(mode="1"),
        "colours-of-grey": bends.form(mode="RGB"),
        "webp": bends.form("WEBP", lossless=True),
    }
    for name, form in forms.items():
        yield Row(18, name, WIRED if name == "cut-out" else PAIR, Bent("files", bends.masks(form)), **_GOOD)
    yield Row(18, "palette", PAIR, Bent("files", bends.masks(bends.palette)), **_GOOD, warned="black and one colour")
    yield Row(18, "other-size", WIRED, Bent("files", bends.masks(bends.larger)), **_GOOD, warned="resized")
    black, white = bends.masks(bends.filled(0)), bends.masks(bends.filled(255))
    yield Row(18, "all-black", WIRED, Bent("files", black), **_GOOD, shown=Shown.NOTHING)
    yield Row(18, "all-white", PAIR, Bent("files", white), **_GOOD, shown=Shown.EVERYTHING)
    yield Row(
        18, "damaged-picture", (LOCAL,), None, "refused", "release", 0, Then.REFUSED, asked="damaged picture",
    )  # fmt: skip
    named = Bent("masks", bends.model_data(bends.copied(33)))
    yield Row(19, "33-for-32", RUNFLOW, named, **_GOOD, shown=Shown.MOST)
    yield Row(19, "33-for-32", (PRODIA,), Bent("files", bends.many(33)), **_GOOD, shown=Shown.MOST)
    yield Row(
        19, "more-than-asked-for", (LOCAL,), None, **{**_GOOD, "billed": 0}, shown=Shown.MOST, asked="everything",
    )  # fmt: skip


def _names_of_masks() -> Iterator[Row]:
    def row(group: int, name: str, edit: bends.Edit, **stated: Any) -> Row:
        return Row(group, name, RUNFLOW, Bent("masks", bends.model_data(edit)), **stated)

    yield row(20, "no-scores", bends.without("scores", "metadata"), **_GOOD)
    yield row(20, "no-boxes", bends.without("boxes", "metadata"), **_GOOD)
    yield row(20, "null-scores", bends.putting(scores=None, boxes=None, metadata=None), **_GOOD)
    yield row(20, "scores-too-many", bends.putting(scores=[0.9, 0.8, 0.7]), **_GOOD)
    yield row(20, "scores-too-few", bends.putting(scores=[], boxes=[], metadata=[]), **_GOOD)
    yield row(20, "scores-nested", bends.putting(scores=[[0.9]]), **_GOOD)
    yield row(20, "scores-out-of-range", bends.putting(scores=[17], metadata=None), **_GOOD)
    yield row(20, "scores-are-words", bends.putting(scores=["NaN"], metadata=None), **_GOOD)
    number = bends.rewritten(lambda written: re.sub(rb'"scores": ?\[', b'"scores":[NaN,', written))
    yield Row(20, "scores-nan", RUNFLOW, Bent("masks", number), **_GOOD)
    for name, url in {
        "metadata-service": "http://169.254.169.254/latest/meta-data/",
        "another-port-of-ours": "http://127.0.0.1:1/mask.png",
        "a-file": "file:///etc/passwd",
        "no-url": "mask one",
    }.items():
        shapes = RUNFLOW if name == "metadata-service" else (RUNS,)
        yield Row(21, name, shapes, Bent("masks", bends.model_data(bends.all_urls(url))), **_PAID)
    away = bends.answer(302, Location="http://169.254.169.254/latest/meta-data/")
    yield Row(21, "redirect-to-metadata-service", RUNFLOW, Bent("files", away, processed=False), **_PAID)
    yield Row(21, "404", RUNFLOW, Bent("files", bends.answer(404), processed=False), **_PAID, said="404")
    yield Row(21, "expired", (RUNS,), Bent("files", bends.answer(403), processed=False), **_PAID, said="403")
    expired = Bent("files", bends.answer(403), processed=False, times=1)
    yield Row(21, "expired-and-signed-anew", (RUNS,), expired, **_GOOD)


def _runs() -> Iterator[Row]:
    def row(group: int, name: str, on: str, bend: Bend, **stated: Any) -> Row:
        return Row(group, name, (RUNS,), Bent(on, bend), **stated)

    def knob(group: int, name: str, kind: str, told: dict[str, Any], **stated: Any) -> Row:
        shapes = stated.pop("shapes", (RUNS,))
        return Row(group, name, shapes, Knob({"kind": kind, **told}), **stated)

    yield knob(22, "id-of-the-run-before", "duplicate_run_id", {}, **_SPOILT, twice=True)
    yield knob(23, "unknown-for-ever", "run_lost", {}, **_SPOILT)
    fault = Bent("poll", bends.answer(404), processed=False, times=2)
    yield Row(23, "unknown-at-first", (RUNS,), fault, **_GOOD)
    yield row(24, "runs-for-ever", "poll", bends.state("running", cost=None), **_LOST, **_SLOW)
    yield row(24, "of-no-known-status", "poll", bends.state("pondering", cost=None), **_LOST, **_SLOW)
    yield knob(24, "stuck", "stuck", {"status": "queued"}, **_UNHEARD, **_SLOW)
    for status in ("errored", "canceled"):
        ended = bends.answer(201, b'{"id": "run-1", "status_code": "%s"}' % status.encode(), "application/json")
        yield Row(24, status, (RUNS,), Bent("create", ended, processed=False), **_CLEAN)
    failed = {"failure_code": "INTERNAL_ERROR", "failure_message": "out of memory"}
    yield knob(24, "failed", "run_failed", failed, **_CLEAN, said="out of memory")
    refused = {"outcome": "refused", "ledger": "release", "billed": 0, "then": Then.REFUSED}
    yield knob(24, "failed-by-the-picture", "run_failed", {}, **refused, said="4096x4096")
    yield knob(24, "cancelled", "cancelled", {"spelling": "cancelled"}, **_CLEAN, said="cancelled")
    job = bends.record(bends.putting(state={"current": "processing"}))
    yield Row(24, "job-unfinished", (PRODIA,), Bent("job", job), **_PAID, said="not finished")
    yield knob(24, "job-failed", "state_failed", {}, **_CLEAN, said="job failed", shapes=(PRODIA,))
    yield knob(25, "goes-back", "status_back", {}, **_GOOD)
    yield row(25, "goes-back-when-signed-anew", "poll", bends.going_back, **_PAID)
    for form in ("null", "missing"):
        yield knob(26, f"output-{form}", "no_outputs", {"form": form}, **_PAID)
    yield knob(26, "output-empty", "no_outputs", {"form": "empty"}, **_GOOD, shown=Shown.NOTHING)
    none = bends.model_data(bends.without("masks", "image", "outputs"))
    yield Row(26, "no-masks-named", (SYNC,), Bent("run", none), **_SPOILT)
    empty = bends.model_data(bends.putting(masks=[], scores=[], boxes=[], metadata=[]))
    yield Row(26, "nothing-found", RUNFLOW, Bent("masks", empty), **_GOOD, shown=Shown.NOTHING)
    yield Row(26, "job-alone", (PRODIA,), Bent("job", bends.outputs(lambda _: [])), **_GOOD, shown=Shown.NOTHING)


def _prices() -> Iterator[Row]:
    def rows(name: str, written: Any, told: int | None) -> Iterator[Row]:
        edit = bends.record(bends.putting(cost=written))
        yield Row(27, name, (RUNS,), Bent("poll", edit), **_GOOD, told=told)
        edit = bends.record(bends.putting(price={"product": "p", "dollars": written}))
        yield Row(27, name, (PRODIA,), Bent("job", edit), **_GOOD, told=told)

    yield from rows("dearer", 0.12, 120_000)
    yield from rows("cheaper", "0.0004", 400)
    yield from rows("unnamed", None, None)
    yield from rows("negative", "-1", None)
    yield from rows("no-number", "a lot", None)


def _protocol() -> Iterator[Row]:
    yield Row(28, "http-1.0", WIRED, Bent("call", bends.old), **_GOOD)
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    yield Row(28, "100-continue", WIRED, Bent("call", bends.after(interim)), **_GOOD)
    yield Row(28, "thousand-100s", PAIR, Bent("call", bends.after(interim * 1000)), **_GOOD)
    fault = Bent("call", lambda _: interim * 20_000, then=End.SILENCE)
    yield Row(28, "flood-of-100s", WIRED, fault, **_LOST, **_SLOW)
    yield Row(28, "ten-megabyte-header", WIRED, Bent("call", bends.with_header("x-more", 10 * MEGABYTE)), **_LOST)
    yield Row(28, "no-http", PAIR, Bent("call", lambda _: b"220 mail.example ESMTP\r\n"), **_LOST)


ROWS: tuple[Row, ...] = (
    *_statuses(),
    *_connections(),
    *_framing(),
    *_bodies(),
    *_multipart(),
    *_masks(),
    *_names_of_masks(),
    *_runs(),
    *_prices(),
    *_protocol(),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A row for one shape."""

    row: Row
    shape: str
    name: str = field(init=False)

    def __post_init__(self) -> None:
        """Take the row's name for the shape."""
        object.__setattr__(self, "name", self.row.case(self.shape))

    @property
    def ledger(self) -> str:
        """How the struck attempt's reservation ends: `settle`, `release` or `hold`."""
        if self.row.ledger != "priced":
            return self.row.ledger
        return "hold" if self.shape == SYNC else "settle"


CASES: tuple[Case, ...] = tuple(Case(row, shape) for row in ROWS for shape in row.shapes)

#: Held calls that are looked up afterwards: of the runs, which can be found again, the first of each group; of the
#: other shapes, whose calls nobody can find, one each.
LOOKED_UP: tuple[Case, ...] = tuple(
    {
        (case.row.group if case.shape == RUNS else 0, case.shape): case
        for case in reversed(CASES)
        if case.ledger == "hold"
    }.values()
)

_IN_PROCESS = "a call of a function in this process: there is no wire, no status, no price and no record"

#: Why a shape cannot have a group of faults.
ABSENT: dict[tuple[int, str], str] = {
    **{(group, LOCAL): _IN_PROCESS for group in GROUPS if group not in {10, 18, 19}},
    (17, RUNS): "its answers are JSON, never multipart",
    (17, SYNC): "its answers are JSON, never multipart",
    (20, PRODIA): "its answers hold neither scores nor boxes",
    (21, PRODIA): "its masks come within the answer, never by address",
    (22, SYNC): "no id comes before the masks, and nothing is looked up by it",
    (22, PRODIA): "nothing is looked up by a job's id",
    (23, SYNC): "it is not looked at again",
    (23, PRODIA): "it is not looked at again",
    (24, SYNC): "it names no status",
    (25, SYNC): "it names no status",
    (25, PRODIA): "it names its state once",
    (27, SYNC): "it names no price",
}
