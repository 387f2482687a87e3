"""Scenes for tests of fitting: white things on black, whose truth is known to the pixel."""

from __future__ import annotations

import io

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from gateway.intake.turning import TURNS
from providers.contract import Bitmap, Limits, Picture
from tests.gateway.intake.picture_files import exif, taken

SAM3 = Limits(min_side=256, max_side=4096, max_bytes=10_000_000)
SAM2 = Limits(min_side=256, max_side=2048, max_bytes=10_000_000)

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}

#: How an upright picture is stored so that its EXIF orientation turns it upright again.
STORED = {
    orientation: {
        Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
        Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    }.get(turn, turn)
    for orientation, turn in TURNS.items()
}


def truth(width: int, height: int, chance: np.random.Generator) -> Bitmap:
    """Return a thing: an ellipse, a leaning rectangle or a polygon with a hole, a fifth of the picture or more."""
    bitmap = np.zeros((height, width), np.uint8)
    centre = (int(width * chance.uniform(0.3, 0.7)), int(height * chance.uniform(0.3, 0.7)))
    half = (max(3, int(width * chance.uniform(0.25, 0.6))), max(3, int(height * chance.uniform(0.25, 0.6))))
    kind, angle = int(chance.integers(3)), float(chance.uniform(0, 180))
    if kind == 0:
        cv2.ellipse(bitmap, centre, half, angle, 0, 360, 1, -1)
        return bitmap
    corners = cv2.boxPoints((centre, (half[0] * 2, half[1] * 2), angle)).astype(np.int32)
    cv2.fillPoly(bitmap, [corners], 1)
    if kind == 2:
        cv2.ellipse(bitmap, centre, (half[0] // 3, half[1] // 3), angle, 0, 360, 0, -1)
    return bitmap


def picture_of(bitmap: Bitmap, orientation: int = 1) -> Picture:
    """Return a grey PNG of it as the gateway takes it in, stored as EXIF's *orientation* says."""
    image = Image.fromarray(bitmap * np.uint8(255))
    stored = image if orientation == 1 else image.transpose(STORED[orientation])
    target = io.BytesIO()
    stored.save(target, "PNG", compress_level=1, exif=exif(orientation))
    return taken(target.getvalue())


def written(pixels: npt.NDArray[np.uint8], extension: str = "png", *options: int) -> Picture:
    """Return pixels as a picture in that format."""
    stored, data = cv2.imencode(f".{extension}", pixels, list(options))
    assert stored
    return Picture(data.tobytes(), MEDIA_TYPES[extension], pixels.shape[1], pixels.shape[0], "blake3:0")


def colours(picture: Picture) -> npt.NDArray[np.uint8]:
    """Return what a model sees: `(height, width, 3)` in blue, green, red."""
    pixels = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def seen(picture: Picture) -> npt.NDArray[np.uint8]:
    """Return what a model sees in grey: `(height, width)`."""
    pixels = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    assert pixels.shape == picture.size
    return np.asarray(pixels, np.uint8)
