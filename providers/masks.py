"""
Mask files as providers really send them, brought into one form.

A mask file is nominally an 8-bit grey PNG of 0 and 255 at the size of the picture. What comes may have one bit or
sixteen, a palette, an alpha channel, JPEG's ringing, or another size. The rules, in order:

1. A transparent picture is a cut-out: its alpha is the mask.
2. A grey picture is its own mask: the object is where it reaches half of full brightness.
3. A picture of black and one other value that does not reach half (0 and 1, a palette's black and dark red) is a mask
   of that other value. Only in PNG, where no noise of a codec can be taken for it.
4. A picture in colours is none of these, and is refused: a photograph cut at half brightness looks like a mask and is
   not one.

Why OpenCV: its decoder takes about 60 % of Pillow's time on the 8-bit PNG that nearly all masks are, and it refuses
files that are cut or fail their checksum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from providers.contract import Mask
from providers.picture_header import PictureHeader, read_header

#: Most pixels that a mask file may claim: four times the largest picture that any provider takes (4096 x 4096).
MOST_PIXELS = 64 * 1024 * 1024

#: How far apart red, green and blue may lie, of 255, in a picture that still counts as grey: what codecs do to grey.
_GREY_SPREAD = 48

_Solid = npt.NDArray[np.bool_]


class UnreadableMask(ValueError):
    """The file holds no mask. The message says what it holds instead."""


@dataclass(frozen=True, slots=True)
class MaskReading:
    """A mask, and what was done to bring it into our form."""

    mask: Mask
    warnings: tuple[str, ...] = ()
    """One sentence each; empty where the file was as it should be."""


def read_mask(data: bytes, *, size: tuple[int, int]) -> MaskReading:
    """
    Read a mask file.

    Args:
        data: the whole file, PNG, JPEG or WebP.
        size: `(height, width)` of the picture in pixels; a mask of another size is resized by nearest neighbour.

    Raises:
        UnreadableMask: not a picture, too many pixels, cut off, or a picture in colours.
    """
    header = read_header(data)
    if header is None:
        raise UnreadableMask(f"the mask is no PNG, JPEG or WebP file: it has {len(data)} bytes and begins {data[:8]!r}")
    if header.width * header.height > MOST_PIXELS:
        raise UnreadableMask(f"the mask claims {header.width}x{header.height} pixels; {MOST_PIXELS} are read at most")
    solid, warnings = _object_in(_decode(data, header), lossless=header.media_type == "image/png")
    if solid.shape != size:
        height, width = solid.shape
        resized = f"A mask of {width}x{height} pixels was resized to {size[1]}x{size[0]} by nearest neighbour."
        warnings = (*warnings, resized)
        levels = cv2.resize(solid.view(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
        solid = levels.view(np.bool_)
    return MaskReading(Mask.from_bitmap(solid), warnings)


def _decode(data: bytes, header: PictureHeader) -> npt.NDArray[Any]:
    """Return the pixels as they are stored: `(height, width)` or `(height, width, channels)`, 8 or 16 bits."""
    if header.media_type == "image/jpeg" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        # Some decoders fill what is missing with middle grey, which would count as the object.
        raise UnreadableMask("the mask is a JPEG file that was cut off")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise UnreadableMask(f"the mask cannot be decoded: {error.err}") from error
    if pixels is None:
        raise UnreadableMask(f"the mask is a {header.media_type} file that is cut off or damaged")
    return pixels


def _object_in(pixels: npt.NDArray[Any], *, lossless: bool) -> tuple[_Solid, tuple[str, ...]]:
    """Return where the object is, and what had to be assumed to see it."""
    if pixels.ndim == 2:
        return _bright(pixels, lossless=lossless)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.shape[2] == 4:
        alpha = pixels[:, :, 3]
        lowest, highest = int(alpha.min()), int(alpha.max())
        if lowest != highest or highest == 0:
            return alpha >= 128, ()
    colours = pixels[:, :, :3]
    if _spread(colours) <= _GREY_SPREAD:
        return _bright(cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY), lossless=lossless)
    solid = _other_than_black(colours) if lossless else None
    if solid is None:
        raise UnreadableMask("the file is a picture in colours, not a mask")
    return solid, ("A mask of black and one colour was read as black and white.",)


def _bright(levels: npt.NDArray[Any], *, lossless: bool) -> tuple[_Solid, tuple[str, ...]]:
    """Return where grey *levels* reach half, or where they are the brighter of two levels that both do not."""
    solid: _Solid = levels >= (1 << (8 * levels.dtype.itemsize - 1))
    if lossless and not solid.any():
        top = int(levels.max())
        faint: _Solid = levels == top
        if top and (top == 1 or not faint.all()) and not (levels[~faint]).any():
            return faint, (f"A mask of the values 0 and {top} was read as one of 0 and full brightness.",)
    return solid, ()


def _spread(colours: npt.NDArray[Any]) -> int:
    """Return the largest distance between the channels of any pixel."""
    blue, green, red = cv2.split(colours)
    return max(int(cv2.absdiff(one, other).max()) for one, other in ((blue, green), (green, red), (red, blue)))


def _other_than_black(colours: npt.NDArray[Any]) -> _Solid | None:
    """Return where the other colour is in a picture of black and one other colour; None for any other picture."""
    solid: _Solid = np.any(colours, axis=2)
    one_colour = bool((colours[solid] == colours[solid][0]).all())
    return solid if one_colour and not solid.all() else None
