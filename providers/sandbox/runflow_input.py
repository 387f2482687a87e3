"""
What a Runflow caller may send: the body of a new run and of a new asset, read strictly.

Strictness is invented where the documents are silent (unknown fields are refused), so that a misspelt field of a
client shows here and not as a strange mask.

Source: docs.runflow.io/models/meta/sam-3/image and www.runflow.io/api/models/meta/sam-3/image/llms.txt (fields,
defaults), api-reference (client_ref, callback_url), guides/upload-large-files (assets); read 2026-11-20.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from providers.contract import Box, ObjectPrompt, Point

T = TypeVar("T")

LARGEST_ASSET = 52_428_800
FORMATS = ("jpeg", "png", "webp")


class InvalidInput(Exception):
    """The body breaks the documented schema."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        """Hold one `{field, message}` for each fault (item shape invented)."""
        super().__init__("; ".join(f"{error['field']}: {error['message']}" for error in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class RunInput:
    """Input of `meta/sam-3/image`, defaults filled in."""

    image_url: str
    prompt: str
    objects: tuple[ObjectPrompt, ...]
    apply_mask: bool
    sync_mode: bool
    output_format: str
    return_multiple_masks: bool
    max_masks: int
    include_scores: bool
    include_boxes: bool


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A new run."""

    input: RunInput
    echo: Mapping[str, Any]
    """The caller's input as it came, for the run record."""
    client_ref: str | None
    metadata: Mapping[str, Any] | None
    callback_url: str | None


@dataclass(frozen=True, slots=True)
class AssetRequest:
    """A new upload."""

    filename: str
    mime_type: str
    size_bytes: int


class _Reader:
    """Reads the fields of one object and gathers what is wrong with them."""

    def __init__(self, value: Any, path: str) -> None:
        """Read *value*, whose fields are named under *path* in messages."""
        self.errors: list[dict[str, str]] = []
        self._path = path
        self._taken: set[str] = set()
        self._value: Mapping[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            self.wrong("", "must be an object")

    def wrong(self, name: str, message: str) -> None:
        """Note a fault."""
        self.errors.append({"field": f"{self._path}{name}".rstrip("."), "message": message})

    def take(self, name: str, read: Callable[[Any], T], default: T, *, required: bool = False) -> T:
        """Return a field's value, or *default* where it is absent, null or wrong."""
        self._taken.add(name)
        value = self._value.get(name)
        if value is None:
            if required:
                self.wrong(name, "field required")
            return default
        try:
            return read(value)
        except ValueError as error:
            self.wrong(name, str(error))
            return default

    def finish(self) -> list[dict[str, str]]:
        """Return all faults, unknown fields included."""
        for name in self._value:
            if name not in self._taken:
                self.wrong(name, "unknown field")
        return self.errors


def read_run(value: Any) -> RunRequest:
    """
    Read the body of a new run.

    Raises:
        InvalidInput: naming every field that is wrong.
    """
    reader = _Reader(value, "")
    nothing: Mapping[str, Any] = {}
    echo = reader.take("input", _object, nothing, required=True)
    client_ref = reader.take("client_ref", _optional(_text(0, 255)), None)
    metadata = reader.take("metadata", _optional(_object), None)
    callback_url = reader.take("callback_url", _optional(_text(1, 2048)), None)
    errors = reader.finish()
    run_input, input_errors = _read_input(echo)
    if errors or input_errors:
        raise InvalidInput([*errors, *input_errors])
    return RunRequest(run_input, echo, client_ref, metadata, callback_url)


def read_asset(value: Any) -> AssetRequest:
    """
    Read the body of a new upload.

    Raises:
        InvalidInput: naming every field that is wrong.
    """
    reader = _Reader(value, "")
    request = AssetRequest(
        reader.take("filename", _text(1, 500), "", required=True),
        reader.take("mime_type", _text(1, 255), "", required=True),
        reader.take("size_bytes", _whole(1, LARGEST_ASSET), 0, required=True),
    )
    if errors := reader.finish():
        raise InvalidInput(errors)
    return request


def _read_input(value: Any) -> tuple[RunInput, list[dict[str, str]]]:
    """Read the model's input, and what is wrong with it."""
    reader = _Reader(value, "input.")
    text_prompt = reader.take("text_prompt", _text(0, 10_000), "wheel")
    no_points: list[tuple[int | None, Point]] = []
    no_boxes: list[tuple[int | None, Box]] = []
    points = reader.take("point_prompts", _listed(_point), no_points)
    boxes = reader.take("box_prompts", _listed(_box), no_boxes)
    run_input = RunInput(
        image_url=reader.take("image_url", _text(1, 100_000_000), "", required=True),
        prompt=reader.take("prompt", _text(0, 10_000), text_prompt),
        objects=_objects(points, boxes),
        apply_mask=reader.take("apply_mask", _flag, default=True),
        sync_mode=reader.take("sync_mode", _flag, default=False),
        output_format=reader.take("output_format", _format, "png"),
        return_multiple_masks=reader.take("return_multiple_masks", _flag, default=False),
        max_masks=reader.take("max_masks", _whole(1, 32), 3),
        include_scores=reader.take("include_scores", _flag, default=False),
        include_boxes=reader.take("include_boxes", _flag, default=False),
    )
    return run_input, reader.finish()


def _objects(points: list[tuple[int | None, Point]], boxes: list[tuple[int | None, Box]]) -> tuple[ObjectPrompt, ...]:
    """
    Bring prompts of one `object_id` together.

    Without an id every box is an object of its own; points without one belong to one object together (invented).
    """
    grouped: dict[int | None, tuple[list[Point], list[Box]]] = {}
    single: list[ObjectPrompt] = []
    for object_id, point in points:
        grouped.setdefault(object_id, ([], []))[0].append(point)
    for object_id, box in boxes:
        if object_id is None:
            single.append(ObjectPrompt(box=box))
        else:
            grouped.setdefault(object_id, ([], []))[1].append(box)
    return (*(ObjectPrompt(tuple(held), _around(framed)) for held, framed in grouped.values()), *single)


def _around(boxes: list[Box]) -> Box | None:
    """Return the box around all boxes of one object."""
    if not boxes:
        return None
    return Box(
        min(box.x_min for box in boxes),
        min(box.y_min for box in boxes),
        max(box.x_max for box in boxes),
        max(box.y_max for box in boxes),
    )


def _text(least: int, most: int) -> Callable[[Any], str]:
    """Read a string of so many characters."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise ValueError(f"must be a string of {least} to {most} characters")
        return value

    return read


def _whole(least: int, most: int) -> Callable[[Any], int]:
    """Read an integer within bounds."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"must be an integer from {least} to {most}")
        return value

    return read


def _flag(value: Any) -> bool:
    """Read a boolean."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - a value's fault to its writer
    return value


def _format(value: Any) -> str:
    """Read an output format."""
    if value not in FORMATS:
        raise ValueError(f"must be one of {', '.join(FORMATS)}")
    return str(value)


def _object(value: Any) -> Mapping[str, Any]:
    """Read an object."""
    if not isinstance(value, dict):
        raise ValueError("must be an object")  # noqa: TRY004 - a value's fault to its writer
    return value


def _optional(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """Let a reader's value be absent."""
    return read


def _listed(read: Callable[[Mapping[str, Any]], T]) -> Callable[[Any], list[T]]:
    """Read a list of objects; JSON text of one too, since older pages type these fields as strings."""

    def read_all(value: Any) -> list[T]:
        items = json.loads(value) if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ValueError("must be a list of objects")
        return [read(item) for item in items]

    return read_all


def _point(value: Mapping[str, Any]) -> tuple[int | None, Point]:
    """Read `{x, y, label, object_id?}`."""
    unknown = set(value) - {"x", "y", "label", "object_id", "frame_index"}
    label = value.get("label", 1)
    if unknown or label not in (0, 1, "0", "1"):
        raise ValueError("a point is {x, y, label: 0 or 1, object_id?} in pixels")
    position = _whole(0, 100_000)
    return _object_id(value), Point(position(value.get("x")), position(value.get("y")), positive=label in (1, "1"))


def _box(value: Mapping[str, Any]) -> tuple[int | None, Box]:
    """Read `{x_min, y_min, x_max, y_max, object_id?}`."""
    edges = ("x_min", "y_min", "x_max", "y_max")
    position = _whole(0, 100_000)
    x_min, y_min, x_max, y_max = (position(value.get(edge)) for edge in edges)
    if set(value) - {*edges, "object_id", "frame_index"} or x_min >= x_max or y_min >= y_max:
        raise ValueError("a box is {x_min, y_min, x_max, y_max, object_id?} in pixels, min below max")
    return _object_id(value), Box(x_min, y_min, x_max, y_max)


def _object_id(value: Mapping[str, Any]) -> int | None:
    """Read the id that groups prompts of one object."""
    object_id = value.get("object_id")
    return None if object_id is None else _whole(0, 2**31)(object_id)
