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
5. A mask of another size than the picture is resized, with a warning; one of other proportions says that, too.
6. White is the object. A mask is turned over only on evidence, and with a warning: where the provider's own box of the
   object fits the black and not the white; or, where nobody says which is the object, where white takes the whole
   border and half of the picture or more. A thing that was asked for by name seldom surrounds the rest of a picture,
   and what is left when it is cut out always does. An all-white mask tells nothing, and stays white.
7. Equal masks of one answer count once.

A black and white PNG, which nearly all masks are, is read without a codec (`png_runs`). OpenCV decodes the rest, in a
decoder process (`mask_files`): it takes about 60 % of Pillow's time, and refuses files that are cut or fail their
checksum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from providers.codec import Undecodable, decode
from providers.contract import Box, Instance, Mask
from providers.contract.headers import PictureHeader, UnreadablePicture, read_header, still_picture
from providers.png_runs import read_black_and_white

#: How far apart red, green and blue may lie, of 255, in a picture that still counts as grey: what codecs do to grey.
_GREY_SPREAD = 48

#: Proportions of mask and picture that differ by no more than this are rounding.
_PROPORTION_SLACK = 0.02

#: A border is white when this share of its pixels is: a codec may spoil a few.
_BORDER_SHARE = 0.99

#: White on this part of picture or border, or on more, is what a mask that is turned over looks like.
_TURNED_SHARE = 0.5

#: How well the provider's box has to fit the black, and how badly the white, for a mask to be turned over (IoU).
_FITS, _MISFITS = 0.8, 0.5

#: Formats that masks come in.
_READ = frozenset({"image/png", "image/jpeg", "image/webp"})

_Solid = npt.NDArray[np.bool_]


class UnreadableMask(ValueError):
    """The file holds no mask. The message says what it holds instead."""


class ColouredPicture(UnreadableMask):
    """The file is whole, and a picture in colours: a preview that stands among the masks."""


class Polarity(Enum):
    """Which pixels of a black and white mask are the object."""

    WHITE = auto()
    BLACK = auto()
    UNSAID = auto()
    """Nobody says: it is looked at."""


@dataclass(frozen=True, slots=True)
class MaskReading:
    """A mask, and what was done to bring it into our form."""

    mask: Mask
    warnings: tuple[str, ...] = ()
    """One sentence each; empty where the file was as it should be."""


def read_mask(
    data: bytes, *, size: tuple[int, int], polarity: Polarity = Polarity.WHITE, box: Box | None = None
) -> MaskReading:
    """
    Read a mask file, whatever it takes. For files of our own; those of others are `mask_files`' business.

    Args:
        data: the whole file, PNG, JPEG or WebP.
        size: `(height, width)` of the picture in pixels; a mask of another size is resized by nearest neighbour.
        polarity: what is known of it. A cut-out has none to be in doubt about.
        box: where the provider says that the object is, in pixels of the picture; None where it says nothing.

    Raises:
        UnreadableMask: not a picture, cut off, or a picture in colours.
    """
    header = read_mask_header(data)
    plain = read_plain_mask(data, header, size=size, polarity=polarity, box=box)
    return plain or decode_mask(data, size=size, polarity=polarity, box=box)


def decode_mask(
    data: bytes, *, size: tuple[int, int], polarity: Polarity = Polarity.WHITE, box: Box | None = None
) -> MaskReading:
    """Read a mask file with a codec, as `read_mask`; what a stranger has made, in a decoder process."""
    header = read_mask_header(data)
    try:
        pixels = decode(data, cv2.IMREAD_UNCHANGED)
    except Undecodable as error:
        raise UnreadableMask(f"the mask is a {header.media_type} file that cannot be decoded: {error}") from error
    cut_out = _alpha(pixels)
    solid, warnings = (cut_out, ()) if cut_out is not None else _object_in(pixels, lossless=_is_png(header))
    return _finished(solid, warnings, size, polarity, box, certain=cut_out is not None)


def read_mask_header(data: bytes) -> PictureHeader:
    """
    Return the header of a mask file.

    Raises:
        UnreadableMask: it is none that is read, or no codec is to see it.
    """
    try:
        header = read_header(data)
    except UnreadablePicture as error:
        raise UnreadableMask(f"the mask is no PNG, JPEG or WebP file that can be read: {error}") from None
    if header.media_type not in _READ:
        raise UnreadableMask(f"the mask is no PNG, JPEG or WebP file: it is {header.media_type}")
    if not header.complete:
        # Some decoders fill what is missing with middle grey, which would count as the object.
        raise UnreadableMask(
            f"the mask is a {header.media_type} file that was cut off: it claims {header.width}x{header.height} pixels"
        )
    return header


def read_plain_mask(
    data: bytes,
    header: PictureHeader,
    *,
    size: tuple[int, int],
    polarity: Polarity = Polarity.WHITE,
    box: Box | None = None,
) -> MaskReading | None:
    """
    Read a black and white PNG without a codec; None for all else, damaged files included. As `read_mask`.

    It takes a byte a pixel of the size that the header claims, whatever the file holds.
    """
    if not _is_png(header):
        return None
    plain = read_black_and_white(still_picture(data, header), width=header.width, height=header.height)
    if plain is None:
        return None
    if plain.size == size and _is_certain(plain, polarity, box):
        return MaskReading(plain)
    return _finished(plain.bitmap.view(np.bool_), (), size, polarity, box, certain=False)


def _finished(
    solid: _Solid,
    warnings: tuple[str, ...],
    size: tuple[int, int],
    polarity: Polarity,
    box: Box | None,
    *,
    certain: bool,
) -> MaskReading:
    """Bring a mask to the picture's size, and find the object in it where that is not *certain* yet."""
    if solid.shape != size:
        solid, warnings = _resized(solid, size), (*warnings, *_said_of_size(solid.shape, size))
    if not certain:
        solid, more = _the_object(solid, polarity, box)
        warnings = (*warnings, *more)
    return MaskReading(Mask.from_bitmap(solid), warnings)


def distinct(instances: Sequence[Instance]) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    """Return each mask once, where its first stood and with the best score it came with, and what was left out."""
    kept: dict[Mask, Instance] = {}
    for instance in instances:
        known = kept.get(instance.mask)
        if known is None or (instance.score or 0.0) > (known.score or 0.0):
            kept[instance.mask] = instance
    if len(kept) == len(instances):
        return tuple(instances), ()
    again = len(instances) - len(kept)
    return tuple(kept.values()), (f"{again} of the provider's masks were equal to another and are left out.",)


def _is_certain(white: Mask, polarity: Polarity, box: Box | None) -> bool:
    """Whether `_the_object` would take white, as far as can be told without a look at its pixels."""
    height, width = white.size
    if polarity is Polarity.BLACK:
        return False
    if box is None:
        return polarity is Polarity.WHITE or white.area < _TURNED_SHARE * height * width
    around = white.box
    if around is None:
        return True
    across = (around.y_min == 0) + (around.y_max == height)
    down = (around.x_min == 0) + (around.x_max == width)
    return across * width + down * height < _TURNED_SHARE * 2 * (width + height)


def _the_object(white: _Solid, polarity: Polarity, box: Box | None) -> tuple[_Solid, tuple[str, ...]]:
    """Return the object in a black and white mask, and what had to be decided to tell it."""
    if polarity is Polarity.BLACK:
        return ~white, ()
    if polarity is Polarity.WHITE and box is None:
        return white, ()
    border = _border_share(white)
    if box is not None:
        turned = border >= _TURNED_SHARE and _iou(white, box) < _MISFITS and _iou(~white, box) >= _FITS
        said = "A mask was turned over: the provider's box fits its black pixels and not its white ones."
        return (~white, (said,)) if turned else (white, ())
    share = float(white.mean())
    if share < _TURNED_SHARE:
        return white, ()
    if share < 1.0 and border >= _BORDER_SHARE:
        return ~white, ("A mask was turned over: its white surrounds all else, so black was taken as the object.",)
    return white, ("A mask is white on most of the picture; white was taken as the object, which is not certain.",)


def _border_share(solid: _Solid) -> float:
    """Return which part of the outermost pixels is the object."""
    edges = (solid[0], solid[-1], solid[:, 0], solid[:, -1])
    return float(np.concatenate(edges).mean())


def _iou(solid: _Solid, box: Box) -> float:
    """Return intersection over union of the tightest box around *solid* and another; 0 where nothing is solid."""
    x, y, width, height = cv2.boundingRect(solid.view(np.uint8))
    common_width = min(x + width, box.x_max) - max(x, box.x_min)
    common_height = min(y + height, box.y_max) - max(y, box.y_min)
    common = max(0, common_width) * max(0, common_height)
    return common / max(1, width * height + box.area - common)


def _resized(solid: _Solid, size: tuple[int, int]) -> _Solid:
    """Return a mask at another `(height, width)`."""
    levels = cv2.resize(solid.view(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return levels.view(np.bool_)


def _said_of_size(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[str, ...]:
    """Return what a caller has to know of a mask that was resized."""
    (height, width), (wanted_height, wanted_width) = shape, size
    resized = f"A mask of {width}x{height} pixels was resized to {wanted_width}x{wanted_height} by nearest neighbour."
    if abs((width * wanted_height) / (height * wanted_width) - 1) <= _PROPORTION_SLACK:
        return (resized,)
    return (resized, "Its proportions are not the picture's, so it may lie beside its object.")


def _is_png(header: PictureHeader) -> bool:
    """Whether no codec can have added noise."""
    return header.media_type == "image/png"


def _alpha(pixels: npt.NDArray[Any]) -> _Solid | None:
    """Return where a cut-out is not transparent; None for a picture without transparency that says something."""
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        return None
    alpha = pixels[:, :, 3]
    lowest, highest = int(alpha.min()), int(alpha.max())
    if lowest == highest and highest > 0:
        return None
    solid: _Solid = alpha >= (1 << (8 * alpha.dtype.itemsize - 1))
    return solid


def _object_in(pixels: npt.NDArray[Any], *, lossless: bool) -> tuple[_Solid, tuple[str, ...]]:
    """Return where the object is, and what had to be assumed to see it."""
    if pixels.ndim == 2:
        return _bright(pixels, lossless=lossless)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    colours = pixels[:, :, :3]
    if _spread(colours) <= _GREY_SPREAD:
        return _bright(cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY), lossless=lossless)
    solid = _other_than_black(colours) if lossless else None
    if solid is None:
        raise ColouredPicture("the file is a picture in colours, not a mask")
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
