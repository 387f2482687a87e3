"""Pictures brought down to the size they are worked on at, and masks brought back. Pure."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from providers.contract import Bitmap

Pixels = npt.NDArray[np.uint8]
"""`(height, width, 3)`, red, green, blue."""


def shrunk(rgb: Pixels, longest: int) -> Pixels:
    """Return the picture with no side longer than *longest* pixels: the mean of the pixels that fall on one."""
    height, width = rgb.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return rgb
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def grown(bitmap: Bitmap, size: tuple[int, int]) -> Bitmap:
    """Return a bitmap of 0 and 1 at *size*, `(height, width)`: each pixel is the one nearest to it."""
    if bitmap.shape == size:
        return bitmap
    resized = cv2.resize(bitmap, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized.astype(np.uint8, copy=False)
