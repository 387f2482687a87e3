"""The three encodings of a mask read back into pixels, by code that is not the gateway's."""

import base64
import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco

Bitmap = npt.NDArray[np.uint8]
"""`(height, width)`, 1 on the object."""


def bitmap_of(mask: dict[str, Any]) -> Bitmap:
    """Return the pixels of a mask as it stands in an answer."""
    readers = {"rle": from_rle, "png": _from_png, "polygon": _from_polygons}
    bitmap = readers[mask["encoding"]](mask)
    assert list(bitmap.shape) == mask["size"]
    return bitmap


def iou(one: Bitmap, other: Bitmap) -> float:
    """Return the intersection over union of two masks of one size."""
    assert one.shape == other.shape
    return float((one & other).sum() / (one | other).sum())


def from_rle(mask: dict[str, Any]) -> Bitmap:
    """Read COCO's compressed runs with COCO's own reader."""
    with warnings.catch_warnings():  # its array wrapper was written before NumPy 2
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return coco.decode({"size": mask["size"], "counts": mask["counts"].encode()})


def _from_png(mask: dict[str, Any]) -> Bitmap:
    with Image.open(io.BytesIO(base64.b64decode(mask["data"], validate=True))) as picture:
        assert (picture.format, picture.mode) == ("PNG", "1")
        return np.asarray(picture).astype(np.uint8)


def _from_polygons(mask: dict[str, Any]) -> Bitmap:
    """Fill by the even-odd rule: every vertical edge turns over the pixels right of it."""
    bitmap = np.zeros(mask["size"], np.uint8)
    for ring in [*mask["polygons"], *mask["holes"]]:
        corners = [(int(x), int(y)) for x, y in zip(ring[0::2], ring[1::2], strict=True)]
        for (x, y), (next_x, next_y) in zip(corners, [*corners[1:], corners[0]], strict=True):
            assert x == next_x or y == next_y, "edges follow the sides of pixels"
            bitmap[min(y, next_y) : max(y, next_y), x:] ^= 1
    return bitmap
