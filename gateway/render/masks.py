"""
One mask, written as the caller asked for it. Pure; a PNG or the polygons of a large mask belong on a worker thread.

All three encodings hold every pixel exactly. How a reader gets them back:

- `rle`: COCO's compressed runs, column-major, background first; `pycocotools.mask.decode` reads them as they are.
- `png`: a PNG of one bit a pixel, 0 is background; base64.
- `polygon`: rings of `x0, y0, x1, y1, …` along the **corners** of pixels, so that the pixel in column x and row y
  covers x to x + 1 and y to y + 1, and its centre lies at (x + 0.5, y + 0.5). A pixel is on the object when its centre
  is inside by the even-odd rule over all rings, `polygons` and `holes` together.
"""

from __future__ import annotations

import io
from typing import Literal, TypedDict, assert_never

import numpy as np
import pybase64
from PIL import Image

from gateway.render.rings import rings
from gateway.request import MaskEncoding
from providers.contract import Mask


class RleMask(TypedDict):
    """COCO's compressed runs."""

    encoding: Literal["rle"]
    size: list[int]
    """`[height, width]` in pixels."""
    counts: str


class PngMask(TypedDict):
    """A picture file of the mask."""

    encoding: Literal["png"]
    size: list[int]
    """`[height, width]` in pixels."""
    data: str
    """Base64 of a PNG of one bit a pixel, 1 on the object."""


class PolygonMask(TypedDict):
    """The outlines of the mask, in flat lists as COCO has them."""

    encoding: Literal["polygon"]
    size: list[int]
    """`[height, width]` in pixels."""
    polygons: list[list[int]]
    """Outlines of the parts, clockwise as seen on a screen: `[x0, y0, x1, y1, …]`, not closed by a repeated corner."""
    holes: list[list[int]]
    """Outlines of what is missing inside them, counter-clockwise. COCO has no word for these and fills them."""


RenderedMask = RleMask | PngMask | PolygonMask


def render(mask: Mask, encoding: MaskEncoding) -> RenderedMask | None:
    """
    Write *mask* in *encoding*, ready for JSON.

    Returns:
        None for `MaskEncoding.NONE`.
    """
    size = list(mask.size)
    match encoding:
        case MaskEncoding.RLE:
            return RleMask(encoding="rle", size=size, counts=mask.counts)
        case MaskEncoding.PNG:
            return PngMask(encoding="png", size=size, data=pybase64.b64encode(_png(mask)).decode("ascii"))
        case MaskEncoding.POLYGON:
            outlines = rings(mask)
            return PolygonMask(encoding="polygon", size=size, polygons=outlines.outer, holes=outlines.holes)
        case MaskEncoding.NONE:
            return None
        case _:
            assert_never(encoding)


def _png(mask: Mask) -> bytes:
    """Return the mask as a PNG file of one bit a pixel."""
    height, width = mask.size
    packed = np.packbits(mask.bitmap, axis=1)
    file = io.BytesIO()
    Image.frombytes("1", (width, height), packed.tobytes()).save(file, "png", compress_level=1)
    return file.getvalue()
