"""Flood fill in Lab from clicked points. Pure."""

from __future__ import annotations

import cv2
import numpy as np

from providers.contract import Bitmap
from providers.local.scaling import Pixels

Place = tuple[int, int]
"""`(x, y)` in pixels of the picture that is filled."""

_TOLERANCES = (28, 20, 14, 10, 6, 4)
"""Differences to the clicked pixel in Lab, 8 bits a channel, the largest first."""
_LARGEST_SHARE = 0.6
"""Of the picture; a larger fill has run out of the object."""


def flood(rgb: Pixels, *, seeds: list[Place], off: list[Place]) -> Bitmap:
    """
    Return the areas of about one colour around *seeds*, each as large as may be without any place of *off* in it.

    A seed that no tolerance serves brings nothing. Gaps of up to two pixels are closed, unless that covers a place of
    *off*.
    """
    calm = cv2.medianBlur(rgb, 5)  # takes out noise as other blurs do, but leaves borders where they are
    lab = np.ascontiguousarray(cv2.cvtColor(calm, cv2.COLOR_RGB2LAB), np.uint8)
    together = np.zeros(rgb.shape[:2], np.uint8)
    for seed in seeds:
        together |= _largest_fill(lab, seed, off)
    closed = cv2.morphologyEx(together, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(np.uint8, copy=False)
    return together if any(closed[y, x] for x, y in off) else closed


def _largest_fill(lab: Pixels, seed: Place, off: list[Place]) -> Bitmap:
    """Fill from one seed with the largest tolerance that spares *off* and most of the picture."""
    height, width = lab.shape[:2]
    for tolerance in _TOLERANCES:
        framed = np.zeros((height + 2, width + 2), np.uint8)
        reach = (tolerance, tolerance, tolerance)
        cv2.floodFill(lab, framed, seed, 0, reach, reach, 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE)
        filled = framed[1:-1, 1:-1]
        if np.count_nonzero(filled) <= _LARGEST_SHARE * filled.size and not any(filled[y, x] for x, y in off):
            return filled
    return np.zeros((height, width), np.uint8)
