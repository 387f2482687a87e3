"""Picture files for tests, made by Pillow or byte by byte."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gateway.intake.converting import needs_pixels, prepared
from gateway.intake.picture import PictureLimits, check_picture, finished
from providers.contract import Picture

Pixels = npt.NDArray[np.uint8]

ORIENTATION = 0x0112
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def slopes(width: int = 48, height: int = 32) -> Pixels:
    """Return `(height, width, 3)` pixels that differ everywhere and change slowly, so that JPEG keeps them."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns * 4, rows * 6, 255 - (columns + rows) * 2], axis=-1).astype(np.uint8)


def noise(width: int = 64, height: int = 48, *, seed: int = 1) -> Pixels:
    """Return `(height, width, 3)` pixels that compress badly: every part of the file matters."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def file_of(pixels: Pixels, kind: str, **options: Any) -> bytes:
    """Return the pixels as a file of that kind, by Pillow's name for it."""
    return file_of_image(Image.fromarray(pixels), kind, **options)


def file_of_image(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture of any mode as a file."""
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def taken(data: bytes, limits: PictureLimits | None = None, *, url: str | None = None) -> Picture:
    """Return what becomes of a file, with all that is else done in a decoder process done here."""
    checked = check_picture(data, url=url, limits=limits or PictureLimits())
    if not needs_pixels(checked.header):
        return checked.picture
    return finished(checked, prepared(checked.picture.data, checked.header))


def exif(orientation: int) -> bytes:
    """Return an EXIF block with nothing but an orientation."""
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block.tobytes()


def camera_jpeg(pixels: Pixels) -> bytes:
    """Return a JPEG as a camera writes it: its EXIF block ends in a thumbnail that is a whole JPEG itself."""
    thumbnail = file_of(pixels[::4, ::4], "JPEG")
    return file_of(pixels, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + thumbnail)


def pixels_of(data: bytes) -> Pixels:
    """Return what a reader that ignores EXIF sees in a file."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_chunks(width: int, height: int, *between: bytes, pixels: bytes = b"") -> bytes:
    """Return a grey PNG of that size with chunks before its pixel data, which need not suffice."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return PNG_SIGNATURE + header + b"".join(between) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
