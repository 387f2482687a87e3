"""
The run record as the fake Runflow writes it, in each of the readings of an output that nobody has recorded.

Source: docs.runflow.io api-reference (fields of the run), docs.runflow.io/models/meta/sam-3/image (output schema), and
fal's schema of the same model, whose fields Runflow's copy (image, masks, metadata, scores, boxes; boxes are normalized
centre x, centre y, width, height); read 2026-11-20. Which of the variants the service uses is not known: all invented.
Smart Segmentation's output is that of a sibling, runflow/smart-resize, as its users report it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from providers.contract import Box
from providers.sandbox.answer import write_json
from providers.sandbox.faults import Fault
from providers.sandbox.runflow_habits import Variant, Writing
from providers.sandbox.runflow_products import SMART, dollars
from providers.sandbox.runflow_run import WITH_OUTPUT, Artifact, Result, Run
from providers.sandbox.runflow_twists import has_nan, reshaped, twisted, without_masks

Address = Callable[[Artifact], str]
"""Returns where an artifact can be downloaded: a freshly signed address, or a data: URI."""


@dataclass(frozen=True, slots=True)
class View:
    """How runs are told to one caller."""

    upstream: str
    region: str
    writing: Writing
    address: Address
    faults: tuple[Fault, ...] = ()
    """Those that strike the telling."""


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


def record(run: Run, view: View, *, status: str) -> dict[str, Any]:
    """Return the run as JSON values, in *status*, which is its own unless a fault says otherwise."""
    failure = run.failure if status == "failed" else None
    found = status in WITH_OUTPUT
    return {
        "id": run.id,
        "status_code": status,
        "source_code": "api",
        "target_type": "model",
        "target_version": None,
        "model_id": run.request.product.id,
        "flow_id": None,
        "comfyui_workflow_id": None,
        "org_id": organization(view.upstream),
        "batch_id": None,
        "resolved_template_id": None,
        "flow_version_id": None,
        "input": shortened(run.request.echo),
        "output": output(run, view) if found else None,
        "context": None,
        "metadata": run.request.metadata,
        "client_ref": run.request.client_ref,
        "callback_url": run.request.callback_url,
        "request_id": None,
        "jurisdiction_code": view.region,
        "created_by": None,
        "cost": dollars(run.microusd) if found else None,
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


def output(run: Run, view: View) -> dict[str, Any] | None:
    """Return what a run found that brought something; None for any other."""
    if run.result is None or run.status not in WITH_OUTPUT:
        return None
    result = without_masks(run.result, view.faults)
    masks = [_image(mask, result, view.address) for mask in result.masks]
    urls = [mask["url"] for mask in masks]
    if run.request.product is SMART:
        entries = [{"url": url, "type": "image"} for url in urls]
        return reshaped({"outputs": entries, "seed": None, "timing": None, "nsfw_detected": None}, urls, view.faults)
    return reshaped(_written_output(run, result, masks, view), urls, view.faults)


def flat(run: Run, view: View, *, texts: bool) -> dict[str, Any] | None:
    """
    Return the output of SAM 3 as the older generations answer it: fal's own.

    Args:
        run: a run that succeeded.
        view: how it is told.
        texts: whether metadata, scores and boxes are JSON text; image and masks never are, their examples read them.
    """
    assert run.result is not None
    result = without_masks(run.result, view.faults)
    masks = [_image(mask, result, view.address) for mask in result.masks]
    details = twisted({"image": _preview(result, view.address), "masks": masks, **_details(run, result)}, view.faults)
    if texts:
        spared = {name: details[name] for name in ("image", "masks")}
        details = {**_texts(details, view.faults), **spared}
    return reshaped(details, [mask["url"] for mask in masks], view.faults)


def _written_output(run: Run, result: Result, masks: list[dict[str, Any]], view: View) -> dict[str, Any]:
    """Return SAM 3's output in the variant that is on."""
    variant = view.writing.variant
    preview = _preview(result, view.address)
    shown = [preview] if preview is not None else []
    if variant is Variant.OUTPUTS_ONLY:
        return _output(masks, {})
    fields = twisted({"image": preview, "masks": masks, **_details(run, result)}, view.faults)
    if variant is Variant.OUTPUTS_WITH_PREVIEW:
        fields = {name: value for name, value in fields.items() if name not in ("image", "masks")}
    if view.writing.json_strings:
        fields = _texts(fields, view.faults)
    if variant is Variant.LEGACY:
        return fields
    return _output([*shown, *masks] if variant is Variant.OUTPUTS_WITH_PREVIEW else shown, fields)


def _preview(result: Result, address: Address) -> dict[str, Any] | None:
    """Return the preview, which is there when anything was found."""
    return _image(result.preview, result, address) if result.preview is not None else None


def _output(images: list[dict[str, Any]], model_data: dict[str, Any]) -> dict[str, Any]:
    """Return the documented output object."""
    entries = [
        {"url": image["url"], "type": "image", "width": image["width"], "height": image["height"], "duration": None}
        for image in images
    ]
    return {"outputs": entries, "model_data": model_data, "nsfw_detected": None, "seed": None, "timing": None}


def _texts(fields: Mapping[str, Any], faults: tuple[Fault, ...]) -> dict[str, Any]:
    """Return each field as JSON text."""
    return {name: write_json(value, nan=has_nan(faults)).decode() for name, value in fields.items()}


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
