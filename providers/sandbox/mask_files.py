"""
One mask in every form of file that the wild sends.

PNGs are written here by hand, since no library writes all depths, nor any of the broken ones.

Source: PNG specification (third edition), sections 5 and 11: chunks, IHDR, palette, sample depths.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

from providers.contract import Mask
from providers.sandbox.faults import MaskForm
from providers.sandbox.scene import Rgb

Grey = npt.NDArray[np.uint8]
"""`(height, width)`, 0 and 255."""

_GREY, _PALETTE, _GREY_ALPHA, _RGBA = 0, 3, 4, 6
_TOP_LEVEL = 1
"""Compression of the PNGs: fast, since each file is made once and read in the same process."""


def reformed(data: bytes, form: MaskForm) -> tuple[str, bytes]:
    """
    Return media type and file of a mask in another form; a file that is no picture is left as it is.

    Not for the event loop: it decodes and encodes.
    """
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        return "application/octet-stream", data
    solid: Grey = np.where(np.asarray(grey) > 127, np.uint8(255), np.uint8(0))
    return _FORMS[form](solid)


def png(depth: int, colour: int, size: tuple[int, int], rows: bytes, *, palette: bytes = b"") -> bytes:
    """
    Return a PNG file.

    Args:
        depth: bits of a sample.
        colour: PNG's colour type.
        size: `(width, height)` as the header shall say it.
        rows: the packed rows, each after its filter byte.
        palette: red, green and blue of every entry, for the colour type that has one.
    """
    return png_of_rows(depth, colour, size, zlib.compress(rows, _TOP_LEVEL), palette=palette)


def png_of_rows(depth: int, colour: int, size: tuple[int, int], packed: bytes, *, palette: bytes = b"") -> bytes:
    """Return a PNG file whose rows are compressed already; see `png`."""
    header = size[0].to_bytes(4) + size[1].to_bytes(4) + bytes((depth, colour, 0, 0, 0))
    chunks = [(b"IHDR", header), (b"PLTE", palette), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks if data or name == b"IEND")


def cut_out_png(rgb: Rgb, mask: Mask) -> bytes:
    """Return a PNG of the picture on the mask, and transparent black elsewhere: only the mask's box is painted."""
    height, width = mask.size
    rows = np.zeros((height, 4 * width + 1), np.uint8)
    box = mask.box
    if box is not None:
        down, across = slice(box.y_min, box.y_max), slice(box.x_min, box.x_max)
        solid = mask.bitmap[down, across]
        cut = np.dstack((rgb[down, across] * solid[:, :, None], solid * np.uint8(255)))
        rows[down, 1 + 4 * box.x_min : 1 + 4 * box.x_max] = cut.reshape(cut.shape[0], -1)
    return png_of_rows(8, _RGBA, (width, height), zlib_ng.compress(rows, _TOP_LEVEL))


def _chunk(name: bytes, data: bytes) -> bytes:
    """Return one chunk."""
    return len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4)


def _png(packed: npt.NDArray[np.uint8], size: tuple[int, int], depth: int, colour: int, palette: bytes = b"") -> bytes:
    """Return a PNG of rows that are packed already; *size* is `(width, height)`."""
    rows = np.zeros((packed.shape[0], packed.shape[1] + 1), np.uint8)  # a filter byte of 0 leads each row
    rows[:, 1:] = packed
    return png(depth, colour, size, rows.tobytes(), palette=palette)


def _size(grey: Grey) -> tuple[int, int]:
    """Return width and height."""
    return grey.shape[1], grey.shape[0]


def _of_depth(depth: int) -> Callable[[Grey], tuple[str, bytes]]:
    """Write grey PNGs of that many bits a pixel, white being the largest value."""

    def write(grey: Grey) -> tuple[str, bytes]:
        bits = np.repeat(grey > 0, depth, axis=1)
        return "image/png", _png(np.packbits(bits, axis=1), _size(grey), depth, _GREY)

    return write


def _palette(grey: Grey) -> tuple[str, bytes]:
    """Write indices into a palette whose first entry is white."""
    return "image/png", _png((grey == 0).astype(np.uint8), _size(grey), 8, _PALETTE, b"\xff\xff\xff\x00\x00\x00")


def _grey_alpha(grey: Grey) -> tuple[str, bytes]:
    """Write the mask as the alpha of a white picture."""
    pairs = np.dstack((np.full_like(grey, 255), grey)).reshape(grey.shape[0], -1)
    return "image/png", _png(pairs, _size(grey), 8, _GREY_ALPHA)


def _rgba(grey: Grey) -> tuple[str, bytes]:
    """Write a cut-out: a colour on the object, transparent black elsewhere."""
    colour = np.array((30, 90, 200), np.uint8)
    return _encoded(".png", np.dstack(((grey > 0)[:, :, None] * colour, grey)))


def _soft(grey: Grey) -> tuple[str, bytes]:
    """Write blurred edges; what was the object stays above the middle but for corners."""
    return _encoded(".png", cv2.GaussianBlur(grey, (7, 7), 0))


def _half(grey: Grey) -> tuple[str, bytes]:
    """Write every second pixel of every second row."""
    return _encoded(".png", grey[::2, ::2])


def _truncated(grey: Grey) -> tuple[str, bytes]:
    """Write half of a file."""
    media_type, data = _encoded(".png", grey)
    return media_type, data[: len(data) // 2]


def _bad_crc(grey: Grey) -> tuple[str, bytes]:
    """Write a file whose pixels do not match their checksum."""
    media_type, data = _encoded(".png", grey)
    end = data.rindex(b"IEND") - 4  # the checksum of the chunk before ends where IEND's length begins
    return media_type, data[: end - 4] + bytes(byte ^ 0xFF for byte in data[end - 4 : end]) + data[end:]


def _encoded(extension: str, pixels: npt.NDArray[np.generic], *options: int) -> tuple[str, bytes]:
    """Return media type and file of some pixels."""
    written, data = cv2.imencode(extension, np.ascontiguousarray(pixels), options)
    assert written
    return f"image/{'jpeg' if extension == '.jpg' else extension[1:]}", data.tobytes()


_FORMS: Mapping[MaskForm, Callable[[Grey], tuple[str, bytes]]] = {
    MaskForm.BIT_1: _of_depth(1),
    MaskForm.BIT_2: _of_depth(2),
    MaskForm.BIT_4: _of_depth(4),
    MaskForm.BIT_16: _of_depth(16),
    MaskForm.PALETTE: _palette,
    MaskForm.GREY_ALPHA: _grey_alpha,
    MaskForm.RGBA: _rgba,
    MaskForm.JPEG: lambda grey: _encoded(".jpg", grey, cv2.IMWRITE_JPEG_QUALITY, 60),
    MaskForm.WEBP: lambda grey: _encoded(".webp", grey, cv2.IMWRITE_WEBP_QUALITY, 101),
    MaskForm.INVERTED: lambda grey: _encoded(".png", 255 - grey),
    MaskForm.ALL_BLACK: lambda grey: _encoded(".png", np.zeros_like(grey)),
    MaskForm.ALL_WHITE: lambda grey: _encoded(".png", np.full_like(grey, 255)),
    MaskForm.OTHER_SIZE: _half,
    MaskForm.TRUNCATED: _truncated,
    MaskForm.BAD_CRC: _bad_crc,
    MaskForm.ZERO_BY_ZERO: lambda _: ("image/png", png(8, _GREY, (0, 0), b"")),
    MaskForm.HUGE_HEADER: lambda _: ("image/png", png(8, _GREY, (65_535, 65_535), b"\0")),
    MaskForm.SOFT: _soft,
}
