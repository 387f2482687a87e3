"""
What a picture file says about itself in its first bytes, read without decoding it.

Why by hand: a file of 69 bytes can claim 400 million pixels, so its size has to be known before a decoder sees it, and
opening every mask twice would cost more than reading these few bytes.

Source: https://www.w3.org/TR/png-3/ (IHDR), ITU-T T.81 (SOF markers),
https://developers.google.com/speed/webp/docs/riff_container, read 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"
#: Start-of-frame markers: 0xC0 to 0xCF without DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Markers that stand alone, without a length: TEM, RST0 to RST7, SOI.
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What the header claims; the pixels behind it may still be cut or broken."""

    media_type: str
    """`image/png`, `image/jpeg` or `image/webp`."""
    width: int
    height: int


def media_type_of(data: bytes) -> str | None:
    """
    Return the media type by the first bytes, whatever anybody called the file; None for any other format.

    >>> media_type_of(bytes.fromhex("89504e470d0a1a0a"))
    'image/png'
    """
    if data.startswith(_PNG):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def read_header(data: bytes) -> PictureHeader | None:
    """Return the header of a PNG, JPEG or WebP file; None where it is another format or cut off inside the header."""
    media_type = media_type_of(data)
    if media_type is None:
        return None
    size = _SIZES[media_type](data)
    if size is None or 0 in size:
        return None
    return PictureHeader(media_type, *size)


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Return `(width, height)` of the IHDR chunk, which has to be the first one."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        return None
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return `(width, height)` of the first frame header."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            at += 1
        elif marker in _START_OF_FRAME:
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        elif marker in _BARE_MARKERS:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Return `(width, height)` of the extended, lossy or lossless header."""
    if len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


_SIZES = {"image/png": _png_size, "image/jpeg": _jpeg_size, "image/webp": _webp_size}
