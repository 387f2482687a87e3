"""
Points and boxes of SAM 3, as the fake Runflow reads them, brought together to objects.

Source: docs.runflow.io/models/meta/sam-3/image (fields, `object_id`), fal's schema of the same model (their members);
read 2026-11-20. That points without an id belong to one object is invented.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from providers.contract import Box, ObjectPrompt, Point
from providers.sandbox.body_reader import read_whole

T = TypeVar("T")


def to_objects(points: list[tuple[int | None, Point]], boxes: list[tuple[int | None, Box]]) -> tuple[ObjectPrompt, ...]:
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


def read_list(read: Callable[[Mapping[str, Any]], T]) -> Callable[[Any], list[T]]:
    """Read a list of objects; JSON text of one too, since older pages type these fields as strings."""

    def read_all(value: Any) -> list[T]:
        items = json.loads(value) if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ValueError("must be a list of objects")
        return [read(item) for item in items]

    return read_all


def read_point(value: Mapping[str, Any]) -> tuple[int | None, Point]:
    """Read `{x, y, label, object_id?}`."""
    unknown = set(value) - {"x", "y", "label", "object_id", "frame_index"}
    label = value.get("label", 1)
    if unknown or label not in (0, 1, "0", "1"):
        raise ValueError("a point is {x, y, label: 0 or 1, object_id?} in pixels")
    position = read_whole(0, 100_000)
    return _object_id(value), Point(position(value.get("x")), position(value.get("y")), positive=label in (1, "1"))


def read_box(value: Mapping[str, Any]) -> tuple[int | None, Box]:
    """Read `{x_min, y_min, x_max, y_max, object_id?}`."""
    edges = ("x_min", "y_min", "x_max", "y_max")
    position = read_whole(0, 100_000)
    x_min, y_min, x_max, y_max = (position(value.get(edge)) for edge in edges)
    if set(value) - {*edges, "object_id", "frame_index"} or x_min >= x_max or y_min >= y_max:
        raise ValueError("a box is {x_min, y_min, x_max, y_max, object_id?} in pixels, min below max")
    return _object_id(value), Box(x_min, y_min, x_max, y_max)


def _object_id(value: Mapping[str, Any]) -> int | None:
    """Read the id that groups prompts of one object."""
    object_id = value.get("object_id")
    return None if object_id is None else read_whole(0, 2**31)(object_id)
