"""
The runs of a black and white PNG file, read off its rows without making its pixels.

Why by hand: a mask is nearly always an 8-bit grey PNG of 0 and 255. A decoder makes a million bytes of it one after the
other, only for us to look for the few thousand places where they change. Here one bit stands for a pixel, so that sixty
four are worked on at once, and what takes longest is to undo the compression. On a mask of 1024 x 1024 that is about
five times as fast as OpenCV's decoder and the search through its pixels (`make bench`, W4).

How: a filtered byte of such a file is 0 where the pixel is what the filter predicts, and 255 or 1 (255 more or, modulo
256, 255 less) where it is not. "Differs from the prediction" is thus one bit a pixel, and undoing a filter is a sum
modulo two: along the row for Sub, down the column for Up. Paeth predicts the pixel above where that differs from the
one above to the left, and the pixel to the left elsewhere; so each change in the row above begins a new sum along the
row. That the file holds nothing but 0 and 255 is proved by the signs: 255 has to stand exactly where an unpredicted
pixel turns out white.

A file of one bit a pixel has eight of them in a byte, and hardly ever a filter: its rows are unpacked as they are.

Everything else (other depths, colours, interlaced, grey levels, the filter Average, damage of any kind) is left to a
whole decoder, which also decides what is to be refused. That one runs in a process of its own, so that small files are
read here as well, although a codec would be as quick with them: the way there and back takes as long.

Source: https://www.w3.org/TR/png-3/ sections 5 (chunks), 7.3 and 9 (filters), 10 (compression), read 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

from providers.contract import Mask

_SIGNATURE_BYTES = 8
#: Length, type and checksum around a chunk's content.
_FRAME_BYTES = 12
#: Depth 8 or 1, grey, deflate, the five filters, not interlaced: IHDR after width and height.
_PLAIN_GREY = bytes((8, 0, 0, 0, 0))
_PLAIN_BITS = bytes((1, 0, 0, 0, 0))
#: Chunks that are looked through; what libpng writes has one for each 8 kB.
_MOST_CHUNKS = 4096
#: Chunks that change no pixel. tRNS, which does, is not among them.
_HARMLESS = frozenset(
    {b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf", b"bKGD"}
)
_NONE, _SUB, _UP, _PAETH = 0, 1, 2, 4

_Bytes = npt.NDArray[np.uint8]
_Words = npt.NDArray[np.uint64]
"""`(rows, words)`: pixel x of a row is bit x + 1, counted from the lowest of the first word. Bit 0 is always 0."""


def read_black_and_white(data: bytes, *, width: int, height: int) -> Mask | None:
    """
    Read a mask off a PNG file; None where a decoder has to look at it.

    Args:
        data: the whole file, beginning with PNG's signature.
        width: of the picture in pixels, as its header says.
        height: the same.
    """
    plain = _plain(data)
    if plain is None:
        return None
    row_bytes = 1 + (width if plain.bits == 8 else -(-width // 8))
    length = height * row_bytes
    inflating = zlib_ng.decompressobj()
    try:
        filtered = inflating.decompress(plain.compressed, length + 1)
    except zlib_ng.error:  # type: ignore[misc]  # its types call the class an instance
        return None
    if len(filtered) != length or not inflating.eof or inflating.unused_data:
        return None
    rows = np.frombuffer(filtered, np.uint8).reshape(height, row_bytes)
    return _mask(rows) if plain.bits == 8 else _mask_of_bits(rows, width)


@dataclass(frozen=True, slots=True)
class _Plain:
    """A grey file that is not interlaced."""

    bits: int
    """A pixel's: 8 or 1."""
    compressed: bytes
    """Its rows."""


def _plain(data: bytes) -> _Plain | None:
    """Take a plain grey file apart; None for any other, and for one whose checksums do not hold."""
    pieces: list[bytes] = []
    bits = 0
    place = _SIGNATURE_BYTES
    for _ in range(_MOST_CHUNKS):
        if place + _FRAME_BYTES > len(data):
            return None
        end = place + _FRAME_BYTES + int.from_bytes(data[place : place + 4], "big")
        kind, content = data[place + 4 : place + 8], data[place + 8 : end - 4]
        if kind == b"IEND":
            return _Plain(bits, b"".join(pieces)) if pieces and bits else None
        if kind in {b"IHDR", b"IDAT"}:
            if zlib_ng.crc32(content, zlib_ng.crc32(kind)) != int.from_bytes(data[end - 4 : end], "big"):
                return None
            if kind == b"IDAT":
                pieces.append(content)
            elif content[8:] in {_PLAIN_GREY, _PLAIN_BITS}:
                bits = content[8]
            else:
                return None
        elif kind not in _HARMLESS:
            return None
        place = end
    return None


def _mask(filtered: _Bytes) -> Mask | None:
    """Read `(height, width + 1)` filtered bytes, the first of each row its filter; None unless they are 0 and 255."""
    height, width = filtered.shape[0], filtered.shape[1] - 1
    filters = filtered[:, 0]
    steps = filtered + np.uint8(1)  # 255, 0 and 1 become 0, 1 and 2
    steps[:, 0] = 1
    if int(steps.max()) > 2:
        return None
    differs, brighter = _to_words(filtered), _to_words(steps == 0)
    differs[:, 0] &= ~np.uint64(1)  # the filters' own column
    solid = _undone(differs, filters, width)
    if solid is None or not np.array_equal(differs & solid, brighter):
        return None
    return Mask.from_edges((height, width), _edges(solid, height, width), starts_solid=bool(solid[0, 0] & np.uint64(2)))


def _mask_of_bits(filtered: _Bytes, width: int) -> Mask | None:
    """Read `(height, 1 + bytes)` filtered bytes of eight pixels each; None where a filter looks at three neighbours."""
    filters, rows = filtered[:, 0], filtered[:, 1:]
    counts = np.bincount(filters, minlength=5)
    if counts.size > 5 or counts[3] or counts[_PAETH]:
        return None
    if counts[_SUB] or counts[_UP]:
        rows = rows.copy()
        sub = filters == _SUB
        rows[sub] = np.add.accumulate(rows[sub], axis=1, dtype=np.uint8)
        for row in np.flatnonzero(filters[1:] == _UP) + 1:  # nothing is above the first one
            rows[row] += rows[row - 1]
    return Mask.from_bitmap(np.unpackbits(rows, axis=1, count=width))


def _to_words(flags: npt.NDArray[np.generic]) -> _Words:
    """Return one bit for each byte of `(rows, columns)`, set where it is not 0, each row filled up to whole words."""
    bits = np.packbits(flags.view(np.uint8), axis=1, bitorder="little")
    whole = np.zeros((bits.shape[0], -(-bits.shape[1] // 8) * 8), np.uint8)
    whole[:, : bits.shape[1]] = bits
    return whole.view("<u8")


def _undone(differs: _Words, filters: _Bytes, width: int) -> _Words | None:
    """Return which pixels are white, given which differ from their prediction; None where a filter is not ours."""
    counts = np.bincount(filters, minlength=5)
    if counts.size > 5 or counts[3]:
        return None
    inside = _inside(width, differs.shape[1])
    alone = differs.copy()  # rows as if nothing were above them: right for None, Sub and what comes after them
    if counts[_SUB]:
        sub = filters == _SUB
        alone[sub] = _sums_along(differs[sub]) & inside
    if not counts[_UP] and not counts[_PAETH]:
        return alone
    up = filters == _UP
    alone[up] = 0
    sums: _Words = np.bitwise_xor.accumulate(np.where(up[:, None], differs, np.uint64(0)), axis=0)
    rests_on = np.maximum.accumulate(np.where(up, 0, np.arange(filters.size)))  # the last row that is not Up
    # Up rows that come first rest on row 0, which is one of them: on nothing but the blackness above the picture.
    above: _Words = sums ^ np.where(up[rests_on][:, None], np.uint64(0), sums[rests_on])
    if counts[_PAETH]:
        _undo_paeth(alone, differs, above, rests_on, np.flatnonzero(filters == _PAETH), inside)
    solid: _Words = alone[rests_on] ^ above
    return solid


def _undo_paeth(
    alone: _Words,
    differs: _Words,
    above: _Words,
    rests_on: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    inside: _Words,
) -> None:
    """
    Write the rows that were filtered by Paeth into *alone*, from top to bottom: each needs the whole of the one above.

    Integers of as many bits as the row is wide: adding two of them carries a bit through a whole stretch at once.
    """
    wide = int.from_bytes(inside.tobytes(), "little")
    before = np.maximum(rows - 1, 0)
    bases = rests_on[before]
    done: dict[int, int] = {}
    for row, base, resting, summed, mine in zip(
        rows.tolist(), bases.tolist(), *map(_integers, (alone[bases], above[before], differs[rows])), strict=True
    ):
        over = done.get(base, resting) ^ summed if row else 0
        done[row] = _paeth(mine, over, wide)
    solid = b"".join(each.to_bytes(inside.nbytes, "little") for each in done.values())
    alone[rows] = np.frombuffer(solid, "<u8").reshape(rows.size, -1)


def _integers(rows: _Words) -> list[int]:
    """Return each row as one integer."""
    data, length = rows.tobytes(), rows.shape[1] * 8
    return [int.from_bytes(data[start : start + length], "little") for start in range(0, len(data), length)]


def _paeth(differs: int, over: int, wide: int) -> int:
    """
    Return the white pixels of one row.

    Where the row above changes, a pixel is predicted to be as the one above; elsewhere as the one to its left. So
    "unlike the pixel above" is a sum of *differs* along the row that begins anew at every change above.
    """
    anew = (over ^ over << 1) & wide
    sums, step = differs, 1
    while step < wide.bit_length():
        sums ^= sums << step
        step <<= 1
    sums &= wide
    stale = sums << 1 & anew  # the places that begin anew with a sum of 1 behind them, which has to be taken off again
    on = wide & ~anew  # stretches that go on: a carry runs through each to its end
    carried = (on + (stale << 1) ^ on) & on | stale
    return (sums ^ carried ^ over) & wide


def _sums_along(words: _Words) -> _Words:
    """Return, for every bit of each row, the sum modulo two of the bits up to it."""
    sums = words.copy()
    for step in (1, 2, 4, 8, 16, 32):
        sums ^= sums << np.uint64(step)
    if sums.shape[1] > 1:
        ends = np.ascontiguousarray((sums[:, :-1] >> np.uint64(63)).T)  # down the columns numpy is much faster
        sums[:, 1:] ^= np.uint64(0) - np.bitwise_xor.accumulate(ends, axis=0).T
    return sums


def _inside(width: int, words: int) -> _Words:
    """Return one row in which the bits of pixels are set."""
    bits = ((1 << width) - 1) << 1
    return np.frombuffer(bits.to_bytes(words * 8, "little"), "<u8")


def _edges(solid: _Words, height: int, width: int) -> npt.NDArray[np.int64]:
    """Return the places, in column order, whose pixel is unlike the one before: the one above, or the last column's."""
    changes = solid[1:] ^ solid[:-1]
    above, words = np.nonzero(changes != 0)  # numpy finds what is true many times faster than what is not 0
    set_bits = np.flatnonzero(np.unpackbits(changes[above, words].view(np.uint8), bitorder="little").view(np.bool_))
    of_word = set_bits >> 6
    columns = (words[of_word] << 6) + (set_bits & 63) - 1
    first, last = (_columns(solid[row], width) for row in (0, -1))
    turns = np.flatnonzero(first[1:] != last[:-1])
    return np.sort(np.concatenate((columns * height + above[of_word] + 1, (turns + 1) * height)))


def _columns(row: _Words, width: int) -> _Bytes:
    """Return one row as a byte for each pixel."""
    return np.unpackbits(row.view(np.uint8), bitorder="little")[1 : width + 1]
