"""
What a Prodia caller may send, and the job record that comes back.

Source: docs.prodia.com reference/inference, reference/price, job-types/inference-sam3-segment-v1 and the guide
"Segmenting Images" (types, prompt of 1 to 500 characters, threshold, 256 to 2048 or 4096 pixels, 10 MB, formats; the
job that makes the picture of its first example, with a prompt and a resolution), reference/inference
(`inference.ping.v1`), reference/async (states); the npm client's own tests (errors); read 2026-11-20. Invented: the
wording of picture errors, the product names, prices, that a ping is free, and what a made picture's sides and prompt
may be.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from providers.sandbox.config import PRODIA_MICROUSD, PRODIA_PICTURE_MICROUSD
from providers.sandbox.multipart import Part
from providers.sandbox.segmenting import Opened

LARGEST_FILE = 10_000_000
"""Bytes: the stricter reading of "10 MB"."""

KEEP_SECONDS = 300
"""How long a job is kept after its creation."""

PING = "inference.ping.v1"


@dataclass(frozen=True, slots=True)
class JobType:
    """One kind of job."""

    config: tuple[str, ...]
    """The settings that it knows."""
    max_side: int
    """Of the picture it takes, in pixels, inclusive; 0 where it takes none at all."""
    product: str
    microusd: int
    """What a completed job costs, in micro-dollars."""
    most_prompt: int = 500
    """Characters."""

    @property
    def prompted(self) -> bool:
        """Whether it takes a prompt."""
        return "prompt" in self.config

    @property
    def makes(self) -> bool:
        """Whether it makes a picture."""
        return "resolution" in self.config


_SAM2 = JobType((), 2048, "inference-sam2-segment", PRODIA_MICROUSD)
_SAM3 = JobType(("prompt", "confidence_threshold"), 4096, "inference-sam3-segment", PRODIA_MICROUSD)
_PICTURE = JobType(
    ("prompt", "resolution"), 0, "inference-flux-fast-schnell-txt2img", PRODIA_PICTURE_MICROUSD, most_prompt=4096
)
_PING = JobType((), 0, "inference-ping", 0)
MIN_SIDE = 256
_MADE_SIDES = range(256, 2049)
_MADE_SIZE = (1024, 1024)

TYPES: Mapping[str, JobType] = {
    "inference.segment.v1": _SAM2,
    "inference.sam2.segment.v1": _SAM2,
    "inference.segment.v2": _SAM3,
    "inference.sam3.segment.v1": _SAM3,
    "inference.flux-fast.schnell.txt2img.v1": _PICTURE,
    PING: _PING,
}


class JobRefused(Exception):
    """A job that is not done: 400 with the reason in the job record."""

    def __init__(self, error: str, job: Mapping[str, Any] | None = None) -> None:
        """Refuse *job*, as far as it could be read."""
        super().__init__(error)
        self.job = job or {}


class NoSuchType(Exception):
    """A job of no type, or of one that nobody serves: Prodia answers 429."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job that is to be done."""

    type: str
    prompt: str
    """Empty where the type takes none."""
    threshold: float
    config: Mapping[str, Any]
    """As the caller sent it, defaults filled in; keys that nobody knows are kept."""
    picture: bytes | None = field(repr=False)
    """None where the type takes none."""
    resolution: tuple[int, int] = _MADE_SIZE
    """Width and height of a picture that is made, in pixels."""


def read_job(parts: tuple[Part, ...], *, strict: bool = False) -> Job:
    """
    Read a form; where *strict*, fields that nobody knows are refused.

    Raises:
        JobRefused: it is not exactly one job, one picture and a good configuration.
        NoSuchType: the job's type is missing or unknown.
    """
    jobs = [part for part in parts if part.name == "job"]
    if len(jobs) != 1:
        raise JobRefused(f"job: exactly one part is needed, got {len(jobs)}")
    try:
        job = orjson.loads(jobs[0].data)
    except orjson.JSONDecodeError as error:
        raise JobRefused(f"job: not JSON: {error}") from error
    if not isinstance(job, dict):
        raise JobRefused("job: got something else, want object")
    kind = TYPES.get(job["type"]) if isinstance(job.get("type"), str) else None
    if kind is None:
        raise NoSuchType
    config = job.get("config", {})
    if not isinstance(config, dict):
        raise JobRefused("config: got something else, want object", job)
    if strict:
        _refuse_unknown(job, ("type", "config"), "job", job)
        _refuse_unknown(config, kind.config, "config", job)
    prompt, threshold = _prompt(config, job), _threshold(config, job)
    filled = {**config, "confidence_threshold": threshold} if "confidence_threshold" in kind.config else config
    return Job(job["type"], prompt, threshold, filled, _picture(parts, job), _resolution(config, job))


def refuse_size(job: Job, picture: Opened) -> None:
    """
    Refuse a picture outside of the type's dimensions, both bounds inclusive.

    Raises:
        JobRefused: it is outside.
    """
    most = TYPES[job.type].max_side
    for name, side in (("width", picture.width), ("height", picture.height)):
        if side < MIN_SIDE:
            raise JobRefused(f"input.{name}: minimum: got {side:,}, want {MIN_SIDE}", {"type": job.type})
        if side > most:
            raise JobRefused(f"input.{name}: maximum: got {side:,}, want {most:,}", {"type": job.type})


@dataclass(frozen=True, slots=True)
class Told:
    """What a job's record says beside the job."""

    id: str
    started: float
    """Seconds since the epoch, as the one below."""
    updated: float
    state: str = "completed"
    microusd: int | None = None
    """Its price in micro-dollars; None where none is told."""
    metrics: bool = True
    error: str | None = None


def record(job: Job, told: Told) -> bytes:
    """Return the record of a job."""
    # The one float of money in the tree: it is Prodia's own form of a price.
    price = {"product": TYPES[job.type].product, "dollars": (told.microusd or 0) / 1_000_000}
    return orjson.dumps(
        {
            "type": job.type,
            "created_at": _moment(told.started),
            "updated_at": _moment(told.updated),
            "expires_at": _moment(told.started + KEEP_SECONDS),
            "id": told.id,
            "state": {"current": told.state},
            "config": job.config,
            **({"metrics": {"elapsed": told.updated - told.started}} if told.metrics else {}),
            **({"price": price} if told.microusd is not None else {}),
            **({"error": told.error} if told.error is not None else {}),
        }
    )


def refused(error: JobRefused, *, at: float) -> bytes:
    """Return the record of a job that was refused."""
    return orjson.dumps(
        {
            **{name: error.job[name] for name in ("type", "config") if name in error.job},
            "created_at": _moment(at),
            "updated_at": _moment(at),
            "expires_at": _moment(at + KEEP_SECONDS),
            "id": str(uuid.uuid4()),
            "state": {"current": "failed"},
            "error": str(error),
        }
    )


def _moment(seconds: float) -> str:
    """Return a moment with milliseconds and `Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refuse_unknown(value: Mapping[str, Any], known: tuple[str, ...], path: str, job: Mapping[str, Any]) -> None:
    """Refuse fields that a schema with `additionalProperties: false` does not name."""
    unknown = [name for name in value if name not in known]
    if unknown:
        raise JobRefused(f"{path}: additional properties {', '.join(map(repr, unknown))} not allowed", job)


def _resolution(config: Mapping[str, Any], job: Mapping[str, Any]) -> tuple[int, int]:
    """Read the size of a picture that is made."""
    text = config.get("resolution")
    if not TYPES[job["type"]].makes or text is None:
        return _MADE_SIZE
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text) if isinstance(text, str) else None
    if found is None:
        raise JobRefused("config.resolution: does not match pattern '^\\d+x\\d+$'", job)
    width, height = int(found[1]), int(found[2])
    for side in (width, height):
        if side not in _MADE_SIDES:
            least, most = _MADE_SIDES.start, _MADE_SIDES.stop - 1
            raise JobRefused(f"config.resolution: got a side of {side:,}, want {least} to {most:,}", job)
    return width, height


def _prompt(config: Mapping[str, Any], job: Mapping[str, Any]) -> str:
    """Read the prompt where the type takes one."""
    if not TYPES[job["type"]].prompted:
        return ""
    prompt = config.get("prompt")
    if prompt is None:
        raise JobRefused("config: missing property 'prompt'", job)
    if not isinstance(prompt, str):
        raise JobRefused("config.prompt: got something else, want string", job)
    if not prompt:
        raise JobRefused("config.prompt: minLength: got 0, want 1", job)
    most = TYPES[job["type"]].most_prompt
    if len(prompt) > most:
        raise JobRefused(f"config.prompt: maxLength: got {len(prompt):,}, want {most:,}", job)
    return prompt


def _threshold(config: Mapping[str, Any], job: Mapping[str, Any]) -> float:
    """Read the threshold where the type takes one."""
    if "confidence_threshold" not in TYPES[job["type"]].config:
        return 0.0
    threshold = config.get("confidence_threshold", 0.5)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise JobRefused("config.confidence_threshold: got something else, want number", job)
    if threshold > 1:
        raise JobRefused(f"config.confidence_threshold: maximum: got {threshold:g}, want 1", job)
    if threshold < 0:
        raise JobRefused(f"config.confidence_threshold: minimum: got {threshold:g}, want 0", job)
    return threshold


def _picture(parts: tuple[Part, ...], job: Mapping[str, Any]) -> bytes | None:
    """Return the one picture; the same one twice is what Prodia's client sends for a File, and is fine."""
    if not TYPES[job["type"]].max_side:
        return None
    files = {part.data for part in parts if part.name == "input"}
    if len(files) != 1:
        raise JobRefused(f"input: exactly one image is needed, got {len(files)}", job)
    picture = files.pop()
    if len(picture) > LARGEST_FILE:
        raise JobRefused(f"input: maximum size: got {len(picture):,}, want {LARGEST_FILE:,} bytes", job)
    return picture
