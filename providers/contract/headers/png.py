"""
A PNG's chunks.

No codec is shown the chunks of an animation (OpenCV 5.0.0.93 crashed on them): *still* leaves them out, and the picture
is the default image. Packed text and profiles are unpacked here, within bounds and thrown away: what they would come to
cannot be told otherwise, and decoders unpack them without asking.

Source: https://www.w3.org/TR/png-3/, read 2026-12; Apple's own form: https://iphonedev.wiki/CgBI_file_format.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from providers.contract.headers.exif import UPRIGHT, orientation_in
from providers.contract.headers.header import PictureHeader, UnreadablePicture, Work, merged

SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Channels of each colour type, and the depths it may have.
_TYPES = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (3, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}
_PALETTE = 3
_ALPHA = frozenset({4, 6})

_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_PACKED = frozenset({b"zTXt", b"iTXt", b"iCCP"})
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})

#: Chunks beside the pixels; the PNG library keeps no more.
_MOST_ANCILLARY = 1_000
#: What all packed text and profiles may come to, in bytes.
_MOST_UNPACKED = 4 * 2**20
#: How many times smaller deflate can make anything. Source: https://zlib.net/zlib_tech.html, read 2026-12.
_DEFLATE = 1032

_CUT = "it is cut off: its end is missing"
_HEAD = struct.Struct(">I4s")
_STEP_BYTES = 16_384


@dataclass(slots=True)
class _Seen:
    """What has been seen of the file so far."""

    kept: list[tuple[int, int]] = field(default_factory=lambda: [(0, len(SIGNATURE))])
    pixel_bytes: int = 0
    ancillary: int = 0
    unpacked: int = 0
    frames: int = 0
    palette: bool = False
    see_through: bool = False
    orientation: int = UPRIGHT


def read_png(data: bytes, work: Work) -> PictureHeader:
    """
    Go through the chunks of a PNG.

    Raises:
        UnreadablePicture: cut off, Apple's own form, or not as the format prescribes.
    """
    seen, at, before = _Seen(), len(SIGNATURE), b""
    width = height = bits = kind = 0
    while before != b"IEND":
        work.add()
        name, end = _chunk(data, at)
        if not before:
            width, height, bits, kind = _ihdr(data, name, end - at - 12)
        elif name == b"IDAT":
            if seen.pixel_bytes and before != b"IDAT":
                raise UnreadablePicture("other chunks stand between its pixel data")
            if not seen.pixel_bytes and kind == _PALETTE and not seen.palette:
                raise UnreadablePicture("it has no palette, and its pixels refer to one")
            seen.pixel_bytes += end - at - 12
        else:
            _note(data, at, name, end - at - 12, seen, work)
        if name not in _ANIMATION:
            seen.kept.append((at, end))
        at, before = end, name
    channels = _TYPES[kind][0]
    whole = seen.pixel_bytes > 0 and seen.pixel_bytes * _DEFLATE + 64 >= height * (1 + width * bits * channels // 8)
    kept = merged(seen.kept)
    extra = seen.see_through and kind not in _ALPHA
    return PictureHeader(
        "image/png",
        width,
        height,
        bits=max(8, bits),
        channels=channels + extra,
        transparent=seen.see_through or kind in _ALPHA,
        orientation=seen.orientation,
        frames=max(1, min(seen.frames, 2)),
        complete=whole,
        end=at,
        still=kept if len(kept) > 1 else (),
    )


def _chunk(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the name of the chunk there, and where it ends."""
    if at + 12 > len(data):
        raise UnreadablePicture(_CUT)
    length, name = _HEAD.unpack_from(data, at)
    if not name.isalpha():
        raise UnreadablePicture(f"a chunk of it is called {name!r}, which none is: the file is damaged")
    if at + 12 + length > len(data):
        raise UnreadablePicture(_CUT)
    return name, at + 12 + length


def _ihdr(data: bytes, name: bytes, length: int) -> tuple[int, int, int, int]:
    """Return width, height, bits and colour type from the first chunk, which has to be IHDR."""
    if name == b"CgBI":
        raise UnreadablePicture(
            "it is a PNG in Apple's own form (CgBI), made for iOS apps, which only Apple's software reads; "
            "turn it into a standard PNG (`pngcrush -revert-iphone-optimizations`) or send the picture it was made of"
        )
    if name != b"IHDR" or length != 13:
        raise UnreadablePicture("it does not begin with a PNG's header")
    _check_sum(data, 8, 13, name)
    width, height, bits, kind, packing, filtering, order = struct.unpack_from(">IIBBBBB", data, 16)
    if kind not in _TYPES or bits not in _TYPES[kind][1] or packing or filtering or order > 1:
        raise UnreadablePicture(f"no PNG has colour type {kind} in {bits} bits, packed {packing}, {filtering}, {order}")
    if not 0 < width <= 0x7FFFFFFF or not 0 < height <= 0x7FFFFFFF:
        raise UnreadablePicture(f"it claims {width} x {height} pixels")
    return width, height, bits, kind


def _note(data: bytes, at: int, name: bytes, length: int, seen: _Seen, work: Work) -> None:
    """Note what a chunk other than header and pixels says."""
    if name[:1].isupper():
        if name not in _CRITICAL or name == b"IHDR":
            _refuse_critical(name)
        _check_sum(data, at, length, name)
        seen.palette = seen.palette or name == b"PLTE"
        return
    if name in _ANIMATION:
        seen.frames += name == b"fcTL"
        return
    seen.ancillary += 1
    if seen.ancillary > _MOST_ANCILLARY:
        raise UnreadablePicture(f"more than {_MOST_ANCILLARY} chunks stand beside its pixels; save it without metadata")
    if name in _PACKED:
        _unpack(data, at + 8, at + 8 + length, name, seen, work)
    elif name == b"tRNS":
        seen.see_through = seen.see_through or not seen.pixel_bytes
    elif name == b"eXIf" and not seen.pixel_bytes:
        seen.orientation = orientation_in(data[at + 8 : at + 8 + min(length, 65_536)])


def _refuse_critical(name: bytes) -> None:
    if name == b"CgBI":
        raise UnreadablePicture("it is a PNG in Apple's own form (CgBI); send a standard one")
    raise UnreadablePicture(f"a chunk called {name.decode()} stands where none may: the file is damaged")


def _check_sum(data: bytes, at: int, length: int, name: bytes) -> None:
    end = at + 8 + length
    if zlib.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
        raise UnreadablePicture(f"the checksum of its chunk {name.decode()} is wrong: the file is damaged")


def _unpack(data: bytes, start: int, end: int, name: bytes, seen: _Seen, work: Work) -> None:
    """Count what a packed chunk comes to."""
    text = data.find(b"\0", start, min(end, start + 81))
    if text < 0:
        return
    text += 2  # the method
    if name == b"iTXt":
        if data[text - 1 : text] != b"\1":
            return  # it is not packed
        language = data.find(b"\0", text + 1, end)
        text = data.find(b"\0", language + 1, end) + 1 if language >= 0 else 0
        if text < 1:
            return
    unpacker = zlib.decompressobj()
    packed = b""
    while (packed or text < end) and not unpacker.eof:
        if not packed:
            packed, text = data[text : min(end, text + _STEP_BYTES)], text + _STEP_BYTES
        before = len(packed)
        try:
            came = len(unpacker.decompress(packed, 4 * _STEP_BYTES))
        except zlib.error:
            return  # decoders pass over it, too
        packed = unpacker.unconsumed_tail
        seen.unpacked += came
        work.add(1 + (came + before - len(packed)) // 512)
        if seen.unpacked > _MOST_UNPACKED:
            raise UnreadablePicture(
                f"its text and colour profile unpack to more than {_MOST_UNPACKED} bytes; save it without metadata"
            )
