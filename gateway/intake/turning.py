"""
Bring a picture upright that EXIF says lies on its side: bake the turn into its pixels. Belongs on a worker thread.

It stays in its own format, its colours keep their meaning, and its EXIF block goes. Two ways: Pillow keeps every mode
as it is, down to the colours under transparent pixels, but gives a large picture's memory back in one go, under
Python's lock: 100 megapixels stop every thread for some 40 ms. So large ones are turned by OpenCV, by way of files,
into memory of our own, which lies in huge pages and is given back in no time.
"""

from __future__ import annotations

import io
import struct
import tempfile
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from gateway.problems import InvalidImage

UPRIGHT: Final = 1

#: What brings each EXIF orientation upright. Source: https://www.cipa.jp/std/documents/e/DC-008-2012_E.pdf (4.6.4)
TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: The same, as whether rows become columns, and then whether columns and rows are to be reversed.
_STEPS: Final = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
_FLIPS: Final = {(True, False): 1, (False, True): 0, (True, True): -1}
"""OpenCV's word for reversing columns, rows, or both."""

#: From here on a picture is turned by OpenCV.
LARGE_PIXELS: Final = 32_000_000

#: All that Pillow is known to raise about bytes that are not what their header says.
UNREADABLE: Final = (OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error)


def turned(image: Image.Image, data: bytes, orientation: int, *, large_pixels: int = LARGE_PIXELS) -> bytes:
    """
    Return the file of the upright picture.

    Args:
        image: the opened picture; its pixels need not have been read.
        data: its file.
        orientation: by EXIF, 2 to 8.
        large_pixels: from how many on OpenCV turns it.

    Raises:
        InvalidImage: its pixels cannot be read.
    """
    try:
        if image.width * image.height < large_pixels:
            return _turned_small(image, orientation)
        return _turned_large(image, data, orientation)
    except (*UNREADABLE, cv2.error) as error:
        raise InvalidImage(f"the picture could not be turned upright as its EXIF says: {error}") from error


def _turned_small(image: Image.Image, orientation: int) -> bytes:
    target = io.BytesIO()
    colours = image.info.get("icc_profile") or b""
    upright = image.transpose(TURNS[orientation])
    if image.format == "PNG":
        upright.save(target, "PNG", compress_level=3, exif=b"")
    elif image.format == "WEBP":
        upright.save(target, "WEBP", lossless=True, exact=True, quality=20, exif=b"", icc_profile=colours)
    else:
        upright.save(target, "JPEG", quality=95, subsampling=0, exif=b"", xmp=b"", icc_profile=colours)
    return target.getvalue()


def _turned_large(image: Image.Image, data: bytes, orientation: int) -> bytes:
    name, options = {
        "PNG": ("upright.png", [cv2.IMWRITE_PNG_COMPRESSION, 3]),
        "WEBP": ("upright.webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),  # beyond 100 is without loss
    }.get(image.format or "", ("upright.jpg", [cv2.IMWRITE_JPEG_QUALITY, 95, *_FULL_COLOUR]))
    profile = image.info.get("icc_profile") if image.mode != "CMYK" else None  # inks are read as red, green and blue
    with tempfile.TemporaryDirectory(prefix="maskgate-") as folder:
        source, target = Path(folder) / "lying", Path(folder) / name
        source.write_bytes(data)
        flags, memory = _room(image)
        pixels = cv2.imread(str(source), memory, flags | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None or pixels.shape[:2] != (image.height, image.width):
            raise ValueError("its pixels are damaged")
        upright = _upright(pixels, orientation)
        types, chunks = ([cv2.IMAGE_METADATA_ICCP], [np.frombuffer(profile, np.uint8)]) if profile else ([], [])
        if not cv2.imwriteWithMetadata(str(target), upright, types, chunks, options):
            raise ValueError("it cannot be written")
        return target.read_bytes()


_FULL_COLOUR: Final = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


def _room(image: Image.Image) -> tuple[int, np.ndarray]:
    """Return how OpenCV is to read a picture so that nothing of it is lost, and memory of that shape."""
    sides = (image.height, image.width)
    if image.mode.startswith("I"):
        return cv2.IMREAD_UNCHANGED, np.empty(sides, np.uint16)
    if image.mode.endswith("A") or "transparency" in image.info:
        return cv2.IMREAD_UNCHANGED, np.empty((*sides, 4), np.uint8)
    if image.mode in {"1", "L"}:
        return cv2.IMREAD_GRAYSCALE, np.empty(sides, np.uint8)
    return cv2.IMREAD_COLOR, np.empty((*sides, 3), np.uint8)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return the pixels of the upright picture, in memory of our own."""
    across, *reversed_ = _STEPS[orientation]
    if across:
        room = np.empty((pixels.shape[1], pixels.shape[0], *pixels.shape[2:]), pixels.dtype)
        pixels = cv2.transpose(pixels, room)
    if any(reversed_):
        pixels = cv2.flip(pixels, _FLIPS[reversed_[0], reversed_[1]], np.empty_like(pixels))
    return pixels
