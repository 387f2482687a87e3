"""
Prodia's job: the multipart request, and the answers in their five forms.

Source: https://docs.prodia.com/reference/inference, /reference/price, the guide "Segmenting Images", and the official
JavaScript client 1.6.0 (errors), read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from providers.contract import Money, Reply
from providers.prodia.multipart import MalformedMultipart, Part, read_parts, split_value, written
from providers.reported import reported_money
from providers.upstream_json import read_json

_JOB_HEAD = b'Content-Disposition: form-data; name="job"; filename="job.json"\r\nContent-Type: application/json'

_INPUT_HEADS = {
    f"image/{kind}": (
        f'Content-Disposition: form-data; name="input"; filename="input.{extension}"\r\nContent-Type: image/{kind}'
    ).encode()
    for kind, extension in (("png", "png"), ("jpeg", "jpg"), ("webp", "webp"))
}

#: `processed` is the asynchronous API's word, `succeeded` one that callers have seen.
_FINISHED = frozenset({"completed", "processed", "succeeded"})
_FAILED = frozenset({"failed", "error", "errored", "cancelled", "canceled", "expired"})


#: Longest job id that is believed; Prodia's are UUIDs.
_MOST_ID_CHARACTERS = 128

#: Longest job that is read; one has a few hundred bytes.
_MOST_JOB_BYTES = 256 * 1024

#: Longest answer without masks that is looked into.
_MOST_FAILURE_BYTES = 64 * 1024

#: Longest duration that is believed, in seconds.
_LONGEST_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Wanted:
    """The configuration of a SAM 3 job, every setting sent."""

    prompt: str
    confidence_threshold: float


@dataclass(frozen=True, slots=True)
class SegmentJob:
    """What to do."""

    type: str
    """Prodia's name for the product, either of the two that it has."""
    config: Wanted | None
    """None for SAM 2, whose jobs have no `config` at all."""


@dataclass(frozen=True, slots=True)
class Job:
    """The job JSON of an answer."""

    id: str | None
    finished: bool
    """Whether its state is one of success, or it names none."""
    failed: bool
    """Whether it names an error or a state of failure."""
    error: str | None
    seconds: float
    price: Money | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer."""

    job: Job | None
    """None where the answer is a picture and nothing else."""
    outputs: tuple[bytes, ...]
    """Encoded masks, in the provider's order."""


class UnreadableAnswer(ValueError):
    """A 2xx answer that is not what is documented."""

    def __init__(self, message: str, job: Job | None = None) -> None:
        """Say what is wrong with it; *job* is what could be read of it all the same."""
        super().__init__(message)
        self.job = job


@dataclass(frozen=True, slots=True)
class FailureText:
    """What an answer without masks says."""

    message: str
    job_id: str | None
    price: Money | None = None
    """What the call costs all the same, where it says so."""


def job_body(job: SegmentJob, *, picture: bytes, media_type: str, boundary: bytes) -> bytes:
    """
    Return the body of `POST /v2/job`: the part `job`, then the part `input`.

    Args:
        job: what to do.
        picture: the encoded file, sent as it is.
        media_type: of the picture.
        boundary: of the body; not in the picture.
    """
    description: dict[str, Any] = {"type": job.type}
    if job.config is not None:
        description["config"] = job.config
    return written([(_JOB_HEAD, orjson.dumps(description)), (_INPUT_HEADS[media_type], picture)], boundary=boundary)


def read_answer(reply: Reply) -> Answer:
    """
    Read a 2xx answer.

    Raises:
        UnreadableAnswer: it is neither multipart with a job or masks, nor one picture, nor the JSON of a job.
    """
    try:
        return _read_answer(reply)
    except MalformedMultipart as error:
        described = _described(error.parts)
        raise UnreadableAnswer(str(error), None if described is None else _job_or_none(described)) from None
    except UnreadableAnswer:
        raise
    except ValueError as error:
        raise UnreadableAnswer(str(error)) from None


def _read_answer(reply: Reply) -> Answer:
    media_type, parameters = split_value(reply.headers.get("content-type", ""))
    if media_type.startswith("image/"):
        return Answer(None, (reply.body,))
    if media_type == "application/json":
        job = _job(reply.body)
        if not job.failed:
            raise UnreadableAnswer("a job without its masks, in JSON where multipart was asked for", job)
        return Answer(job, ())
    if not media_type.startswith("multipart/"):
        raise ValueError(f"Content-Type {media_type[:100]!r} where multipart/form-data was asked for")
    parts = read_parts(reply.body, boundary=_boundary(parameters))
    described = _described(parts)
    outputs = _outputs(parts)
    if described is None and not outputs:
        raise ValueError("multipart with neither a job nor an output")
    return Answer(None if described is None else _job(described), outputs)


def read_failure(reply: Reply) -> FailureText:
    """Read what any other answer says: multipart with a job, JSON of three kinds, or text. Never fails."""
    media_type, parameters = split_value(reply.headers.get("content-type", ""))
    body = reply.body[:_MOST_FAILURE_BYTES]  # a longer one is cut off, and read as text
    try:
        if media_type.startswith("multipart/"):
            parts = read_parts(body, boundary=_boundary(parameters))
            body = _described(parts) or b"{}"
        record = read_json(body)
    except ValueError:
        return FailureText(body[:2000].decode("utf-8", "replace"), None)
    return FailureText(_said(record) or "", _id(record), _price(record))


def _described(parts: Sequence[Part]) -> bytes | None:
    """Return the JSON of the job; None where there is none."""
    return next((part.content for part in parts if part.name == "job"), None)


def _job_or_none(text: bytes) -> Job | None:
    """Read the job JSON of an answer that is broken elsewhere."""
    try:
        return _job(text)
    except ValueError:
        return None


def _boundary(parameters: dict[str, str]) -> str:
    """Return the boundary, which a multipart answer has to name."""
    boundary = parameters.get("boundary")
    if not boundary:
        raise ValueError("multipart without a boundary")
    return boundary


def _outputs(parts: list[Part]) -> tuple[bytes, ...]:
    """
    Return the files of an answer: its parts `output`, else its parts `mask`, else whatever is a picture.

    Only `output` is documented; other clients' code expects `foreground` and `mask` of Prodia's other products, where a
    foreground is no mask.
    """
    for name in ("output", "mask"):
        named = tuple(part.content for part in parts if part.name == name)
        if named:
            return named
    return tuple(part.content for part in parts if part.name != "job" and part.media_type.startswith("image/"))


def _job(text: bytes) -> Job:
    """
    Read the job JSON.

    Raises:
        ValueError: no JSON object.
    """
    if len(text) > _MOST_JOB_BYTES:
        raise ValueError(f"the job has {len(text)} bytes; at most {_MOST_JOB_BYTES} are read")
    record = read_json(text)
    if not isinstance(record, dict):
        raise ValueError("the job is no JSON object")  # noqa: TRY004 - a fault in what was sent to us, not a type in our code
    state = record.get("state")
    current = _text(state, "current") or (state if isinstance(state, str) else None)
    error = _words(record.get("error"))
    failed = error is not None or current in _FAILED
    metrics = record.get("metrics")
    return Job(
        id=_id(record),
        finished=not failed and (current is None or current in _FINISHED),
        failed=failed,
        error=_said(record) if failed else None,
        seconds=_seconds(metrics.get("elapsed")) if isinstance(metrics, dict) else 0.0,
        price=_price(record),
    )


def _price(record: Any) -> Money | None:
    """Return what the job costs; None where it does not say."""
    price = record.get("price") if isinstance(record, dict) else None
    return reported_money(price.get("dollars")) if isinstance(price, dict) else None


def _said(record: Any) -> str | None:
    """Return the words of a failure: `error`, `message` with `detail`, or the last of `state.history`."""
    if not isinstance(record, dict):
        return record if isinstance(record, str) else None
    error = _words(record.get("error"))
    if error is not None:
        return error
    told = [words for words in (_words(record.get("message")), _words(record.get("detail"))) if words]
    if told:
        return ": ".join(told)
    state = record.get("state")
    history = state.get("history") if isinstance(state, dict) else None
    return _words(history[-1]) if isinstance(history, list) and history else None


def _words(value: Any) -> str | None:
    """Return a text, or the text in an object or a list that stands for one."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, dict):
        return next((words for key in ("message", "msg", "error", "detail") if (words := _text(value, key))), None)
    if isinstance(value, list):
        return "; ".join(words for item in value[:5] if (words := _words(item))) or None
    return None


def _seconds(elapsed: object) -> float:
    """Return a duration in seconds; 0 where there is none that can be believed."""
    if isinstance(elapsed, bool) or not isinstance(elapsed, int | Decimal):
        return 0.0
    return float(elapsed) if 0 <= elapsed <= _LONGEST_SECONDS else 0.0


def _id(record: Any) -> str | None:
    """Return the job's id; None where it has none that a log line or a database column could take."""
    found = _text(record, "id")
    if found is None or len(found) > _MOST_ID_CHARACTERS or not (found.isascii() and found.isprintable()):
        return None
    return found


def _text(record: Any, key: str) -> str | None:
    """Return a text that is not empty; None for anything else."""
    value = record.get(key) if isinstance(record, dict) else None
    return value if isinstance(value, str) and value else None
