"""
A WebP's chunks, within what its RIFF header says is the file.

Source: RFC 9649 (container, VP8 and VP8L headers), read 2026-12. EXIF's block is raw, or begins as in a JPEG: both are
written.
"""

from __future__ import annotations

from dataclasses import dataclass

from providers.contract.headers.exif import UPRIGHT, orientation_in
from providers.contract.headers.header import PictureHeader, UnreadablePicture, Work

_ALPHA, _ANIMATED = 0x10, 0x02
_CUT = "it is cut off: its end is missing"


@dataclass(slots=True)
class _Seen:
    """What has been seen of the file so far."""

    canvas: tuple[int, int] | None = None
    picture: tuple[int, int] | None = None
    animated: bool = False
    frames: int = 0
    transparent: bool = False
    lossless: bool = False
    orientation: int | None = None


def read_webp(data: bytes, work: Work) -> PictureHeader:
    """
    Go through the chunks of a WebP.

    Raises:
        UnreadablePicture: cut off, or not as the format prescribes.
    """
    end = int.from_bytes(data[4:8], "little") + 8
    if end > len(data):
        raise UnreadablePicture(_CUT)
    seen, at = _Seen(), 12
    while at + 8 <= end:
        work.add()
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > end:
            raise UnreadablePicture(_CUT)
        if at == 12 and name not in {b"VP8X", b"VP8 ", b"VP8L"}:
            raise UnreadablePicture(f"it begins with a chunk {name!r}, as no WebP does")
        _note(data, at + 8, name, size, seen)
        at += 8 + size + size % 2
        if seen.canvas is None:  # a simple file: what comes after its one chunk is passed over by everybody
            break
    size_of = seen.canvas or seen.picture
    if size_of is None or (seen.picture is None and not seen.frames):
        raise UnreadablePicture(_CUT)
    if seen.canvas is not None and not seen.frames and seen.picture != seen.canvas:
        raise UnreadablePicture(f"it claims two sizes, {seen.canvas} and {seen.picture}")
    return PictureHeader(
        "image/webp",
        *size_of,
        channels=3 + seen.transparent,
        transparent=seen.transparent,
        orientation=seen.orientation or UPRIGHT,
        frames=max(1, min(2, seen.frames)),
        lossless=seen.lossless,
        animated=seen.animated,
        end=end,
    )


def _note(data: bytes, at: int, name: bytes, size: int, seen: _Seen) -> None:
    """Note what a chunk says."""
    if name == b"VP8X" and at == 20 and size >= 10:
        seen.canvas = (
            int.from_bytes(data[at + 4 : at + 7], "little") + 1,
            int.from_bytes(data[at + 7 : at + 10], "little") + 1,
        )
        seen.animated = bool(data[at] & _ANIMATED)
        seen.transparent = bool(data[at] & _ALPHA)
    elif name == b"ANMF" and seen.animated:
        seen.frames += 1
    elif name == b"VP8 " and seen.picture is None and not seen.animated:
        seen.picture = _lossy(data, at, size)
    elif name == b"VP8L" and seen.picture is None and not seen.animated:
        seen.picture, see_through = _without_loss(data, at, size)
        seen.lossless, seen.transparent = True, seen.transparent or see_through
    elif name == b"EXIF" and seen.orientation is None and seen.canvas is not None:
        seen.orientation = orientation_in(data[at : at + min(size, 65_536)])


def _lossy(data: bytes, at: int, size: int) -> tuple[int, int]:
    """Return width and height from a VP8 key frame."""
    if size < 10 or data[at] & 1 or data[at + 3 : at + 6] != b"\x9d\x01\x2a":
        raise UnreadablePicture("its pixels do not begin as a WebP's do")
    width, height = (int.from_bytes(data[at + place : at + place + 2], "little") & 0x3FFF for place in (6, 8))
    if not width or not height:
        raise UnreadablePicture(f"it claims {width} x {height} pixels")
    return width, height


def _without_loss(data: bytes, at: int, size: int) -> tuple[tuple[int, int], bool]:
    """Return width and height, and whether there is alpha, from a VP8L header."""
    bits = int.from_bytes(data[at + 1 : at + 5], "little")
    if size < 5 or data[at] != 0x2F or bits >> 29:
        raise UnreadablePicture("its pixels do not begin as a WebP's do")
    return ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1)
