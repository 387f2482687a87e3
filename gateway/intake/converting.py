"""
What is done to a picture's pixels before anybody is asked about it. Runs where pictures are decoded.

- A format that providers do not take (GIF, BMP, TIFF, AVIF, HEIC), and an animated WebP: the first frame is written as
  a PNG; as a JPEG where nothing is transparent and the PNG would be very large, or large and no better.
- Sixteen bits and more a channel become eight by their range: most who read such files cut off what is above 255.
- A JPEG without its end marker is decoded to see whether it has all of its pixels.
- What lies on its side is turned upright (`turning`).
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from blake3 import blake3
from PIL import Image, UnidentifiedImageError

from gateway.intake.turning import TURNS, UNREADABLE, UPRIGHT, turned
from gateway.problems import InvalidImage
from providers.contract.headers import PictureHeader

PNG: Final = "image/png"
JPEG: Final = "image/jpeg"

#: Pillow's name for each format that is read.
_NAMES: Final = {
    PNG: "PNG",
    JPEG: "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
    "image/heic": "HEIF",
}
#: What providers take, and what is passed on as it is.
PASSED_ON: Final = frozenset({PNG, JPEG, "image/webp"})
#: Formats that Pillow turns upright itself when it loads them.
_TURNED_BY_PILLOW: Final = frozenset({"image/tiff", "image/heic"})

#: Opaque pictures of more pixels become a JPEG: those stored with loss, which lose little more, and all others.
_LARGE_LOSSY: Final = 2_000_000
_LARGE_LOSSLESS: Final = 32_000_000

#: Two things that no picture goes on with: where they make a difference, pixels were missing.
_PADDINGS: Final = (bytes(64), bytes([0xAA]) * 64)
#: So many zeros at the end are no pixels.
_FILLING: Final = 16
_END: Final = b"\xff\xd9"

#: What the readers of the other formats raise about bytes that are not what their header says.
_ALSO_UNREADABLE: Final = (RuntimeError, EOFError, ArithmeticError, cv2.error, Image.DecompressionBombError)

_FULL: Final = 65_535
_Values = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture that is upright and that everybody can read."""

    data: bytes
    media_type: str
    warnings: tuple[str, ...] = ()
    """What was done to it, one sentence each, but for turning it upright."""


def needs_pixels(header: PictureHeader) -> bool:
    """Whether anything has to be done that `prepared` does; most pictures go as they are."""
    return not header.complete or header.orientation != UPRIGHT or _is_converted(header)


def prepared(data: bytes, header: PictureHeader) -> Prepared:
    """
    Return the picture upright, in a format that providers take, in eight bits.

    Args:
        data: the file, without what no codec is to see.
        header: of it.

    Raises:
        InvalidImage: its pixels are damaged or missing.
    """
    said: tuple[str, ...] = ()
    try:
        if not header.complete:
            data = _completed(_without_filling(data[: header.end]))
            said = ("The picture's file had no end marker, behind all of its pixels; one was added.",)
        if _is_converted(header):
            return _converted(data, header)
        if header.orientation == UPRIGHT:
            return Prepared(data, header.media_type, said)
        return Prepared(turned(data, header.orientation), header.media_type, said)
    except UnidentifiedImageError:  # whose message says nothing but where it lies in memory
        raise InvalidImage("the picture's pixels cannot be read: they are not as its format prescribes") from None
    except (*UNREADABLE, *_ALSO_UNREADABLE) as error:
        raise InvalidImage(f"the picture's pixels cannot be read: {error}") from error


def _is_converted(header: PictureHeader) -> bool:
    return header.media_type not in PASSED_ON or header.bits > 8 or header.animated


def _opened(data: bytes, header: PictureHeader) -> Image.Image:
    """Open a file as what its header says, and as nothing else."""
    if header.media_type == "image/heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about many pixels, which were checked, and about odd headers
        image = Image.open(io.BytesIO(data), formats=(_NAMES[header.media_type],))
    for name in [name for name in image.info if "xmp" in str(name).lower()]:
        del image.info[name]  # Pillow would turn the picture for it, and write it into the next file
    return image


def _without_filling(data: bytes) -> bytes:
    """Return a JPEG without the zeros that fill the place of what was never written, as after a broken download."""
    written = data.rstrip(b"\0")
    if len(data) - len(written) >= _FILLING:
        data = written + (b"\0" if written.endswith(b"\xff") else b"")
    return data.rstrip(b"\xff")


def _completed(data: bytes) -> bytes:
    """Return a JPEG with the end marker that it lacks, if nothing else is missing."""
    seen = set()
    for padding in _PADDINGS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data + padding + _END), formats=("JPEG",))
            seen.add(blake3(image.tobytes()).digest())
        image.close()  # one at a time: each may be large
    if len(seen) > 1:
        raise InvalidImage("the file is cut off: a part of its pixels is missing; send the whole file")
    return data + _END


def _converted(data: bytes, header: PictureHeader) -> Prepared:
    said: list[str] = []
    if header.frames > 1 and header.media_type != PNG:  # of a PNG it was said when it was checked
        parts, one = ("pages", "page") if header.media_type == "image/tiff" else ("frames", "frame")
        said.append(f"The picture has several {parts}; the first {one} was taken.")
    tiff = header.media_type == "image/tiff" and (header.bits == 16 or (header.bits > 16 and header.channels > 2))
    if header.media_type == PNG or tiff:
        image, done = _of_sixteen_bits(data, header)
    else:
        image, done = _of_pillow(data, header)
    said += done
    if image.size != header.upright:
        raise InvalidImage(
            f"the picture has {image.width} x {image.height} pixels, and its header claims "
            f"{header.upright[0]} x {header.upright[1]}"
        )
    written, media_type = _written(image, header)
    if header.media_type != media_type:
        how = "without loss" if media_type == PNG else "in quality 95"
        said.append(f"The picture was written as {media_type} {how} (it was {header.media_type}).")
    return Prepared(written, media_type, tuple(said))


def _of_pillow(data: bytes, header: PictureHeader) -> tuple[Image.Image, list[str]]:
    """Return the first frame, upright, in a form that can be written; and what was done to its values, if anything."""
    image, done = _opened(data, header), list[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.load()
    profile = image.info.get("icc_profile") if image.mode in {"RGB", "RGBA", "P", "PA"} else None
    if image.mode[:1] in {"I", "F"}:
        values, said = _by_range(np.asarray(image), "grey")
        image, done = Image.fromarray(values), [said]
    elif image.mode not in {"L", "LA", "RGB", "RGBA"}:
        see_through = "transparency" in image.info or image.mode in {"PA", "RGBa", "La"}
        image = image.convert("RGBA" if see_through else "L" if image.mode == "1" else "RGB")
    if header.orientation != UPRIGHT and header.media_type not in _TURNED_BY_PILLOW:
        image = image.transpose(TURNS[header.orientation])
    image.info = {"icc_profile": profile} if profile else {}
    return image, done


def _of_sixteen_bits(data: bytes, header: PictureHeader) -> tuple[Image.Image, list[str]]:
    """Return a PNG or TIFF of sixteen bits a channel, upright, in eight; OpenCV alone gives all sixteen of colours."""
    values: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise InvalidImage("the picture's pixels cannot be read: they are damaged or missing")
    if values.ndim == 2:
        eight, done = _by_range(values, "grey")
    elif header.channels <= 2:  # grey with alpha, which OpenCV gives as colours
        grey, done = _by_range(values[..., 0], "grey")
        eight = np.dstack([grey, _eight(values[..., 3], 0, _FULL)]) if values.shape[2] == 4 else grey
    else:
        eight, done = _by_range(values[..., :3], "colours")
        eight = np.ascontiguousarray(eight[..., ::-1])
        if values.shape[2] == 4:
            eight = np.dstack([eight, _eight(values[..., 3], 0, _FULL)])
    image = Image.fromarray(eight)
    if header.orientation != UPRIGHT and header.media_type not in _TURNED_BY_PILLOW:  # OpenCV turns a TIFF, too
        image = image.transpose(TURNS[header.orientation])
    return image, [done]


def _by_range(values: _Values, kind: str) -> tuple[npt.NDArray[np.uint8], str]:
    """
    Return values as 0 to 255, and what was done.

    Grey is spread from its lowest to its highest value: what sixteen bits hold is mostly measured and not seen. Colours
    keep their black, and their white where they reach half of what sixteen bits can hold, so that no hue changes.
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if kind == "colours":
        low, high = 0.0, float(_FULL) if high > _FULL // 2 else high
    if high <= low:  # all of one value
        low, high = min(0.0, low), max(high, float(_FULL) if values.dtype == np.uint16 else 1.0)
    said = f"The picture has more than 8 bits a channel; its values {low:g} to {high:g} were brought to 0 to 255."
    return _eight(values, low, high), said


def _eight(values: _Values, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Return *low* as 0, *high* as 255, and what is between them in proportion."""
    if values.dtype == np.uint16:  # by a table: a picture of doubles would be four times as large
        table = np.clip(np.rint((np.arange(_FULL + 1) - low) * (255 / (high - low))), 0, 255).astype(np.uint8)
        mapped: npt.NDArray[np.uint8] = table[values]
        return mapped
    spread = (np.nan_to_num(values.astype(np.float32), nan=low, posinf=high, neginf=low) - low) * (255 / (high - low))
    eight: npt.NDArray[np.uint8] = np.clip(np.rint(spread), 0, 255).astype(np.uint8)
    return eight


def _written(image: Image.Image, header: PictureHeader) -> tuple[bytes, str]:
    """Return the file and its media type."""
    target, opaque = io.BytesIO(), image.mode in {"L", "RGB"}
    profile = image.info.get("icc_profile")
    large = image.width * image.height > (_LARGE_LOSSLESS if header.lossless else _LARGE_LOSSY)
    if opaque and large and max(image.size) <= 65_500:
        image.save(target, "JPEG", quality=95, subsampling=0, icc_profile=profile)
        return target.getvalue(), JPEG
    image.save(target, "PNG", compress_level=3, icc_profile=profile)
    return target.getvalue(), PNG
