"""
Masks painted over their picture, for eyes: one colour an instance, translucent inside, a clear line around.

It decodes the picture; one that somebody else has made is for a decoder process.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import pybase64
from PIL import Image

from providers.contract import Bitmap, Mask
from providers.contract.headers import for_codec

_Pixels = npt.NDArray[np.uint8]

#: Colours that people with any of the colour blindnesses can tell apart, black and white left out; red, green, blue.
#: Source: Okabe and Ito, Color Universal Design, https://jfly.uni-koeln.de/color/, read 2026-11.
PALETTE = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)

_FILL = 0.45
"""Share of the instance's colour in a pixel inside it."""
_LINES_A_SIDE = 320
"""The longest side is this many times the width of the line."""


class UnreadablePicture(Exception):
    """The picture cannot be decoded. The message is a clause."""


def overlay(picture: bytes, masks: Sequence[Mask], *, max_side: int = 2048) -> bytes:
    """
    Paint masks over their picture: the first in the first colour, smaller ones over larger ones.

    Args:
        picture: an encoded PNG, JPEG or WebP file, upright.
        masks: of the picture's size.
        max_side: a picture with a longer side, in pixels, is painted smaller.

    Returns:
        A PNG file.

    Raises:
        UnreadablePicture: the picture cannot be decoded.
        ValueError: a mask is of another size.
    """
    size, painted = _decoded(picture, max_side)
    for mask in masks:
        if mask.size != size:
            raise ValueError(f"a mask is of size {mask.size}, its picture of {size}: (height, width)")
    by_area = sorted(range(len(masks)), key=lambda place: masks[place].area, reverse=True)
    for paint in (_fill, _outline):  # one bitmap at a time: there may be a thousand
        for place in by_area:
            if masks[place].area:
                paint(painted, _fitted(masks[place], painted), PALETTE[place % len(PALETTE)])
    file = io.BytesIO()
    Image.fromarray(painted).save(file, "png", compress_level=3)
    return file.getvalue()


def overlay_text(picture: bytes, masks: Sequence[Mask]) -> str:
    """Return an overlay as base64."""
    return pybase64.b64encode_as_string(overlay(picture, masks))


def _decoded(picture: bytes, max_side: int) -> tuple[tuple[int, int], _Pixels]:
    """Return the picture's `(height, width)`, and its pixels with no side longer than *max_side*."""
    try:
        with Image.open(io.BytesIO(for_codec(picture)), formats=("PNG", "JPEG", "WEBP")) as opened:
            return (opened.height, opened.width), np.array(_shrunk(opened, max_side).convert("RGB"))
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error) as error:  # all that Pillow raises
        raise UnreadablePicture(f"the picture cannot be decoded: {error}") from error


def _shrunk(picture: Image.Image, max_side: int) -> Image.Image:
    """Return the picture with no side longer than *max_side* pixels."""
    factor = max_side / max(picture.size)
    if factor >= 1:
        return picture
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.convert("RGB").resize(size, Image.Resampling.BOX)


def _fitted(mask: Mask, painted: _Pixels) -> Bitmap:
    """Return the mask's bitmap at the size it is painted at."""
    height, width = painted.shape[:2]
    if mask.size == (height, width):
        return mask.bitmap
    shrunk = cv2.resize(mask.bitmap * np.uint8(255), (width, height), interpolation=cv2.INTER_AREA)
    return np.greater(shrunk, 127).astype(np.uint8)


def _fill(painted: _Pixels, bitmap: Bitmap, colour: tuple[int, int, int]) -> None:
    """Mix the colour into the pixels of the mask."""
    inside = bitmap.astype(np.bool_)
    below = painted[inside].astype(np.float32)
    painted[inside] = np.rint(below * (1 - _FILL) + np.array(colour, np.float32) * _FILL).astype(np.uint8)


def _outline(painted: _Pixels, bitmap: Bitmap, colour: tuple[int, int, int]) -> None:
    """Draw the mask's border in its colour, on a dark line that holds it against a background of the same colour."""
    width = max(2, round(max(bitmap.shape) / _LINES_A_SIDE))
    contours, _ = cv2.findContours(bitmap, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(painted, contours, -1, (20, 20, 20), width + 2, cv2.LINE_AA)
    cv2.drawContours(painted, contours, -1, colour, width, cv2.LINE_AA)
