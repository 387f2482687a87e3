"""
All instances of a run as one COCO file of object detections with masks.

Source: https://cocodataset.org/#format-data, read 2026-11: `bbox` is `[x, y, width, height]`, `segmentation` of a mask
with holes is its runs, ids count from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from gateway.cli.run import Outcome
from gateway.client import Found

#: The category of an instance that has no word for it.
UNNAMED = "object"


def write_coco(file: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the answered pictures of a run, in the order of their names, and every instance found in them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(orjson.dumps(coco(outcomes), option=orjson.OPT_APPEND_NEWLINE))


def coco(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return what `write_coco` writes."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.picture.name):
        answer = outcome.answer
        if answer is None:
            continue
        image_id = len(images) + 1
        name = outcome.picture.name
        images.append({"id": image_id, "file_name": name, "width": answer.width, "height": answer.height})
        for found in answer.instances:
            category_id = categories.setdefault(found.label or UNNAMED, len(categories) + 1)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id, "category_id": category_id, **_annotation(found)}
            )
    return {
        "info": {"description": "Segmented with Maskgate"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }


def _annotation(found: Found) -> dict[str, Any]:
    assert found.mask is not None
    mask = found.mask.mask()
    box = found.box
    return {
        "segmentation": {"size": list(mask.size), "counts": mask.counts},
        "bbox": [box.x_min, box.y_min, box.x_max - box.x_min, box.y_max - box.y_min],
        "area": found.area,
        "iscrowd": 0,
        "score": found.score,
    }
