"""
The run record as the fake Runflow writes it, in each of the readings of an output that nobody has recorded.

Source: docs.runflow.io api-reference (fields of the run), docs.runflow.io/models/meta/sam-3/image (output schema), and
fal's schema of the same model, whose fields Runflow's copy (image, masks, metadata, scores, boxes; boxes are normalized
centre x, centre y, width, height); read 2026-11-20. Which of the variants the service uses is not known: all invented.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any

import orjson

from providers.contract import Box
from providers.sandbox.runflow_run import Artifact, Result, Run

COST = "0.005"
"""Decimal dollars, `config.RUNFLOW_MICROUSD` in the words of the run record."""

MODEL_ID = str(uuid.uuid5(uuid.NAMESPACE_DNS, "meta/sam-3/image"))
"""The record names models by a uuid. Invented."""


class Variant(StrEnum):
    """Where the masks of an output stand."""

    MODEL_DATA = "a"
    """`outputs` is the preview; `model_data` holds image, masks, metadata, scores and boxes."""
    OUTPUTS_WITH_PREVIEW = "b"
    """`outputs` is the preview and then the masks; `model_data` holds metadata, scores and boxes."""
    OUTPUTS_ONLY = "c"
    """`outputs` is the masks, and there is nothing else."""
    LEGACY = "d"
    """The output is fal's own, flat."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How outputs are written."""

    variant: Variant = Variant.MODEL_DATA
    json_strings: bool = False
    """Whether the model's own fields are JSON text instead of JSON, as the older pages type them."""


Address = Callable[[Artifact], str]
"""Returns where an artifact can be downloaded: a freshly signed address, or a data: URI."""


def moment(seconds: float | None) -> str | None:
    """Return a moment since the epoch as Runflow writes it, `+00:00` at its end."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


@cache
def organization(upstream: str) -> str:
    """Return the id of the one organization that an upstream knows."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{upstream}.sandbox"))


def duration_ms(run: Run) -> int | None:
    """Return how long a run took from start to end, in milliseconds."""
    if run.completed_at is None or run.started_at is None:
        return None
    return round((run.completed_at - run.started_at) * 1000)


def record(run: Run, *, upstream: str, region: str, writing: Writing, address: Address) -> dict[str, Any]:
    """Return the run as JSON values."""
    failure = run.failure
    return {
        "id": run.id,
        "status_code": run.status,
        "source_code": "api",
        "target_type": "model",
        "target_version": None,
        "model_id": MODEL_ID,
        "flow_id": None,
        "comfyui_workflow_id": None,
        "org_id": organization(upstream),
        "batch_id": None,
        "resolved_template_id": None,
        "flow_version_id": None,
        "input": shortened(run.request.echo),
        "output": output(run, writing=writing, address=address),
        "context": None,
        "metadata": run.request.metadata,
        "client_ref": run.request.client_ref,
        "callback_url": run.request.callback_url,
        "request_id": None,
        "jurisdiction_code": region,
        "created_by": None,
        "cost": COST if run.result is not None else None,
        "cost_breakdown": None,
        "duration_ms": duration_ms(run),
        "nodes_total": None,
        "nodes_completed": None,
        "has_logs": False,
        "has_node_runs": False,
        "links": {},
        "created_at": moment(run.created_at),
        "started_at": moment(run.started_at),
        "completed_at": moment(run.completed_at),
        "failure_code": failure.code if failure else None,
        "failure_message": failure.message if failure else None,
        "failure_stage_code": failure.stage if failure else None,
        "node_runs": None,
        "logs": None,
        "current_evaluation_summary": None,
    }


def shortened(echo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the caller's input without the bytes of a data: URI, which the service takes out too."""
    url = echo.get("image_url")
    if isinstance(url, str) and url.startswith("data:"):
        return {**echo, "image_url": url.partition(",")[0]}
    return dict(echo)


def output(run: Run, *, writing: Writing, address: Address) -> dict[str, Any] | None:
    """Return what a succeeded run found; None for any other."""
    result = run.result
    if result is None or run.status != "succeeded":
        return None
    masks = [_image(mask, result, address) for mask in result.masks]
    preview = _image(result.preview, result, address) if result.preview is not None else None
    details = _details(run, result)
    shown = [preview] if preview is not None else []
    if writing.variant is Variant.LEGACY:
        return _written({"image": preview, "masks": masks, **details}, writing)
    if writing.variant is Variant.MODEL_DATA:
        return _output(shown, _written({"image": preview, "masks": masks, **details}, writing))
    if writing.variant is Variant.OUTPUTS_WITH_PREVIEW:
        return _output([*shown, *masks], _written(details, writing))
    return _output(masks, {})


def _output(images: list[dict[str, Any]], model_data: dict[str, Any]) -> dict[str, Any]:
    """Return the documented output object."""
    entries = [
        {"url": image["url"], "type": "image", "width": image["width"], "height": image["height"], "duration": None}
        for image in images
    ]
    return {"outputs": entries, "model_data": model_data, "nsfw_detected": None, "seed": None, "timing": None}


def _written(fields: dict[str, Any], writing: Writing) -> dict[str, Any]:
    """Return fields as JSON, or each as JSON text."""
    if not writing.json_strings:
        return fields
    return {name: orjson.dumps(value).decode() for name, value in fields.items()}


def _image(artifact: Artifact, result: Result, address: Address) -> dict[str, Any]:
    """Return fal's Image object."""
    return {
        "url": address(artifact),
        "content_type": artifact.media_type,
        "file_name": artifact.path.rsplit("/", 1)[1],
        "file_size": artifact.size,
        "width": result.width,
        "height": result.height,
    }


def _details(run: Run, result: Result) -> dict[str, Any]:
    """Return metadata, scores and boxes, as far as they were asked for."""
    wanted = run.request.input
    scores = [mask.score for mask in result.masks] if wanted.include_scores else None
    boxes = [_normalized(mask.box, result) for mask in result.masks] if wanted.include_boxes else None
    metadata = [
        {"index": index, "score": scores[index] if scores else None, "box": boxes[index] if boxes else None}
        for index in range(len(result.masks))
    ]
    return {"metadata": metadata, "scores": scores, "boxes": boxes}


def _normalized(box: Box | None, result: Result) -> list[float] | None:
    """Return centre x, centre y, width and height, each in [0, 1]."""
    if box is None:
        return None
    return [
        (box.x_min + box.x_max) / 2 / result.width,
        (box.y_min + box.y_max) / 2 / result.height,
        (box.x_max - box.x_min) / result.width,
        (box.y_max - box.y_min) / result.height,
    ]
