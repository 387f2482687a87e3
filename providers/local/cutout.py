"""
GrabCut on a box and what is around it. Pure, and the same every time.

Why twice: GrabCut's time grows faster than the picture. It learns the colours and finds the object on a small one, and
then decides again on a large one, with the colours it has learnt, for the pixels near the border alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from providers.contract import Bitmap, Box, Point
from providers.local.scaling import Pixels, grown, shrunk

_SEED = 0
_COARSE_SIDE = 256
"""Pixels of the longest side of what the object is found on."""
_FINE_SIDE = 1024
"""Pixels of the longest side of what its border is decided on."""
_BORDER = 3
"""Pixels of the coarse picture on each side of the border that are decided again on the fine one."""
_ITERATIONS = 3
_MARGIN = 0.25
"""Of the box's sides, on each side of it: what GrabCut learns the background from."""
_SMALLEST_SIDE = 5
"""Pixels; a smaller box leaves nothing to learn from, and is its own mask."""
_SMALLEST_PART = 0.01
"""Of the largest part of what was found; smaller parts are specks."""
_SEED_RADIUS = 2
"""Pixels around a point that are as sure as the point."""

_Guess = npt.NDArray[np.uint8]
"""`(height, width)`: of every pixel, what it surely or probably is, in GrabCut's four words."""
_Colours = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Area:
    """A half-open rectangle of pixels as two slices of an array."""

    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        """`(height, width)` in pixels, never below zero."""
        return max(0, self.rows.stop - self.rows.start), max(0, self.columns.stop - self.columns.start)


def cut_out(rgb: Pixels, box: Box, points: tuple[Point, ...]) -> Bitmap:
    """
    Return the `(height, width)` bitmap of what stands out in *box* from what is around it.

    Where the box is the whole picture, the picture's rim is taken for background.
    """
    bitmap = np.zeros(rgb.shape[:2], np.uint8)
    inner = _clipped(rgb, box.x_min, box.y_min, box.x_max, box.y_max)
    height, width = inner.shape
    if min(height, width) < _SMALLEST_SIDE:
        bitmap[inner.rows, inner.columns] = 1
        return bitmap
    right, down = int(width * _MARGIN) + 1, int(height * _MARGIN) + 1
    outer = _clipped(rgb, box.x_min - right, box.y_min - down, box.x_max + right, box.y_max + down)
    crop = rgb[outer.rows, outer.columns]
    bitmap[outer.rows, outer.columns] = _cut(crop, lambda picture: _guess(picture, outer, inner, points))
    return bitmap


def _clipped(rgb: Pixels, x_min: int, y_min: int, x_max: int, y_max: int) -> _Area:
    """Return the part of a rectangle that lies in the picture."""
    height, width = rgb.shape[:2]
    rows = slice(min(max(0, y_min), height), max(0, min(height, y_max)))
    return _Area(rows, slice(min(max(0, x_min), width), max(0, min(width, x_max))))


def _guess(small: Pixels, outer: _Area, inner: _Area, points: tuple[Point, ...]) -> _Guess:
    """Say of every pixel of the small picture what it surely or probably is, in GrabCut's words."""
    across, down = small.shape[1] / outer.shape[1], small.shape[0] / outer.shape[0]
    top, left = outer.rows.start, outer.columns.start
    guess = np.full(small.shape[:2], cv2.GC_BGD, np.uint8)
    rows = slice(int((inner.rows.start - top) * down), int(np.ceil((inner.rows.stop - top) * down)))
    columns = slice(int((inner.columns.start - left) * across), int(np.ceil((inner.columns.stop - left) * across)))
    guess[rows, columns] = cv2.GC_PR_FGD
    if not np.any(guess == cv2.GC_BGD):
        guess[[0, -1], :] = cv2.GC_BGD
        guess[:, [0, -1]] = cv2.GC_BGD
    for point in points:
        if 0 <= point.y - top < outer.shape[0] and 0 <= point.x - left < outer.shape[1]:
            place = (int((point.x - left) * across), int((point.y - top) * down))
            cv2.circle(guess, place, _SEED_RADIUS, cv2.GC_FGD if point.positive else cv2.GC_BGD, cv2.FILLED)
    return guess


def _cut(crop: Pixels, guess: Callable[[Pixels], _Guess]) -> Bitmap:
    """Return the object in the crop; where the guess holds no object or nothing else, it is the answer."""
    size = (crop.shape[0], crop.shape[1])
    coarse, fine = shrunk(crop, _COARSE_SIDE), shrunk(crop, _FINE_SIDE)
    state = guess(coarse)
    found = _on_object(state)
    if not found.any() or found.all():
        return _enlarged(found, size)
    colours = (np.zeros((1, 65)), np.zeros((1, 65)))  # of background and of object; GrabCut learns them
    cv2.setRNGSeed(_SEED)
    found = _decide(coarse, state, colours, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    if fine.shape != coarse.shape:
        state = _near_border(found, guess(fine))
        found = _decide(fine, state, colours, 1, cv2.GC_EVAL)
    return _enlarged(_without_specks(found, guess(fine) == cv2.GC_FGD), size)


def _decide(rgb: Pixels, state: _Guess, colours: tuple[_Colours, _Colours], iterations: int, mode: int) -> Bitmap:
    """Run GrabCut, which writes what it finds into *state* and *colours*."""
    bgr = np.ascontiguousarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    whole = (0, 0, rgb.shape[1], rgb.shape[0])  # not looked at where there is a state
    cv2.grabCut(bgr, state, whole, *colours, iterations, mode)
    return _on_object(state)


def _near_border(found: Bitmap, guess: _Guess) -> _Guess:
    """Take what was found on the coarse picture for sure on the fine one, but near its border; *guess* holds too."""
    height, width = guess.shape
    large = grown(found, (height, width))
    reach = round(_BORDER * max(height, width) / max(found.shape))
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    state = np.where(large, np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_PR_BGD))
    state[cv2.erode(large, around) == 1] = cv2.GC_FGD
    state[cv2.dilate(large, around) == 0] = cv2.GC_BGD
    sure = (guess == cv2.GC_BGD) | (guess == cv2.GC_FGD)
    state[sure] = guess[sure]
    return state


def _without_specks(found: Bitmap, sure: npt.NDArray[np.bool_]) -> Bitmap:
    """Leave out parts that are far smaller than the largest and hold no pixel that is *sure*."""
    _, numbered, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0  # the background
    kept = areas >= max(1.0, _SMALLEST_PART * int(areas.max()))
    kept[np.unique(numbered[sure])] = True
    kept[0] = False
    return np.asarray(kept[numbered], np.uint8)


def _on_object(guess: _Guess) -> Bitmap:
    """Return what is probably or surely the object, of GrabCut's four words for a pixel."""
    return np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)


def _enlarged(bitmap: Bitmap, size: tuple[int, int]) -> Bitmap:
    """Bring a bitmap to *size*, with a border as smooth as the small one allows."""
    if bitmap.shape == size:
        return bitmap
    grey = cv2.resize(bitmap * np.uint8(255), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.greater(grey, 127).astype(np.uint8)
