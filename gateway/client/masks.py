"""
Masks as the gateway encodes them, and the way back to pixels.

All three encodings hold every pixel exactly, so `mask()` gives the same value whichever was asked for.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pybase64

from providers.contract import Bitmap, Mask


@dataclass(frozen=True, slots=True)
class RleMask:
    """COCO's compressed runs."""

    size: tuple[int, int]
    """`(height, width)` in pixels."""
    counts: str = field(repr=False)

    def mask(self) -> Mask:
        """Return the pixels."""
        return Mask.from_counts(self.size, self.counts)


@dataclass(frozen=True, slots=True)
class PngMask:
    """A picture file of the mask."""

    size: tuple[int, int]
    """`(height, width)` in pixels."""
    data: bytes = field(repr=False)
    """A PNG of one bit a pixel, 1 on the object."""

    def mask(self) -> Mask:
        """Return the pixels."""
        from PIL import Image  # only this encoding needs it

        with Image.open(io.BytesIO(self.data), formats=["PNG"]) as picture:
            return Mask.from_bitmap(np.asarray(picture.convert("1")))


@dataclass(frozen=True, slots=True)
class PolygonMask:
    """Outlines along the corners of pixels; the pixel in column x and row y covers x to x + 1 and y to y + 1."""

    size: tuple[int, int]
    """`(height, width)` in pixels."""
    polygons: tuple[tuple[float, ...], ...] = field(repr=False)
    """Rings `x0, y0, x1, y1, …` around the parts."""
    holes: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    """Rings around what is missing inside them."""

    def mask(self) -> Mask:
        """Return the pixels whose centres are inside by the even-odd rule over all rings."""
        return Mask.from_bitmap(_filled(self.size, (*self.polygons, *self.holes)))


EncodedMask = RleMask | PngMask | PolygonMask


def read_mask(document: Mapping[str, Any]) -> EncodedMask:
    """
    Read a mask out of an answer's JSON.

    Raises:
        ValueError: its encoding is none of the three.
    """
    height, width = document["size"]
    match document["encoding"]:
        case "rle":
            return RleMask((height, width), document["counts"])
        case "png":
            return PngMask((height, width), pybase64.b64decode(document["data"], validate=True))
        case "polygon":
            return PolygonMask((height, width), _rings(document["polygons"]), _rings(document.get("holes", ())))
        case encoding:
            raise ValueError(f"a mask in the encoding {encoding!r}; this client reads rle, png and polygon")


def _rings(rings: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(ring) for ring in rings)


def _filled(size: tuple[int, int], rings: Sequence[Sequence[float]]) -> Bitmap:
    """
    Fill rings by the even-odd rule.

    Every edge flips the pixels right of it in each row whose centre line it crosses; what was flipped an odd number of
    times is inside.
    """
    height, width = size
    flips = np.zeros((height, width + 1), np.uint8)
    for ring in rings:
        corners = np.asarray(ring, np.float64).reshape(-1, 2)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            first, last = np.ceil(min(y0, y1) - 0.5), np.ceil(max(y0, y1) - 0.5)
            rows = np.arange(max(0, int(first)), min(height, int(last)))
            if rows.size:
                crossings = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
                columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
                flips[rows, columns] ^= 1
    inside: Bitmap = np.bitwise_xor.accumulate(flips, axis=1)[:, :width]
    return inside
