"""
Runflow's JSON: what is sent, and the records that come back.

Source: https://docs.runflow.io/models/meta/sam-3/image, https://docs.runflow.io/concepts/runs, /concepts/errors,
/guides/upload-large-files and the API reference, read 2026-11-20. The pages come in generations that contradict each
other; every spelling that any of them shows is read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import Any
from urllib.parse import quote

import orjson

from providers.contract import Money
from providers.reported import reported_money
from providers.runflow.output import RunOutput, read_output
from providers.upstream_json import read_json

#: Longest error answer that is looked into.
_MOST_ERROR_BYTES = 64 * 1024

#: Longest duration that is believed, in seconds.
_LONGEST_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class PointPrompt:
    """A pixel of the picture; label 1 is on the object, 0 is off it."""

    x: int
    y: int
    label: int
    object_id: int
    """Prompts with one object_id refine one object; without it each is an object of its own."""


@dataclass(frozen=True, slots=True)
class BoxPrompt:
    """A box in pixels of the picture, origin top-left."""

    x_min: int
    y_min: int
    x_max: int
    y_max: int
    object_id: int


@dataclass(frozen=True, slots=True)
class RunInput:
    """
    The input of `meta/sam-3/image`, every field sent.

    Left out, `prompt` means "wheel", `apply_mask` true, `return_multiple_masks` false and `max_masks` 3.
    """

    image_url: str
    prompt: str
    max_masks: int
    point_prompts: tuple[PointPrompt, ...] = ()
    box_prompts: tuple[BoxPrompt, ...] = ()
    apply_mask: bool = False
    return_multiple_masks: bool = True
    include_scores: bool = True
    include_boxes: bool = True
    output_format: str = "png"
    sync_mode: bool = False


@dataclass(frozen=True, slots=True)
class SubjectInput:
    """
    The input of `runflow/smart-segmentation`: these two fields, both required.

    Source: https://www.runflow.io/models/runflow/smart-segmentation, read 2026-11-20. The file name is taken from the
    address, which therefore ends in a picture's extension.
    """

    image_url: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Labels:
    """What is sent beside the input of a run."""

    client_ref: str
    """Our name for the attempt; sent as metadata too, since that alone comes back in callbacks."""
    callback_url: str = ""
    """Empty for none."""


class RunStatus(Enum):
    """Where a run stands, in one spelling."""

    PENDING = auto()
    SUCCEEDED = auto()
    PARTLY_SUCCEEDED = auto()
    FAILED = auto()
    CANCELLED = auto()


_STATUSES = {
    "succeeded": RunStatus.SUCCEEDED,
    "completed": RunStatus.SUCCEEDED,
    "partial_succeeded": RunStatus.PARTLY_SUCCEEDED,
    "failed": RunStatus.FAILED,
    "errored": RunStatus.FAILED,
    "canceled": RunStatus.CANCELLED,
    "cancelled": RunStatus.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed, as far as it says."""

    code: str | None
    message: str | None
    stage: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """A run record, or the flat answer of an older endpoint read as one."""

    id: str | None
    """None only in an answer that is complete without one."""
    status: RunStatus
    output: RunOutput | None
    """None while there is none, and when what is there names no masks in any known way."""
    cost: Money | None
    seconds: float
    failure: Failure | None
    client_ref: str | None = None
    """What its creator called it; None where the record does not say."""
    warnings: tuple[str, ...] = ()
    """What the answer that told of it warned of."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Where the bytes of a new asset go."""

    asset_id: str
    url: str


@dataclass(frozen=True, slots=True)
class ErrorText:
    """The code and the words of an error answer."""

    code: str | None
    message: str


def create_body(run_input: RunInput | SubjectInput, labels: Labels, *, prompts_as_text: bool = False) -> bytes:
    """Return the body of `POST /v1/models/{model}/runs`; see `flat_body` for *prompts_as_text*."""
    body: dict[str, Any] = {
        "input": _fields(run_input, prompts_as_text=prompts_as_text),
        "client_ref": labels.client_ref,
        "metadata": {"maskgate_attempt": labels.client_ref},
    }
    if labels.callback_url:
        body["callback_url"] = labels.callback_url
    return orjson.dumps(body)


def flat_body(run_input: RunInput | SubjectInput, *, prompts_as_text: bool) -> bytes:
    """
    Return the body of the synchronous calls, which have no place for anything but the input.

    Args:
        run_input: what is asked.
        prompts_as_text: whether points and boxes go as JSON text, as the pages of generations 1 and 2 type them.
    """
    return orjson.dumps(_fields(run_input, prompts_as_text=prompts_as_text))


def _fields(run_input: RunInput | SubjectInput, *, prompts_as_text: bool) -> dict[str, Any]:
    """Return the input as JSON values. An empty text would be no list of prompts: those are left out, as none."""
    fields: dict[str, Any] = {field: getattr(run_input, field) for field in run_input.__slots__}
    if prompts_as_text and isinstance(run_input, RunInput):
        for name in ("point_prompts", "box_prompts"):
            prompts = fields.pop(name)
            if prompts:
                fields[name] = orjson.dumps(prompts).decode()
    return fields


def upload_body(*, filename: str, media_type: str, size_bytes: int) -> bytes:
    """Return the body of `POST /v1/asset-uploads`."""
    return orjson.dumps({"filename": filename, "mime_type": media_type, "size_bytes": size_bytes})


def confirm_body() -> bytes:
    """Return the body of `POST /v1/asset-uploads/{asset_id}/confirmations`."""
    return b'{"folder_id":null}'


def segment_of_path(name: str) -> str:
    """
    Return an id as one segment of a path.

    Raises:
        ValueError: it would lead elsewhere.
    """
    if name in {"", ".", ".."} or len(name) > 200:
        raise ValueError(f"{name[:50]!r} is no id")
    return quote(name, safe="")


def read_run(body: bytes) -> Run:
    """
    Read the answer to creating or getting a run.

    Raises:
        ValueError: no JSON object, or one that is neither a run nor an answer with masks.
    """
    return _run(read_json(body))


def read_runs(body: bytes, *, client_ref: str) -> list[Run]:
    """
    Read the answer to `GET /v1/runs` with a filter for *client_ref*.

    Raises:
        ValueError: no list of runs, or one of other runs: then the filter was not obeyed, and nothing is known.
    """
    record = read_json(body)
    items = record.get("items") if isinstance(record, dict) else None
    if not isinstance(items, list):
        raise ValueError("items is missing")  # noqa: TRY004 - a fault in what was sent to us, not a type in our code
    ours = [item for item in items if isinstance(item, dict) and item.get("client_ref") == client_ref]
    if len(ours) < len(items):
        raise ValueError("the list of runs holds others than those that were asked for")
    return [_run(item) for item in ours]


def _run(record: Any) -> Run:
    """Read one run record."""
    if not isinstance(record, dict):
        raise ValueError("a run is a JSON object")  # noqa: TRY004 - a fault in what was sent to us, not a type in our code
    run_id = _text(record, "id") or _text(record, "run_id")
    word = _text(record, "status_code") or _text(record, "status")
    status = _STATUSES.get(word.lower(), RunStatus.PENDING) if word else None
    output = None
    if status in {None, RunStatus.SUCCEEDED, RunStatus.PARTLY_SUCCEEDED}:
        output = read_output(record)
    if status is None:
        # Older endpoints answer with the masks themselves, and no word about how it went.
        status = RunStatus.PENDING if output is None else RunStatus.SUCCEEDED
    if run_id is None and status is RunStatus.PENDING:
        raise ValueError("neither the id of a run nor masks")
    return Run(
        id=run_id,
        status=status,
        output=output,
        cost=reported_money(record.get("cost")),
        seconds=_seconds(record.get("duration_ms")),
        failure=_failure(record) if status in {RunStatus.FAILED, RunStatus.CANCELLED} else None,
        client_ref=_text(record, "client_ref"),
    )


def read_upload(body: bytes) -> Upload:
    """
    Read the answer to `POST /v1/asset-uploads`.

    Raises:
        ValueError: it names no asset or no address.
    """
    record = read_json(body)
    asset_id, url = _text(record, "asset_id"), _text(record, "upload_url")
    if asset_id is None or url is None:
        raise ValueError("asset_id or upload_url is missing")
    return Upload(asset_id, url)


def read_asset_url(body: bytes) -> str:
    """
    Return the signed address in the answer to a confirmation.

    Raises:
        ValueError: it names none.
    """
    url = _text(read_json(body), "url")
    if url is None:
        raise ValueError("url is missing")
    return url


def read_error(body: bytes) -> ErrorText:
    """
    Read an error answer in any of the known forms.

    `{"code", "message", "errors"}`, `{"error": {"code", "message"}}`, `{"error": "text", "code"}`,
    `{"detail": "text"}`, `{"detail": [{"loc", "msg", "type"}]}`, and text that is no JSON.
    """
    body = body[:_MOST_ERROR_BYTES]  # a longer one is cut off, and read as text
    try:
        record = read_json(body)
    except ValueError:
        return ErrorText(None, body[:2000].decode("utf-8", "replace"))
    inner = record.get("error") if isinstance(record, dict) else None
    if isinstance(inner, dict):
        record = inner
    code = _text(record, "code")
    words = [_text(record, "message"), _text(record, "error"), _said(record, "detail"), _said(record, "errors")]
    message = "; ".join(word for word in words if word)
    return ErrorText(code, f"{code}: {message}" if code and message else message or code or "")


def _said(record: Any, key: str) -> str | None:
    """Return a text, or the messages of a list of faults with the fields that they are about."""
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    return "; ".join(_fault(item) for item in value[:5]) or None


def _fault(item: Any) -> str:
    """Return one item of a list of faults as text."""
    if not isinstance(item, dict):
        return str(item)
    loc = item.get("loc")
    where = ".".join(str(step) for step in loc) if isinstance(loc, list) else item.get("field")
    what = item.get("msg") or item.get("message") or item.get("type")
    return ": ".join(str(part) for part in (where, what) if part)


def _failure(record: dict[str, Any]) -> Failure:
    """Return why the run failed, by the newer names, the older ones, or the SDK's."""
    error = record.get("error")
    return Failure(
        code=_text(record, "failure_code") or _text(error, "code"),
        message=_text(record, "failure_message") or _text(error, "message") or _text(record, "error"),
        stage=_text(record, "failure_stage_code") or _text(record, "failure_stage"),
    )


def _seconds(duration_ms: object) -> float:
    """Return a duration in seconds; 0 where there is none that can be believed."""
    if isinstance(duration_ms, bool) or not isinstance(duration_ms, int | Decimal):
        return 0.0
    return float(duration_ms) / 1000 if 0 <= duration_ms <= 1000 * _LONGEST_SECONDS else 0.0


def _text(record: Any, key: str) -> str | None:
    """Return a text that is not empty; None for anything else."""
    value = record.get(key) if isinstance(record, dict) else None
    return value if isinstance(value, str) and value else None
