"""
The mask value, kept as runs, and COCO's compressed text of them.

Why runs and not a bitmap: box, area, cache entry and the default answer all come from the runs, and a mask of one
object is a few hundred numbers where its bitmap is a million. Runs are COCO's: column-major (down the first column,
then down the next), background first, so that the first run may be 0.

Source: https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.h and maskApi.c (rleEncode, rleToString),
read 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from providers.contract.prompt import Box

Bitmap = npt.NDArray[np.uint8]
"""`(height, width)`, 1 on the object and 0 elsewhere."""

Runs = npt.NDArray[np.int64]
"""Lengths of runs of equal pixels, column-major, background first; they add up to height x width."""


@dataclass(frozen=True, eq=False)
class Mask:
    """The pixels of one object. Equal when the pixels are equal."""

    size: tuple[int, int]
    """`(height, width)` in pixels."""
    runs: Runs = field(repr=False)

    @classmethod
    def from_bitmap(cls, bitmap: npt.NDArray[np.generic]) -> Mask:
        """Make a mask of a `(height, width)` array in which every value but 0 is the object."""
        if bitmap.ndim != 2:
            raise ValueError(f"a bitmap is (height, width), got the shape {bitmap.shape}")
        size: tuple[int, int] = (bitmap.shape[0], bitmap.shape[1])
        return cls(size, _to_runs(bitmap.astype(np.bool_, copy=False)))

    @classmethod
    def from_edges(cls, size: tuple[int, int], edges: Runs, *, starts_solid: bool) -> Mask:
        """
        Make a mask of the places where it changes.

        Args:
            size: `(height, width)` in pixels; at least one pixel.
            edges: the pixels, counted in column order from 0, that are unlike the one before them; ascending.
            starts_solid: whether the first pixel is the object.
        """
        return cls(size, _between(edges, size[0] * size[1], starts_solid=starts_solid))

    @classmethod
    def from_counts(cls, size: tuple[int, int], counts: str | bytes) -> Mask:
        """
        Read COCO's compressed text.

        Raises:
            ValueError: the text is not COCO's, or its runs do not fill the picture.
        """
        runs = _read_counts(counts.encode("ascii") if isinstance(counts, str) else counts)
        pixels = size[0] * size[1]
        if int(runs.min()) < 0:
            raise ValueError("a run of negative length")
        if int(runs.max()) > pixels:  # before they are added up, since huge ones would add up to anything
            raise ValueError(f"a run of {int(runs.max())} pixels, the picture has {pixels}")
        if int(runs.sum()) != pixels:
            raise ValueError(f"the runs add up to {int(runs.sum())} pixels, the picture has {pixels}")
        if runs.size > 1 and int(runs[1:].min()) == 0:  # legal, but not the one way to write this mask
            return cls.from_bitmap(cls(size, runs).bitmap)
        return cls(size, runs)

    def __eq__(self, other: object) -> bool:
        """Two masks are equal when they are of one size and cover the same pixels."""
        return isinstance(other, Mask) and self.size == other.size and bool(np.array_equal(self.runs, other.runs))

    def __hash__(self) -> int:
        """Hash over size and runs."""
        return hash((self.size, self.runs.tobytes()))

    @cached_property
    def area(self) -> int:
        """Pixels on the object."""
        return int(self.runs[1::2].sum())

    @cached_property
    def box(self) -> Box | None:
        """The tightest half-open box around the object; None when there is no object."""
        if self.area == 0:
            return None
        height = self.size[0]
        ends = np.cumsum(self.runs)
        objects = self.runs.size // 2
        first_x, first_y = np.divmod(ends[0::2][:objects], height)
        last_x, last_y = np.divmod(ends[1::2] - 1, height)
        if bool((first_x != last_x).any()):
            # A run that goes on into the next column passes the bottom row of one and the top row of the next.
            y_min, y_max = 0, height
        else:
            y_min, y_max = int(first_y.min()), int(last_y.max()) + 1
        return Box(int(first_x[0]), y_min, int(last_x[-1]) + 1, y_max)

    @cached_property
    def counts(self) -> str:
        """The runs as COCO's compressed text, as pycocotools writes them."""
        return _write_counts(self.runs)

    @property
    def bitmap(self) -> Bitmap:
        """The `(height, width)` array of 0 and 1, made anew each time: a kept mask must not keep a byte a pixel."""
        return _to_bitmap(self.size, self.runs)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as plain bytes, which `mask_of_runs` checks: they may come from a process that is not trusted."""
        return mask_of_runs, (self.size, self.runs.astype("<i8", copy=False).tobytes())

    def iou(self, other: Mask) -> float:
        """Return intersection over union with a mask of the same size; 1.0 for two empty ones."""
        if self.size != other.size:
            raise ValueError(f"masks of different sizes: {self.size} and {other.size}")
        both = int(np.count_nonzero(self.bitmap & other.bitmap))
        either = self.area + other.area - both
        return both / either if either else 1.0


def mask_of_runs(size: tuple[int, int], runs: bytes) -> Mask:
    """
    Return the mask whose runs, eight bytes each and the lowest first, somebody else has written.

    Raises:
        ValueError: they do not fill the picture, or are not the one way to write this mask.
    """
    height, width = size
    lengths = np.frombuffer(runs, "<i8").astype(np.int64, copy=False)
    whole = lengths.size > 0 and int(lengths.min()) >= 0 and int(lengths.max()) <= height * width
    if not whole or int(lengths.sum()) != height * width or bool((lengths[1:] == 0).any()):
        raise ValueError(f"{lengths.size} runs that do not fill a picture of {width} x {height} pixels")
    return Mask((height, width), lengths)


def _to_runs(solid: npt.NDArray[np.bool_]) -> Runs:
    """
    Read the runs of a `(height, width)` array of booleans.

    Why not simply transpose it and look along the columns: the transposition is most of the work. Rows are compared
    with the rows above them as they lie, and only the few places where they differ are brought into column order.
    """
    height, width = solid.shape
    if solid.size == 0:
        return np.zeros(1, np.int64)
    if solid.T.flags.c_contiguous:
        return _to_runs_along(solid.T.reshape(-1))
    differs = solid[1:] != solid[:-1]
    if np.count_nonzero(differs) > solid.size // 32:  # so many that sorting them takes longer than transposing
        return _to_runs_along(np.ascontiguousarray(solid.T).reshape(-1))
    turns = np.flatnonzero(solid[0, 1:] != solid[-1, :-1])  # from the bottom of a column to the top of the next
    above, columns = np.divmod(np.flatnonzero(differs), width)
    edges = np.sort(np.concatenate((columns * height + above + 1, (turns + 1) * height)))
    return _between(edges, solid.size, starts_solid=bool(solid[0, 0]))


def _to_runs_along(flat: npt.NDArray[np.bool_]) -> Runs:
    """Read the runs of pixels that already lie in column order."""
    return _between(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size, starts_solid=bool(flat[0]))


def _between(edges: Runs, end: int, *, starts_solid: bool) -> Runs:
    """Return the lengths between the places where the pixels change, background first."""
    bounds = np.zeros(edges.size + 2 + starts_solid, np.int64)
    bounds[1 + starts_solid : -1] = edges
    bounds[-1] = end
    return bounds[1:] - bounds[:-1]


def _to_bitmap(size: tuple[int, int], runs: Runs) -> Bitmap:
    """
    Paint runs into a `(height, width)` array of 0 and 1.

    A 1 is put where a run begins and at the top of every column that begins on the object; each pixel is then the sum,
    modulo two, of the ones above it. The sums are taken for eight columns at a time, as words of eight bytes.
    """
    height, width = size
    if height * width == 0:
        return np.zeros(size, np.uint8)
    edges = np.cumsum(runs[:-1])
    columns, rows = np.divmod(edges, height)
    toggles = np.zeros((height, -(-width // 8) * 8), np.uint8)
    below = rows > 0
    np.bitwise_xor.at(toggles, (rows[below], columns[below]), np.uint8(1))
    toggles[0, :width] = np.searchsorted(edges, np.arange(width) * height, side="right") & 1
    words = toggles.view(np.uint64)
    np.bitwise_xor.accumulate(words, axis=0, out=words)
    return np.ascontiguousarray(toggles[:, :width])


def _write_counts(runs: Runs) -> str:
    """
    Write runs as COCO does: from the fourth on as the difference to the run two before, five bits a character.

    The differences between neighbours are small and are looked up; the first and the last run may be of any length.
    """
    values = runs.copy()
    values[3:] -= runs[1:-2]
    if values.size < 3:
        return "".join(map(_number, values.tolist()))
    middle = values[1:-1] + _REACH
    if not bool((middle.view(np.uint64) < 2 * _REACH).all()):  # a negative one is a huge one without its sign
        return "".join(map(_number, values.tolist()))
    text = _NUMBERS[middle].tobytes().replace(b"\0", b"").decode("ascii")
    return f"{_number(int(values[0]))}{text}{_number(int(values[-1]))}"


def _number(value: int) -> str:
    """Write one number: five bits a character, the lowest first, and in each whether there are more."""
    characters = ""
    while True:
        low = value & 0x1F
        value >>= 5
        more = value != -1 if low & 0x10 else value != 0
        characters += chr((low | more << 5) + 48)
        if not more:
            return characters


#: Every number of at most three characters, at its place after adding `_REACH`.
_REACH = 1 << 14
_NUMBERS = np.array([_number(value) for value in range(-_REACH, _REACH)], "S3")


def _read_counts(text: bytes) -> Runs:
    """Read COCO's compressed text into runs."""
    symbols = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if symbols.size == 0:
        return np.zeros(1, np.int64)
    if int(symbols.min()) < 0 or int(symbols.max()) > 63:
        raise ValueError("not COCO's compressed runs: a character out of its range")
    last = (symbols & 0x20) == 0
    if not bool(last[-1]):
        raise ValueError("not COCO's compressed runs: cut in the middle of a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    lengths = ends - starts + 1
    if int(lengths.max()) > 12:
        raise ValueError("not COCO's compressed runs: a number of more than sixty bits")
    places = np.arange(symbols.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((symbols & 0x1F) << (5 * places), starts)
    negative = (symbols[ends] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * lengths[negative])
    for parity in (1, 2):
        # COCO takes the difference to the run two before from the fourth run on (index 3); odd and even ones are
        # two separate sums, and the run at index 0 stands outside of both.
        values[parity::2] = np.cumsum(values[parity::2])
    return values
