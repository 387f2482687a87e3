"""
A TIFF's first directory; those after it are further pages, and are not looked at.

Source: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, https://www.awaresystems.be/imaging/tiff/bigtiff.html,
read 2026-12.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from providers.contract.headers.exif import UPRIGHT
from providers.contract.headers.header import OtherFormat, PictureHeader, UnreadablePicture, Work

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PACKING, _COLOURS = 254, 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 274, 277, 279, 324, 325
_SUB_DIRECTORIES, _EXTRA_SAMPLES, _DNG = 330, 338, 50706
_WANTED = frozenset(
    {_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PACKING, _COLOURS, _STRIPS, _ORIENTATION, _SAMPLES, _STRIP_BYTES, _TILES}
    | {_TILE_BYTES, _SUB_DIRECTORIES, _EXTRA_SAMPLES, _DNG}
)

#: What the TIFF library unpacks: none, CCITT, LZW, JPEG, deflate, PackBits, LZMA, Zstandard.
_PACKINGS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000})
_LOSSY = frozenset({6, 7})
#: Colours as a sensor sees them: a camera's raw file. And inks.
_RAW_COLOURS = frozenset({32803, 34892})
_INKS = 5

_FORMATS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MOST_ENTRIES = 1_024
_MOST_STRIPS = 131_072

_RAW = "it is a camera's raw file; develop it, and send a JPEG or a PNG"
_CUT = "it is cut off: its pixels are missing"


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers are written in the file."""

    order: str
    big: bool

    @property
    def offset(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    @property
    def count(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> struct.Struct:
        return struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))


def read_tiff(data: bytes, work: Work) -> PictureHeader:
    """
    Read the first directory of a TIFF.

    Raises:
        UnreadablePicture: cut off, or not as the format prescribes.
        OtherFormat: a camera's raw file, or packed in a way that is not read.
    """
    if data[8:10] == b"CR":
        raise OtherFormat(_RAW)
    layout = _Layout("<" if data[:1] == b"I" else ">", data[2:3] == b"+" or data[3:4] == b"+")
    try:
        first = layout.offset.unpack_from(data, 8 if layout.big else 4)[0]
        tags, pages = _directory(data, first, layout, work)
    except (struct.error, OverflowError):
        raise UnreadablePicture("it is cut off: its directory is missing") from None
    return _header(tags, pages, len(data))


def _directory(data: bytes, first: int, layout: _Layout, work: Work) -> tuple[dict[int, tuple[int, ...]], int]:
    """Return the tags that matter, and whether there is a further page: 1 or 2."""
    entries = layout.count.unpack_from(data, first)[0]
    if not 0 < entries <= _MOST_ENTRIES:
        raise UnreadablePicture(f"its directory claims {entries} entries; at most {_MOST_ENTRIES} are read")
    at, tags = first + layout.count.size, dict[int, tuple[int, ...]]()
    for _ in range(entries):
        work.add()
        tag, kind, count, place = layout.entry.unpack_from(data, at)
        if tag in _WANTED and tag not in tags and kind in _FORMATS:
            tags[tag] = _values(data, kind, count, place, layout, work)
        at += layout.entry.size
    following = layout.offset.unpack_from(data, at)[0]
    return tags, 2 if 0 < following < len(data) and following != first else 1


def _values(data: bytes, kind: int, count: int, place: bytes, layout: _Layout, work: Work) -> tuple[int, ...]:
    """Return what an entry holds, here or elsewhere in the file."""
    if count > _MOST_STRIPS:
        raise UnreadablePicture(f"its directory claims {count} values for one entry; at most {_MOST_STRIPS} are read")
    work.add(count // 64)
    numbers = struct.Struct(f"{layout.order}{count}{_FORMATS[kind]}")
    if numbers.size <= len(place):
        return numbers.unpack_from(place)
    return numbers.unpack_from(data, layout.offset.unpack(place)[0])


def _header(tags: Mapping[int, tuple[int, ...]], pages: int, size: int) -> PictureHeader:
    def one(tag: int, otherwise: int) -> int:
        return (tags.get(tag) or (otherwise,))[0]

    if _DNG in tags or one(_COLOURS, 1) in _RAW_COLOURS or (one(_SUBFILE, 0) & 1 and _SUB_DIRECTORIES in tags):
        raise OtherFormat(_RAW)
    width, height, packing = one(_WIDTH, 0), one(_HEIGHT, 0), one(_PACKING, 1)
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise UnreadablePicture(f"it claims {width} x {height} pixels")
    if packing not in _PACKINGS:
        raise OtherFormat(f"it is a TIFF packed in a way that is not read (compression {packing}); save it as a PNG")
    places, sizes = tags.get(_STRIPS) or tags.get(_TILES), tags.get(_STRIP_BYTES) or tags.get(_TILE_BYTES)
    if not places:
        raise UnreadablePicture(_CUT)
    if any(place + length > size for place, length in zip(places, sizes or (1,) * len(places), strict=False)):
        raise UnreadablePicture(_CUT)
    samples, orientation = one(_SAMPLES, 1), one(_ORIENTATION, UPRIGHT)
    if not 1 <= samples <= 16:
        raise UnreadablePicture(f"it claims {samples} channels")
    return PictureHeader(
        "image/tiff",
        width,
        height,
        bits=max(8, one(_BITS, 1)),
        channels=min(samples, 4) if samples > 1 else 1,
        transparent=_EXTRA_SAMPLES in tags and one(_COLOURS, 1) != _INKS,
        orientation=orientation if orientation in range(1, 9) else UPRIGHT,
        frames=pages,
        lossless=packing not in _LOSSY,
        end=size,
    )
