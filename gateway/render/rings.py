"""
The outlines of a mask along the corners of its pixels, exactly, read from its runs.

Why not `cv2.findContours`: it goes through the centres of the outermost pixels, so that a polygon of its points is half
a pixel too small on every side, and nothing at all where the object is one pixel thin.

A corner of pixels is a corner of the outline where exactly one of the two pixel edges left and right of it is on the
outline, or where both are and face opposite ways (two pixels of the object touch there diagonally: two outline corners
in one place). On every horizontal and on every vertical line the outline's corners, in order, are joined in pairs. The
work grows with the length of the outline, not with the size of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from providers.contract import Mask

_Integers = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rings:
    """Closed outlines as flat lists `x0, y0, x1, y1, …` of pixel corners; the last corner joins the first."""

    outer: list[list[int]]
    """Clockwise on a screen, the object on the right hand. No outline touches itself."""
    holes: list[list[int]]
    """Counter-clockwise on a screen: the object is on the right hand here too."""


@dataclass(frozen=True, slots=True)
class _Corners:
    """Where the outline turns, ordered by column and then by row."""

    x: _Integers
    y: _Integers
    following: _Integers
    """The next corner, going along with the object on the right hand."""
    twin: _Integers
    """The other corner in the same place, or -1."""


def rings(mask: Mask) -> Rings:
    """Return the outlines of *mask*. Parts that touch in a corner only have an outline each."""
    if mask.area == 0:
        return Rings([], [])
    corners = _corners(mask)
    return _flat(corners, _cycles(corners))


def _column_edges(mask: Mask) -> tuple[_Integers, _Flags]:
    """
    Find the horizontal pixel edges on the outline.

    Returns:
        Sorted keys `x * (height + 1) + y` of the left ends of these edges, and whether the object lies below each.
    """
    height = mask.size[0]
    ends = np.cumsum(mask.runs)
    firsts, lasts = ends[0:-1:2], ends[1::2] - 1
    solid = lasts >= firsts
    firsts, lasts = firsts[solid], lasts[solid]
    # A run that goes on over the bottom of a column is cut into one piece for every column.
    pieces = lasts // height - firsts // height + 1
    nth = np.arange(int(pieces.sum())) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    columns = np.repeat(firsts // height, pieces) + nth
    tops = np.where(nth == 0, np.repeat(firsts % height, pieces), 0)
    bottoms = np.where(nth == np.repeat(pieces, pieces) - 1, np.repeat(lasts % height + 1, pieces), height)
    keys = np.stack((columns * (height + 1) + tops, columns * (height + 1) + bottoms), axis=1).reshape(-1)
    return keys, np.arange(keys.size) % 2 == 0


def _corners(mask: Mask) -> _Corners:
    """Find the corners of the outline."""
    height, width = mask.size
    edges, below = _column_edges(mask)
    # Every edge gives its right end a left edge, and its left end a right edge; at one place the left one comes first.
    keys = np.concatenate((edges + height + 1, edges))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    is_below = np.concatenate((below, below))[order]
    is_right = order >= edges.size

    first = np.zeros(keys.size, np.bool_)
    first[:-1] = keys[1:] == keys[:-1]
    second = np.roll(first, 1)
    opposite = is_below != np.where(first, np.roll(is_below, -1), np.roll(is_below, 1))
    kept = opposite | ~(first | second)

    x, y = np.divmod(keys[kept], height + 1)
    first, second = first[kept], second[kept]
    index = np.arange(x.size)
    twin = np.where(first, index + 1, np.where(second, index - 1, -1))
    crossed = np.where(first, is_below[kept], ~is_below[kept]) & (first | second)
    by_row = np.argsort((y * (width + 1) + x) * 2 + (second ^ crossed))
    across = np.empty_like(index)
    across[by_row[0::2]], across[by_row[1::2]] = by_row[1::2], by_row[0::2]
    leaves_across = is_right[kept] == is_below[kept]
    return _Corners(x, y, np.where(leaves_across, across, index ^ 1), twin)


def _cycles(corners: _Corners) -> list[list[int]]:
    """Follow the outlines, each to its end; one that comes back to a place where it has been is cut into two there."""
    following, twins = corners.following.tolist(), corners.twin.tolist()
    seen = bytearray(len(following))
    cycles = []
    for start in range(len(following)):
        if seen[start]:
            continue
        path: list[int] = []
        places: dict[int, int] = {}
        corner = start
        while not seen[corner]:
            seen[corner] = 1
            twin = twins[corner]
            if twin >= 0:
                place = places.get(twin, len(path))
                if place < len(path) and path[place] == twin:
                    cycles.append(path[place:])
                    del path[place:]
                places[corner] = len(path)
            path.append(corner)
            corner = following[corner]
        cycles.append(path)
    return cycles


def _flat(corners: _Corners, cycles: list[list[int]]) -> Rings:
    """Write cycles of corners as coordinates, the clockwise ones apart from the others."""
    order = np.fromiter(chain.from_iterable(cycles), np.int64, corners.x.size)
    lengths = np.fromiter(map(len, cycles), np.int64, len(cycles))
    stops = np.cumsum(lengths)
    after = np.arange(1, order.size + 1)
    after[stops - 1] = stops - lengths
    x, y = corners.x[order], corners.y[order]
    doubled_areas = np.add.reduceat(x * y[after] - x[after] * y, stops - lengths)
    flat = np.stack((x, y), axis=1).reshape(-1).tolist()
    found = Rings([], [])
    for stop, length, doubled_area in zip(stops.tolist(), lengths.tolist(), doubled_areas.tolist(), strict=True):
        side = found.outer if doubled_area > 0 else found.holes
        side.append(flat[2 * (stop - length) : 2 * stop])
    return found
