"""
Carry a plan out: decode, scale, pad, write. For a decoder process.

What leaves this place is a file of plain red, green and blue, or grey: transparency is left out, as models leave it
out, and so are colour profiles and notes. Why OpenCV: a JPEG that becomes half as large or smaller is decoded at half,
a quarter or an eighth of it, which saves most of the time and of the memory.

Memory: the decoded picture (3 bytes a pixel, 1 in grey; of a JPEG that is scaled down, a quarter of that or less), the
scaled one, and the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from blake3 import blake3

from gateway.fitting.geometry import Geometry, Sides
from gateway.fitting.plan import JPEG, PNG, WEBP, CannotFit, Encoding, Plan, encodings, smaller
from providers.contract import Picture
from providers.contract.headers import UnreadablePicture, for_codec

_Pixels = npt.NDArray[np.uint8]
"""`(height, width)` in grey or `(height, width, 3)` in blue, green, red."""

_EXTENSIONS = {PNG: ".png", JPEG: ".jpg", WEBP: ".webp"}

#: Decoding at a part of the size, by how many times smaller each side gets; JPEG's own, always in colours.
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}

#: How much fewer bytes another way without loss can be hoped to bring; beyond that it is not tried.
_THOROUGH_GAIN = 1.2
_FORMAT_GAIN = 2.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """A picture that a model takes, and how it came about."""

    picture: Picture
    geometry: Geometry
    warning: str
    """One sentence for the caller."""


def render(picture: Picture, plan: Plan) -> Fitted:
    """
    Bring *picture* into a form that is within the plan's limits.

    Raises:
        CannotFit: it cannot be decoded, or not be written in as few bytes.
    """
    pixels = _decoded(picture, plan.geometry)
    lossless = picture.media_type == PNG or picture.data[12:16] == b"VP8L"
    while True:
        pixels = _scaled(pixels, plan.geometry.content)
        data, encoding = _written(pixels, picture.media_type, plan, lossless=lossless)
        if plan.max_bytes is None or len(data) <= plan.max_bytes:
            return _fitted(picture, plan, encoding, data)
        geometry = smaller(plan, size=len(data))
        if geometry is None:
            raise CannotFit(f"it takes at most {plan.max_bytes} bytes, and the picture cannot be written in so few")
        if plan.geometry.blocks > 1:
            pixels = _decoded(picture, geometry)
        plan = replace(plan, geometry=geometry)


def _fitted(picture: Picture, plan: Plan, encoding: Encoding, data: bytes) -> Fitted:
    width, height = plan.geometry.canvas
    made = Picture(data, encoding.media_type, width, height, f"blake3:{blake3(data).hexdigest()}")
    return Fitted(made, plan.geometry, _warning(picture, plan.geometry, encoding))


def _decoded(picture: Picture, geometry: Geometry) -> _Pixels:
    """
    Return the picture's pixels; a JPEG that is scaled down anyway comes smaller.

    A JPEG decoded at a part of its size is rounded up to whole pixels: where the side is no multiple of that part, what
    is seen lies off by less than one pixel of the fitted picture at the far edge.
    """
    part = 1
    if picture.media_type == JPEG:
        times = min(before // after for before, after in zip(geometry.source, geometry.content, strict=True))
        part = next((each for each in _REDUCED if each <= times), 1)
    try:
        flags = _REDUCED.get(part, cv2.IMREAD_ANYCOLOR) | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(for_codec(picture.data), np.uint8), flags)
    except UnreadablePicture as error:
        raise CannotFit(f"the picture cannot be decoded, so it cannot be fitted: {error}") from error
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise MemoryError from error
        raise CannotFit(f"the picture cannot be decoded, so it cannot be fitted: {error.err}") from error
    if pixels is None:
        raise CannotFit("the picture cannot be decoded, so it cannot be fitted; the file is damaged")
    if pixels.shape[:2] != (-(-picture.height // part), -(-picture.width // part)):
        raise CannotFit(f"the picture decodes to {pixels.shape[1]} x {pixels.shape[0]} pixels, not as its header says")
    return pixels.astype(np.uint8, copy=False)


def _scaled(pixels: _Pixels, content: Sides) -> _Pixels:
    """Return the picture at that size: the mean of the pixels that fall on one, or each pixel as a block."""
    height, width = pixels.shape[:2]
    if (width, height) == content:
        return pixels
    how = cv2.INTER_NEAREST if width < content[0] else cv2.INTER_AREA
    return cv2.resize(pixels, content, interpolation=how).astype(np.uint8, copy=False)


def _written(pixels: _Pixels, media_type: str, plan: Plan, *, lossless: bool) -> tuple[bytes, Encoding]:
    """Return the first file that has few enough bytes; where there is none, the smallest of the last kind tried."""
    width, height = plan.geometry.canvas
    right, bottom = width - plan.geometry.content[0], height - plan.geometry.content[1]
    if right or bottom:  # with the pixels at the edge: a frame in one colour would be a thing to be found
        framed = cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        pixels = framed.astype(np.uint8, copy=False)
    best: tuple[bytes, Encoding] | None = None
    for encoding in encodings(media_type, plan, lossless=lossless):
        if best is not None and not _hopeful(encoding, best[1], len(best[0]), plan.max_bytes):
            continue
        data = _encoded(pixels, encoding)
        if best is None or len(data) <= len(best[0]):
            best = data, encoding
        if plan.max_bytes is None or len(data) <= plan.max_bytes:
            return data, encoding
    assert best is not None
    return best


def _hopeful(encoding: Encoding, before: Encoding, size: int, max_bytes: int | None) -> bool:
    """Whether writing without loss once more, in another way, could bring the bytes down far enough."""
    if encoding.quality is not None or max_bytes is None:
        return True
    gain = _THOROUGH_GAIN if encoding.media_type == before.media_type else _FORMAT_GAIN
    return size <= max_bytes * gain


def _encoded(pixels: _Pixels, encoding: Encoding) -> bytes:
    options: list[int] = {
        PNG: [cv2.IMWRITE_PNG_COMPRESSION, 9 if encoding.thorough else 3],
        JPEG: [cv2.IMWRITE_JPEG_QUALITY, encoding.quality or 95],
        WEBP: [cv2.IMWRITE_WEBP_QUALITY, encoding.quality or 101],  # beyond 100 is without loss
    }[encoding.media_type]
    if encoding.thorough:
        options += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_ALL_FILTERS]
    try:
        written, data = cv2.imencode(_EXTENSIONS[encoding.media_type], pixels, options)
    except cv2.error as error:
        raise CannotFit(f"the picture cannot be written as {encoding.media_type}: {error.err}") from error
    if not written:
        raise CannotFit(f"the picture cannot be written as {encoding.media_type}")
    return data.tobytes()


def _warning(picture: Picture, geometry: Geometry, encoding: Encoding) -> str:
    """Say what was done, with the figures."""
    done = []
    if geometry.scaled:
        way, factor = ("up", f"{geometry.blocks}") if geometry.blocks > 1 else ("down", f"{geometry.factor:.4f}")
        done.append(f"scaled {way} from {_by(geometry.source)} to {_by(geometry.content)} pixels (factor {factor})")
    if geometry.padded:
        done.append(f"padded at its right and bottom to {_by(geometry.canvas)} pixels")
    quality = "without loss" if encoding.quality is None else f"in quality {encoding.quality}"
    done.append(f"written as {encoding.media_type} {quality} (it was {picture.media_type})")
    return f"To fit the provider's limits, the picture was {', '.join(done)}; masks are at its own size."


def _by(sides: Sides) -> str:
    return f"{sides[0]}x{sides[1]}"
