"""
Where the masks are in a run's output.

The documents say that outputs are normalized and do not say into what, so the masks are looked for in every place that
they allow, in this order:

    masks                 in output.model_data, then output, then the record itself      (with image = a preview)
    outputs[]             the same places; one entry more than there are scores: the first is the preview
    image_urls[], image, url, output_url

Any value may be JSON or a JSON text of it, any mask an address or an object with one.

Source: https://docs.runflow.io/models/meta/sam-3/image, https://docs.runflow.io/concepts/runs,
https://fal.ai/models/fal-ai/sam-3/image (whose fields Runflow's copy), read 2026-11-20. No recorded run was available.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from providers.contract import is_data_uri
from providers.upstream_json import read_json

NormalBox = tuple[float, float, float, float]
"""Centre x, centre y, width and height, in parts of the picture's width and height."""


#: Entries of a list that are looked at; no model gives more than 32 masks.
_MOST_ENTRIES = 512


@dataclass(frozen=True, slots=True)
class NamedMask:
    """One mask as the output names it."""

    url: str
    """An http(s) address, mostly signed and short-lived, or a data URI."""
    score: float | None
    box: NormalBox | None = None
    """Where Runflow says that its object is."""


@dataclass(frozen=True, slots=True)
class RunOutput:
    """What a run gave."""

    files: tuple[NamedMask, ...]
    """In the provider's order; empty when nothing was found."""
    nameless: int = 0
    """Masks that were listed without an address."""
    further: int = 0
    """Masks that were listed beyond any number that was asked for, and not looked at."""


def read_output(record: dict[str, Any]) -> RunOutput | None:
    """
    Return the masks that a run record names; None where it names none in any known way.

    None is not "nothing found": that is an empty list of masks or of outputs.
    """
    places = _places(record)
    details = _details(places)
    masks = _look(places, "masks")
    if masks is not None:
        return _files(_as_list(masks), details)
    outputs = _look(places, "outputs")
    if outputs is not None:
        entries = [entry for entry in _as_list(outputs) if _is_image(entry)]
        with_preview = details.count is not None and len(entries) == details.count + 1
        return _files(entries[1:] if with_preview else entries, details)
    for key in ("image_urls", "image", "url", "output_url"):
        value = _look(places, key)
        if value is not None:
            return _files(_as_list(value), details)
    return None


def final(output: RunOutput) -> RunOutput:
    """
    Return the output without a workflow's intermediates, where a file is named as its result.

    Source: https://protos.runflow.io/dyver-showcase (the final picture has `result_` in its address), read 2026-11-20.
    """
    results = tuple(file for file in output.files if _file_name(file.url).startswith("result"))
    return RunOutput(results, output.nameless, output.further) if results else output


def _places(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects to look in, innermost first."""
    output = _decoded(record.get("output"))
    if isinstance(output, list):
        output = {"outputs": output}
    if isinstance(output, str):
        output = {"url": output}
    model_data = _decoded(output.get("model_data")) if isinstance(output, dict) else None
    return [place for place in (model_data, output, record) if isinstance(place, dict)]


def _look(places: list[dict[str, Any]], key: str) -> Any:
    """Return the first value under *key* that is not null."""
    for place in places:
        value = _decoded(place.get(key))
        if value is not None:
            return value
    return None


def _decoded(value: Any) -> Any:
    """Return the value inside a JSON text, and any other value as it is."""
    if (isinstance(value, str) and value[:1] in {"[", "{"}) or value == "null":
        try:
            return read_json(value.encode())
        except ValueError:
            return value
    return value


def _as_list(value: Any) -> list[Any]:
    """Return a list as it is, and one thing as a list of it."""
    return value if isinstance(value, list) else [value]


def _is_image(entry: Any) -> bool:
    """Whether an entry of outputs[] is a picture, as far as it says what it is."""
    entry = _decoded(entry)
    kind = entry.get("type") if isinstance(entry, dict) else None
    return not isinstance(kind, str) or kind.startswith("image")


def _files(entries: list[Any], details: _Details) -> RunOutput:
    """Return the entries as files with their scores and boxes, each address once."""
    files: dict[str, NamedMask] = {}
    nameless = 0
    for place, entry in enumerate(entries[:_MOST_ENTRIES]):
        url = _url(_decoded(entry))
        if url is None:
            nameless += 1
            continue
        # By the whole address: in many stores the query says which file it is. What is signed twice has equal pixels.
        files.setdefault(url, NamedMask(url, details.scores.get(place), details.boxes.get(place)))
    return RunOutput(tuple(files.values()), nameless, max(0, len(entries) - _MOST_ENTRIES))


def _url(entry: Any) -> str | None:
    """Return the address in an entry; None where it has none."""
    url = entry.get("url") if isinstance(entry, dict) else entry
    return url if isinstance(url, str) and url else None


def _file_name(url: str) -> str:
    """Return the last part of an address's path."""
    return "" if is_data_uri(url) else url.split("?", 1)[0].rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class _Details:
    """What is said of the masks beside them."""

    scores: dict[int, float]
    """By the place of their mask."""
    boxes: dict[int, NormalBox]
    count: int | None
    """How many masks there are by all lists that count them; None where none does."""


def _details(places: list[dict[str, Any]]) -> _Details:
    """Return scores and boxes: from their own lists, else from the metadata."""
    scores = _unnested(_look(places, "scores"))
    metadata = _unnested(_look(places, "metadata"))
    boxes = _look(places, "boxes")
    inner = _unnested(boxes)  # four numbers where it was one box, boxes where the list was nested once more
    if isinstance(inner, list) and all(box is None or isinstance(box, list) for box in inner):
        boxes = inner
    counted = [len(value) for value in (scores, metadata, boxes) if isinstance(value, list)]
    by_place: dict[int, float] = {}
    boxes_by_place: dict[int, NormalBox] = {}
    for place, score in enumerate(scores if isinstance(scores, list) else []):
        _keep(by_place, place, score)
    for place, box in enumerate(boxes if isinstance(boxes, list) else []):
        _keep_box(boxes_by_place, place, box)
    for place, entry in enumerate(metadata if isinstance(metadata, list) else []):
        if isinstance(entry, dict):
            index = entry.get("index")
            where = index if type(index) is int else place
            _keep(by_place, where, entry.get("score"))
            _keep_box(boxes_by_place, where, entry.get("box"))
    return _Details(by_place, boxes_by_place, max(counted, default=None))


def _unnested(value: Any) -> Any:
    """Return the inner list of a list nested once."""
    return value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) else value


def _keep(by_place: dict[int, float], place: int, score: Any) -> None:
    """Keep a score where there is none yet and it is one."""
    if isinstance(score, int | Decimal) and not isinstance(score, bool) and 0 <= score <= 1:
        by_place.setdefault(place, float(score))


def _keep_box(by_place: dict[int, NormalBox], place: int, box: Any) -> None:
    """Keep a box where there is none yet and it is one: four parts of one, and some area."""
    if not isinstance(box, list) or len(box) != 4:
        return
    if all(isinstance(part, int | Decimal) and not isinstance(part, bool) and 0 <= part <= 1 for part in box):
        x, y, width, height = (float(part) for part in box)
        if width > 0 and height > 0:
            by_place.setdefault(place, (x, y, width, height))
