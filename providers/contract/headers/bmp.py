"""
A BMP's header.

Source: https://learn.microsoft.com/en-us/windows/win32/gdi/bitmap-storage (BITMAPCOREHEADER to BITMAPV5HEADER), read
2026-12.
"""

from __future__ import annotations

import struct

from providers.contract.headers.header import OtherFormat, PictureHeader, UnreadablePicture, Work

_CORE = 12
_SIZES = frozenset({_CORE, 16, 40, 52, 56, 64, 108, 124})
_PLAIN, _RLE8, _RLE4, _FIELDS, _ALPHA_FIELDS = 0, 1, 2, 3, 6
_BITS = frozenset({1, 4, 8, 16, 24, 32})


def read_bmp(data: bytes, work: Work) -> PictureHeader:
    """
    Read the header of a BMP.

    Raises:
        UnreadablePicture: cut off, or not as the format prescribes.
        OtherFormat: it only wraps a file of another format.
    """
    work.add()
    if len(data) < 26:
        raise UnreadablePicture("it is cut off inside its header")
    offset, size = struct.unpack_from("<II", data, 10)
    if size not in _SIZES:
        raise UnreadablePicture(f"no BMP has a header of {size} bytes")
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packing = _PLAIN
    else:
        if len(data) < 14 + size:
            raise UnreadablePicture("it is cut off inside its header")
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
        packing = struct.unpack_from("<I", data, 30)[0] if size >= 40 else _PLAIN
    height = abs(height)
    if packing not in {_PLAIN, _RLE8, _RLE4, _FIELDS, _ALPHA_FIELDS}:
        raise OtherFormat(f"it is a BMP of a kind that is not read (compression {packing}); save it as a PNG")
    if bits not in _BITS or width < 1 or height < 1:
        raise UnreadablePicture(f"it claims {width} x {height} pixels of {bits} bits")
    if packing not in {_RLE8, _RLE4} and offset + (width * bits + 31) // 32 * 4 * height > len(data):
        raise UnreadablePicture("it is cut off: its pixels are missing")
    transparent = bits == 32 and packing != _PLAIN
    return PictureHeader("image/bmp", width, height, channels=3 + transparent, transparent=transparent, end=len(data))
