"""Mask files in every form of the wild, on either provider."""

from __future__ import annotations

import io
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from providers.contract import Mask
from providers.sandbox.faults import MaskForm
from providers.sandbox.mask_files import reformed

GREY = np.zeros((37, 50), np.uint8)
GREY[5:20, 10:33] = 255
GREY[30:, 45:] = 255
SOLID = GREY > 0
PLAIN = cv2.imencode(".png", GREY)[1].tobytes()

PIXELS: dict[str, Any] = {
    "1bit": np.array,
    "2bit": lambda image: np.array(image.convert("L")) == 255,
    "4bit": lambda image: np.array(image.convert("L")) == 255,
    "16bit": lambda image: np.array(image) == 65_535,
    "palette": lambda image: np.array(image.convert("L")) == 255,
    "grey_alpha": lambda image: np.array(image)[:, :, 1] == 255,
    "rgba": lambda image: np.array(image)[:, :, 3] == 255,
    "jpeg": lambda image: np.array(image) > 127,
    "webp": lambda image: np.array(image)[:, :, 0] == 255,
    "inverted": lambda image: np.array(image) == 0,
    "soft": lambda image: np.array(image) > 127,
}
"""How the object is read from each form that holds it whole."""

MODES = {
    "1bit": "1",
    "16bit": "I;16",
    "palette": "P",
    "grey_alpha": "LA",
    "rgba": "RGBA",
    "jpeg": "L",
    "webp": "RGB",
}


@pytest.mark.parametrize("form", list(PIXELS))
def test_a_form_holds_the_object(form: str) -> None:
    """Another library reads the same object from it, in the mode that was meant."""
    media_type, data = reformed(PLAIN, MaskForm(form))
    image = Image.open(io.BytesIO(data))
    assert (MODES.get(form, "L"), (50, 37), media_type) == (image.mode, image.size, Image.MIME[image.format or ""])
    found = PIXELS[form](image)
    wrong = int((found != SOLID).sum())
    assert wrong <= (20 if form in ("jpeg", "soft") else 0)


@pytest.mark.parametrize(("form", "depth"), [("1bit", 1), ("2bit", 2), ("4bit", 4), ("16bit", 16), ("inverted", 8)])
def test_a_depth_is_the_header_s(form: str, depth: int) -> None:
    """The bits of a sample stand in the PNG's header."""
    assert depth == reformed(PLAIN, MaskForm(form))[1][24]


def test_a_lossy_and_a_soft_mask_have_values_between() -> None:
    """JPEG rings around edges, and blurred edges are neither black nor white."""
    for form in (MaskForm.JPEG, MaskForm.SOFT):
        values = set(np.unique(np.array(Image.open(io.BytesIO(reformed(PLAIN, form)[1])))).tolist())
        assert values - {0, 255}


@pytest.mark.parametrize(
    ("form", "size", "values"),
    [
        (MaskForm.ALL_BLACK, (50, 37), {0}),
        (MaskForm.ALL_WHITE, (50, 37), {255}),
        (MaskForm.OTHER_SIZE, (25, 19), {0, 255}),
    ],
)
def test_a_form_says_something_else(form: MaskForm, size: tuple[int, int], values: set[int]) -> None:
    """Nothing, everything, or the object at half the size."""
    image = Image.open(io.BytesIO(reformed(PLAIN, form)[1]))
    assert (size, values) == (image.size, set(np.unique(np.array(image)).tolist()))


def test_half_a_file_cannot_be_read() -> None:
    """It opens and does not load."""
    with pytest.raises((OSError, SyntaxError)):
        np.array(Image.open(io.BytesIO(reformed(PLAIN, MaskForm.TRUNCATED)[1])))


def test_a_checksum_is_wrong() -> None:
    """The pixels' chunk is whole and does not match its checksum; all the others do."""
    data = reformed(PLAIN, MaskForm.BAD_CRC)[1]
    start, right = 8, {}
    while start < len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4])
        name = data[start + 4 : start + 8].decode()
        right[name] = zlib.crc32(data[start + 4 : end]) == int.from_bytes(data[end : end + 4])
        start = end + 4
    assert {"IHDR": True, "IDAT": False, "IEND": True} == right


@pytest.mark.parametrize(("form", "side"), [(MaskForm.ZERO_BY_ZERO, 0), (MaskForm.HUGE_HEADER, 65_535)])
def test_a_header_claims_an_impossible_size(form: MaskForm, side: int) -> None:
    """The header says so in a file of some bytes."""
    data = reformed(PLAIN, form)[1]
    assert ((side, side), True) == ((int.from_bytes(data[16:20]), int.from_bytes(data[20:24])), len(data) < 100)


def test_what_is_no_picture_is_left_alone() -> None:
    """Bytes that cannot be decoded pass through."""
    assert ("application/octet-stream", b"no picture") == reformed(b"no picture", MaskForm.SOFT)


async def test_both_providers_send_the_form(control: Any, runflow: Any, prodia: Any, split_parts: Any) -> None:
    """Runflow's downloads and Prodia's outputs are of the form that is on, under its media type."""
    for upstream in ("runflow-eu", "prodia"):
        await control.strike(upstream, {"kind": "mask_form", "form": "jpeg"})
    run = await runflow.run((await control.scene("desk"))["image_url"], prompt="pen")
    async with runflow.session.get(run["output"]["model_data"]["masks"][0]["url"]) as answer:
        downloaded = answer.content_type, await answer.read()
    _, headers, body = await prodia.segment(await control.picture("desk"), "pen")
    head, data = split_parts(headers["Content-Type"], body)[1]
    assert [("image/jpeg", b"\xff\xd8")] * 2 == [
        (media_type, file[:2]) for media_type, file in (downloaded, (head["Content-Type"], data))
    ]


async def test_there_are_too_many_masks(control: Any, runflow: Any, prodia: Any, split_parts: Any) -> None:
    """Of two shoes thirty-three masks come, the true ones first, no two alike."""
    for upstream in ("runflow-eu", "prodia"):
        await control.strike(upstream, {"kind": "too_many_masks"})
    run = await runflow.run((await control.scene("shoes"))["image_url"], prompt="shoe", include_scores=True)
    masks = await runflow.masks(run)
    truth = await control.truth("shoes", "left shoe", "right shoe")
    assert (truth, 33, 33) == (masks[:2], len(masks), len({mask.counts for mask in masks}))
    assert 33 == len(run["output"]["model_data"]["scores"])
    _, headers, body = await prodia.segment(await control.picture("shoes"), "shoe")
    assert 1 + 33 == len(split_parts(headers["Content-Type"], body))
    assert 2 == len(await control.books())


async def test_masks_come_twice(control: Any, runflow: Any, prodia: Any, split_parts: Any, decode_mask: Any) -> None:
    """Each mask is followed by itself, under an address or a file name of its own."""
    for upstream in ("runflow-eu", "prodia"):
        await control.strike(upstream, {"kind": "duplicate_masks"})
    run = await runflow.run((await control.scene("shoes"))["image_url"], prompt="shoe")
    left, right = await control.truth("shoes", "left shoe", "right shoe")
    assert [left, left, right, right] == await runflow.masks(run)
    assert 4 == len({image["url"].partition("?")[0] for image in run["output"]["model_data"]["masks"]})
    _, headers, body = await prodia.segment(await control.picture("shoes"), "shoe")
    outputs = split_parts(headers["Content-Type"], body)[1:]
    assert [left, left, right, right] == [Mask.from_bitmap(decode_mask(data)) for _, data in outputs]
    assert 4 == len({head["Content-Disposition"] for head, _ in outputs})


async def test_what_found_nothing_stays_nothing(control: Any, runflow: Any) -> None:
    """Of no mask no thirty-three can be made."""
    await control.strike("runflow-eu", [{"kind": "too_many_masks"}, {"kind": "duplicate_masks"}])
    run = await runflow.run((await control.scene("desk"))["image_url"], prompt="submarine")
    assert [] == run["output"]["model_data"]["masks"]
