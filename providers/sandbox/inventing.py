"""
Masks for pictures that are no scene: invented by the classic engine, and of any photograph in less than a second.

Why scaled: the engine's time grows with the picture, and its masks are made up anyway. A large picture is decoded at a
fraction of its size (which a JPEG decoder does for less than the whole), segmented small, and the masks are scaled up.
Their PNG files are written from the small ones: a row that repeats the one above it is nothing but zeros to the filter.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from zlib_ng import zlib_ng

from providers.contract import Bitmap, Box, Mask, ObjectPrompt, Point
from providers.sandbox.choosing import Ask, Engine, segments
from providers.sandbox.mask_files import png_of_rows
from providers.sandbox.scene import Rgb

FORMATS = ("PNG", "JPEG", "WEBP")

_WHOLE_SIDE = 640
"""Pixels; a picture with no longer side is segmented as it is."""
_WORK_SIDE = 160
"""Pixels of the side of the square that has as many pixels as any larger picture is segmented at."""
_SMOOTH_SIDE = 640
"""Pixels of the longest side that its masks' borders are smoothed at."""
_MOST_MASKS = 4
"""The most masks of such a picture."""

_MOST_PIXELS = 64_000_000
"""Larger pictures are refused before they are decoded. Invented: no provider names a number of pixels."""


class BadPicture(Exception):
    """The bytes are no picture that the model takes; the message says why."""


@dataclass(frozen=True, slots=True)
class Invented:
    """One mask that means nothing."""

    mask: Mask
    small: Bitmap | None = field(repr=False)
    """What it was scaled up from, each pixel to a rectangle; None where it was not scaled."""


def invent(engine: Engine, data: bytes, ask: Ask) -> list[Invented]:
    """
    Return what *engine* makes of a picture file. Takes long: not for the event loop.

    Raises:
        BadPicture: it cannot be read.
    """
    head = read_head(data)
    size = (head.height, head.width)
    if is_small(head):
        return [Invented(mask, None) for mask in segments(engine, decode(data), ask)]
    longest = _WORK_SIDE * math.sqrt(max(size) / min(size))  # of as many pixels as a square of that side has
    rgb = _reduced(data, round(min(longest, _SMOOTH_SIDE)))
    found = segments(engine, rgb, _scaled(ask, rgb.shape[1] / size[1], rgb.shape[0] / size[0]))[:_MOST_MASKS]
    return [_grown(mask.bitmap, size) for mask in found]


def decode(data: bytes) -> Rgb:
    """
    Return the pixels of a picture file as they are stored; EXIF orientation is not heeded (invented).

    Raises:
        BadPicture: it cannot be read.
    """
    return np.array(_converted(read_head(data)))


def read_head(data: bytes) -> Image.Image:
    """
    Read the head of a picture file.

    Raises:
        BadPicture: it is none, or of too many pixels.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture("image dimensions exceed what the model takes") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise BadPicture("the file is no PNG, JPEG or WebP picture") from error
    if image.width * image.height > _MOST_PIXELS:
        raise BadPicture(f"image dimensions {image.width}x{image.height} exceed {_MOST_PIXELS} pixels")
    return image


def is_small(head: Image.Image) -> bool:
    """Whether a picture is segmented as it is."""
    return max(head.size) <= _WHOLE_SIDE


def scaled_png(small: Bitmap, size: tuple[int, int]) -> bytes:
    """Return an 8-bit grey PNG of 0 and 255 of *size*, `(height, width)`, scaled up from *small*."""
    height, width = size
    tops = np.flatnonzero(np.diff(_sources(small.shape[0], height), prepend=-1))
    wide = small[:, _sources(small.shape[1], width)] * np.uint8(255)
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 0] = 2  # the filter "Up": each byte is the difference to the one above it
    rows[tops[0], 1:] = wide[0]
    rows[tops[1:], 1:] = wide[1:] - wide[:-1]
    return png_of_rows(8, 0, (width, height), zlib_ng.compress(rows, 2))


def _converted(image: Image.Image) -> Image.Image:
    """Decode to red, green and blue."""
    try:
        return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadPicture(f"the picture cannot be decoded: {error}") from error


def _reduced(data: bytes, longest: int) -> Rgb:
    """Decode a picture at no more than *longest* pixels a side, a JPEG from its start at about twice that."""
    image = read_head(data)
    width, height = image.size
    factor = longest / max(width, height)
    target = (max(1, round(width * factor)), max(1, round(height * factor)))
    image.draft("RGB", (2 * target[0], 2 * target[1]))
    return np.array(_converted(image).resize(target, Image.Resampling.BOX))


def _scaled(ask: Ask, across: float, down: float) -> Ask:
    """Return the same ask of a picture of another size."""
    return replace(ask, objects=tuple(_scaled_object(prompt, across, down) for prompt in ask.objects))


def _scaled_object(prompt: ObjectPrompt, across: float, down: float) -> ObjectPrompt:
    """Return a prompt at another size: a point stays in the picture, a box keeps a pixel at least."""
    points = tuple(
        Point(int(point.x * across), int(point.y * down), positive=point.positive) for point in prompt.points
    )
    box = prompt.box
    if box is None:
        return ObjectPrompt(points)
    left, top = int(box.x_min * across), int(box.y_min * down)
    return ObjectPrompt(
        points, Box(left, top, max(left + 1, round(box.x_max * across)), max(top + 1, round(box.y_max * down)))
    )


def _grown(bitmap: Bitmap, size: tuple[int, int]) -> Invented:
    """Scale a mask up to *size*: smoothly first, then each pixel to a rectangle."""
    factor = min(1.0, _SMOOTH_SIDE / max(size))
    between = (max(1, round(size[1] * factor)), max(1, round(size[0] * factor)))
    soft = cv2.resize(bitmap * np.uint8(255), between, interpolation=cv2.INTER_LINEAR)
    small = np.greater(soft, 127).astype(np.uint8)
    return Invented(_scaled_mask(small, size), small)


def _scaled_mask(small: Bitmap, size: tuple[int, int]) -> Mask:
    """
    Return the mask that `scaled_png` writes, without painting it.

    Where a column changes, all those scaled up from it change; and so do neighbours whose bottom and top differ.
    """
    height, width = size
    rows, columns = _sources(small.shape[0], height), _sources(small.shape[1], width)
    tops, lefts = np.searchsorted(rows, np.arange(small.shape[0])), np.searchsorted(columns, np.arange(small.shape[1]))
    row, column = np.nonzero(small[1:] != small[:-1])
    copies = np.diff(lefts, append=width)[column]
    nth = np.arange(copies.sum()) - np.repeat(np.cumsum(copies) - copies, copies)
    within = np.repeat(lefts[column] * height + tops[row + 1], copies) + nth * height
    between = (np.flatnonzero(small[0, columns[1:]] != small[-1, columns[:-1]]) + 1) * height
    edges = np.sort(np.concatenate((within, between)))
    return Mask.from_edges(size, edges, starts_solid=bool(small[0, 0]))


def _sources(small: int, large: int) -> npt.NDArray[np.int64]:
    """Return which of *small* places each of *large* places is a part of; none of them is left out."""
    return np.arange(large, dtype=np.int64) * small // large
