"""What faults make of the output of a run: the forms that clients of this and of related services have met."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from providers.sandbox.faults import Fault, Kind, find
from providers.sandbox.runflow_run import Result

_LISTS = ((Kind.SCORES, "scores", "score"), (Kind.BOXES, "boxes", "box"))


def without_masks(result: Result, faults: Sequence[Fault]) -> Result:
    """Return a result that found nothing, where the faults want it so."""
    fault = find(faults, Kind.NO_OUTPUTS)
    return result if fault is None or fault["form"] != "empty" else replace(result, masks=(), preview=None)


def twisted(fields: Mapping[str, Any], faults: Sequence[Fault]) -> dict[str, Any]:
    """Return the model's own fields (image, masks, metadata, scores, boxes) as the faults have them."""
    told = dict(fields)
    for kind, name, single in _LISTS:
        fault = find(faults, kind)
        if fault is not None and told.get(name) is not None:
            _twist_list(told, name, single, fault["form"])
    form = find(faults, Kind.OUTPUT_FORM)
    if form is not None and form["form"] == "strings" and "masks" in told:
        told["image"] = told["image"]["url"] if told["image"] else None
        told["masks"] = [mask["url"] for mask in told["masks"]]
    return told


def reshaped(output: dict[str, Any], urls: list[str], faults: Sequence[Fault]) -> dict[str, Any] | None:
    """Return a whole output as the faults have it; *urls* are the masks' addresses."""
    nothing, form = find(faults, Kind.NO_OUTPUTS), find(faults, Kind.OUTPUT_FORM)
    if nothing is not None and nothing["form"] != "empty":
        return None if nothing["form"] == "null" else {}
    if form is None or form["form"] == "strings":
        return output
    if form["form"] == "output_url":
        return {"output_url": urls[0] if urls else None}
    return {"image" if form["form"] == "image_list" else "image_urls": urls}


def has_nan(faults: Sequence[Fault]) -> bool:
    """Say whether something in the output is no number, which JSON cannot write."""
    return any(fault.kind in (Kind.SCORES, Kind.BOXES) and fault["form"] == "nan" for fault in faults)


def _twist_list(told: dict[str, Any], name: str, single: str, form: str) -> None:
    """Change one list of values, and the values of metadata with it."""
    values: list[Any] = told[name]
    if form == "missing":
        del told[name]
    else:
        told[name] = _FORMS[form](values)
    per_mask: list[Any] = [None] * len(values) if form == "null" else _FORMS.get(form, list)(values)
    if form == "nested":
        per_mask = [[value] for value in values]
    metadata = [dict(entry) for entry in told["metadata"]]
    for index, entry in enumerate(metadata):
        if form == "missing" or index >= len(per_mask):
            del entry[single]
        else:
            entry[single] = per_mask[index]
    told["metadata"] = metadata


def _with_nan(value: Any) -> Any:
    """Return NaN in the place of every number."""
    return [math.nan] * len(value) if isinstance(value, list) else math.nan


_FORMS: Mapping[str, Callable[[list[Any]], Any]] = {
    "null": lambda _: None,
    "nulls": lambda values: [value if index % 2 else None for index, value in enumerate(values)],
    "short": lambda values: values[:-1],
    "nested": lambda values: [values],
    "nan": lambda values: [_with_nan(value) for value in values],
}
