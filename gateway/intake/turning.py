"""
Bring a picture upright that EXIF says lies on its side: bake the turn into its pixels. For a decoder process.

It stays in its own format and mode, its colours keep their meaning, and its EXIF block goes.
"""

from __future__ import annotations

import io
import struct
import warnings
from typing import Final

from PIL import Image

from gateway.problems import InvalidImage
from providers.contract.headers import for_codec

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

#: All that Pillow is known to raise about bytes that are not what their header says.
UNREADABLE: Final = (OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error)


def turned(data: bytes, orientation: int) -> bytes:
    """
    Return the file of the upright picture.

    Args:
        data: a PNG, JPEG or WebP file.
        orientation: by EXIF, 2 to 8.

    Raises:
        InvalidImage: its pixels cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about many pixels, which are bounded, and about odd headers
            with Image.open(io.BytesIO(for_codec(data)), formats=("PNG", "JPEG", "WEBP")) as image:
                return _turned(image, orientation)
    except UNREADABLE as error:
        raise InvalidImage(f"the picture could not be turned upright as its EXIF says: {error}") from error


def _turned(image: Image.Image, orientation: int) -> bytes:
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
