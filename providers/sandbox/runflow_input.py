"""
What a Runflow caller may send: the body of a new run in each generation and of a new asset, read strictly.

Strictness is invented where the documents are silent (unknown fields are refused unless that is switched off), so that
a misspelt field of a client shows here and not as a strange mask. So is the check of the extension for Smart
Segmentation: the page says only that the service infers its file name from the address.

Source: docs.runflow.io/models/meta/sam-3/image and www.runflow.io/api/models/meta/sam-3/image/llms.txt (fields,
defaults), api-reference (client_ref, callback_url), guides/upload-large-files (assets),
www.runflow.io/models/meta/sam-3/image/api (the flat body), www.runflow.io/models/runflow/smart-segmentation (image_url
and prompt); read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from providers.contract import Box, ObjectPrompt, Point
from providers.sandbox.body_reader import InvalidInput, Reader, or_none, read_flag, read_object, read_text, read_whole
from providers.sandbox.runflow_habits import Habits
from providers.sandbox.runflow_products import SAM3, SMART, Product
from providers.sandbox.runflow_prompts import read_box, read_list, read_point, to_objects

LARGEST_ASSET = 52_428_800
FORMATS = ("jpeg", "png", "webp")
_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class RunInput:
    """Input of a model in the fields of `meta/sam-3/image`, defaults filled in."""

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
    inverted: bool = False
    """Whether the masks are black where the object is."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A new run."""

    product: Product
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


def read_run(value: Any, *, strict: bool = True) -> RunRequest:
    """
    Read the body of a new run of SAM 3.

    Raises:
        InvalidInput: naming every field that is wrong.
    """
    return _read_request(value, SAM3, lambda echo: _read_input(echo, "input.", strict=strict), strict=strict)


def read_smart_run(value: Any, habits: Habits, *, strict: bool = True) -> RunRequest:
    """
    Read the body of a new run of Smart Segmentation.

    Raises:
        InvalidInput: naming every field that is wrong.
    """
    return _read_request(value, SMART, lambda echo: _read_smart_input(echo, habits, strict=strict), strict=strict)


def read_flat_run(value: Any, *, strict: bool = True) -> RunRequest:
    """
    Read the body of a run of the older generations, which is the input itself.

    Raises:
        InvalidInput: naming every field that is wrong.
    """
    run_input, errors = _read_input(value, "", strict=strict)
    if errors:
        raise InvalidInput(errors)
    return RunRequest(SAM3, run_input, value, None, None, None)


def read_cancellation(value: Any) -> str | None:
    """
    Read why a run is cancelled, where that is said.

    Raises:
        InvalidInput: it is not said in 3 to 500 characters.
    """
    reader = Reader(value, "")
    reason = reader.take("reason", or_none(read_text(3, 500)), None)
    if errors := reader.finish():
        raise InvalidInput(errors)
    return reason


def read_label(value: Any) -> str | None:
    """
    Read what a new signing secret is called, where that is said.

    Raises:
        InvalidInput: it has more than 255 characters.
    """
    reader = Reader(value, "")
    label = reader.take("label", or_none(read_text(0, 255)), None)
    if errors := reader.finish():
        raise InvalidInput(errors)
    return label


def _read_request(
    value: Any, product: Product, read_input: Callable[[Any], tuple[RunInput, list[dict[str, str]]]], *, strict: bool
) -> RunRequest:
    """Read what is around the input of a run, and the input."""
    reader = Reader(value, "")
    nothing: Mapping[str, Any] = {}
    echo = reader.take("input", read_object, nothing, required=True)
    client_ref = reader.take("client_ref", or_none(read_text(0, 255)), None)
    metadata = reader.take("metadata", or_none(read_object), None)
    callback_url = reader.take("callback_url", or_none(read_text(1, 2048)), None)
    errors = reader.finish(strict=strict)
    run_input, input_errors = read_input(echo)
    if errors or input_errors:
        raise InvalidInput([*errors, *input_errors])
    return RunRequest(product, run_input, echo, client_ref, metadata, callback_url)


def read_asset(value: Any) -> AssetRequest:
    """
    Read the body of a new upload.

    Raises:
        InvalidInput: naming every field that is wrong.
    """
    reader = Reader(value, "")
    request = AssetRequest(
        reader.take("filename", read_text(1, 500), "", required=True),
        reader.take("mime_type", read_text(1, 255), "", required=True),
        reader.take("size_bytes", read_whole(1, LARGEST_ASSET), 0, required=True),
    )
    if errors := reader.finish():
        raise InvalidInput(errors)
    return request


#: Invented: the page says "one or more mask/segmentation outputs", and no bound.
_MOST_SMART_MASKS = 32


def _read_smart_input(value: Any, habits: Habits, *, strict: bool) -> tuple[RunInput, list[dict[str, str]]]:
    """Read Smart Segmentation's input, and what is wrong with it."""
    reader = Reader(value, "input.")
    image_url = reader.take("image_url", read_text(1, 100_000_000), "", required=True)
    prompt = reader.take("prompt", read_text(1, 10_000), "", required=True)
    if habits.smart_extensions and image_url and not _has_extension(image_url):
        reader.wrong("image_url", f"must end in a file name with one of {', '.join(_EXTENSIONS)}")
    run_input = RunInput(
        image_url=image_url,
        prompt=prompt,
        objects=(),
        apply_mask=False,
        sync_mode=False,
        output_format=habits.smart_format,
        return_multiple_masks=habits.smart_masks == "each",
        max_masks=_MOST_SMART_MASKS,
        include_scores=False,
        include_boxes=False,
        inverted=habits.smart_polarity == "inverted",
    )
    return run_input, reader.finish(strict=strict)


def _has_extension(url: str) -> bool:
    """Say whether the path of an address ends like a picture's file name."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme != "data" and parts.path.lower().endswith(_EXTENSIONS)


def _read_input(value: Any, path: str, *, strict: bool) -> tuple[RunInput, list[dict[str, str]]]:
    """Read SAM 3's input, and what is wrong with it; its fields are named under *path* in messages."""
    reader = Reader(value, path)
    text_prompt = reader.take("text_prompt", read_text(0, 10_000), "wheel")
    no_points: list[tuple[int | None, Point]] = []
    no_boxes: list[tuple[int | None, Box]] = []
    points = reader.take("point_prompts", read_list(read_point), no_points)
    boxes = reader.take("box_prompts", read_list(read_box), no_boxes)
    run_input = RunInput(
        image_url=reader.take("image_url", read_text(1, 100_000_000), "", required=True),
        prompt=reader.take("prompt", read_text(0, 10_000), text_prompt),
        objects=to_objects(points, boxes),
        apply_mask=reader.take("apply_mask", read_flag, default=True),
        sync_mode=reader.take("sync_mode", read_flag, default=False),
        output_format=reader.take("output_format", _format, "png"),
        return_multiple_masks=reader.take("return_multiple_masks", read_flag, default=False),
        max_masks=reader.take("max_masks", read_whole(1, 32), 3),
        include_scores=reader.take("include_scores", read_flag, default=False),
        include_boxes=reader.take("include_boxes", read_flag, default=False),
    )
    return run_input, reader.finish(strict=strict)


def _format(value: Any) -> str:
    """Read an output format."""
    if value not in FORMATS:
        raise ValueError(f"must be one of {', '.join(FORMATS)}")
    return str(value)
