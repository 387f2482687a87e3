"""
A URL, base64 or an uploaded part becomes one checked, upright picture.

Only the header is read: a file that is taken as it is goes to the provider byte for byte, never decoded. What a header
cannot tell (a cut-off file) is seen at the file's end. A picture whose EXIF says that it lies on its side is the one
exception: it is turned, since providers disagree about EXIF, and every coordinate would.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from typing import Final

from blake3 import blake3
from PIL import Image

from gateway.intake.decoding import decoded_picture
from gateway.intake.turning import UNREADABLE, UPRIGHT, turned
from gateway.problems import (
    GatewayError,
    ImageForbidden,
    ImageTooLarge,
    ImageUnreachable,
    InvalidImage,
    InvalidRequest,
    Overloaded,
    UnsupportedMediaType,
)
from providers.contract import (
    BadEncoding,
    Deadline,
    Decoders,
    DecodesTooFar,
    Fetcher,
    FetchFailed,
    FetchForbidden,
    FetchTooLarge,
    Picture,
    Room,
    Workers,
    read_encoded,
)

FORMATS: Final = {"PNG": "image/png", "JPEG": "image/jpeg", "MPO": "image/jpeg", "WEBP": "image/webp"}

#: First bytes of formats that people do send, so that the refusal can name them.
OTHER_FORMATS: Final = (
    (b"GIF8", "a GIF"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"BM", "a BMP"),
    (b"8BPS", "a Photoshop"),
    (b"%PDF", "a PDF"),
    (b"<svg", "an SVG"),
    (b"<?xml", "an SVG"),
)
OTHER_BRANDS: Final = {b"heic": "a HEIC", b"heix": "a HEIC", b"mif1": "a HEIF", b"avif": "an AVIF"}

#: JPEG markers that stand alone, beside the 0 and 0xFF that are none.
NO_SEGMENT: Final = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xDA)})

ORIENTATION_TAG: Final = 0x0112
#: From here on an orientation makes rows of columns.
FIRST_ACROSS: Final = 5


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What the gateway takes, whatever a provider would."""

    max_bytes: int = 32 * 2**20
    max_pixels: int = 120_000_000
    min_side: int = 8
    """Pixels; below this there is nothing to segment."""


@dataclass(frozen=True, slots=True)
class PictureSource:
    """Where a request's picture is: exactly one of the first three is set."""

    url: str | None = None
    base64: str | None = None
    part: bytes | None = None
    field: str | None = None
    """Where in the request that is, if not where such a picture usually is."""


@dataclass(frozen=True, slots=True)
class PictureMeans:
    """What brings a picture and makes it what it has to be."""

    fetcher: Fetcher
    workers: Workers
    decoders: Decoders
    fetch_seconds: float
    """How long a file may take to come."""
    room: Room | None = None
    """Awaited before bytes are fetched, with how many."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A picture whose header is in order."""

    picture: Picture
    """Its size is the upright one's, its file as it came; its digest stays that of this file when it is turned."""
    orientation: int
    """By EXIF, 1 to 8; any but 1 has still to be baked in."""


async def bring_picture(
    source: PictureSource, *, means: PictureMeans, limits: PictureLimits, deadline: Deadline, tenant: str
) -> Picture:
    """
    Fetch or read the picture, check it, and bring it upright.

    Args:
        source: where it is.
        means: what brings and turns it.
        limits: what the gateway takes.
        deadline: of the request.
        tenant: on whose behalf.

    Raises:
        GatewayError: one of the picture's problems; `field` says where it came from.
    """
    usual = "image.url" if source.url is not None else "image.data" if source.base64 is not None else "image"
    try:
        if source.url is not None:
            soon = deadline.sooner(means.fetch_seconds)
            data = await _fetch(source.url, fetcher=means.fetcher, limits=limits, deadline=soon, room=means.room)
        elif source.base64 is not None:
            encoded = source.base64
            field = source.field or usual
            data = await means.workers.run(lambda: _decode(encoded, field, limits), pixels=len(encoded))
        else:
            data = source.part or b""
        checked = await means.workers.run(lambda: check_picture(data, url=source.url, limits=limits), pixels=len(data))
        if checked.orientation == UPRIGHT:
            return checked.picture
        return await _upright(checked, means, deadline, tenant)
    except Overloaded:
        raise
    except GatewayError as problem:
        problem.field = problem.field or source.field or usual
        raise


async def _upright(checked: Checked, means: PictureMeans, deadline: Deadline, tenant: str) -> Picture:
    """Turn a picture that lies on its side."""
    picture, orientation = checked.picture, checked.orientation
    pixels = picture.width * picture.height
    data = await decoded_picture(
        means.decoders, turned, picture.data, orientation, pixels=pixels, deadline=deadline, tenant=tenant
    )
    return replace(picture, data=data, url=None)


async def _fetch(url: str, *, fetcher: Fetcher, limits: PictureLimits, deadline: Deadline, room: Room | None) -> bytes:
    try:
        return (await fetcher.fetch(url, deadline=deadline, max_bytes=limits.max_bytes, room=room)).data
    except FetchForbidden as error:
        raise ImageForbidden(
            f"{error}. Give an http or https address on the public internet, or send the bytes"
        ) from error
    except FetchTooLarge as error:
        raise ImageTooLarge(f"the file behind image.url has more than {limits.max_bytes} bytes: {error}") from error
    except FetchFailed as error:
        raise ImageUnreachable(f"no picture came from image.url: {error}") from error


def _decode(text: str, field: str, limits: PictureLimits) -> bytes:
    """Read base64, bare or as a data: URI, or a data: URI of percent escapes."""
    try:
        return read_encoded(text, most_bytes=limits.max_bytes)
    except DecodesTooFar:
        raise ImageTooLarge(f"{field} holds more than {limits.max_bytes} bytes") from None
    except BadEncoding as error:
        raise InvalidRequest(f"{field} {error}") from None


def check_picture(data: bytes, *, url: str | None, limits: PictureLimits) -> Checked:
    """
    Read the header, and refuse what cannot be segmented.

    Raises:
        InvalidImage: empty, cut off, animated, smaller than anything, or not readable.
        UnsupportedMediaType: not a PNG, JPEG or WebP.
        ImageTooLarge: more bytes or pixels than *limits*.
    """
    if not data:
        raise InvalidImage("the picture is empty: 0 bytes; send a PNG, a JPEG or a WebP")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"the picture has {len(data)} bytes; at most {limits.max_bytes} are taken")
    image = _open(data, limits)
    _check_size(image.size, limits)
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise InvalidImage("the picture is animated; send one frame")
    media_type = FORMATS[image.format or ""]
    if _is_cut_off(data, media_type):
        raise InvalidImage("the file is cut off: its end is missing")
    digest = f"blake3:{blake3(data).hexdigest()}"
    orientation = _orientation(image)
    width, height = image.size if orientation < FIRST_ACROSS else reversed(image.size)
    return Checked(Picture(data, media_type, width, height, digest, url), orientation)


def _open(data: bytes, limits: PictureLimits) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about many pixels, which are checked next, and about odd headers
            return Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
    except Image.DecompressionBombError:
        raise ImageTooLarge(f"the picture has more than {limits.max_pixels} pixels; scale it down") from None
    except UNREADABLE as error:
        raise _unreadable(data) from error


def _unreadable(data: bytes) -> GatewayError:
    """Say what the file seems to be."""
    start = data[:512].lstrip()
    name = next((name for magic, name in OTHER_FORMATS if start.startswith(magic)), None)
    if data[4:8] == b"ftyp":
        name = OTHER_BRANDS.get(data[8:12], name)
    if name is not None:
        return UnsupportedMediaType(f"the picture is {name} file; send a PNG, a JPEG or a WebP")
    return InvalidImage("the file is no picture that we can read; send a PNG, a JPEG or a WebP")


def _check_size(size: tuple[int, int], limits: PictureLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"the picture is {width} x {height} = {width * height} pixels; at most {limits.max_pixels} are taken"
        )
    if min(width, height) < limits.min_side:
        raise InvalidImage(
            f"the picture is {width} x {height}; each side has to have at least {limits.min_side} pixels"
        )


def _is_cut_off(data: bytes, media_type: str) -> bool:
    """Whether the end that the format prescribes is missing. Bytes after the end are nobody's harm."""
    if media_type == "image/png":
        return b"IEND" not in data[-4096:] and b"IEND" not in data
    if media_type == "image/jpeg":
        return data.rfind(b"\xff\xd9", _first_scan(data)) < 0
    return int.from_bytes(data[4:8], "little") + 8 > len(data)


def _first_scan(data: bytes) -> int:
    """Return where a JPEG's first scan begins. An end marker before that is a thumbnail's, in the EXIF block."""
    place = 2
    while place + 4 <= len(data):
        marker = data[place + 1]
        if data[place] != 0xFF or marker in NO_SEGMENT:
            place += 1
        elif marker == 0xDA:
            return place
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return len(data)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none, or nonsense."""
    if "exif" not in image.info:
        return UPRIGHT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = image.getexif().get(ORIENTATION_TAG, UPRIGHT)
    except UNREADABLE:  # a broken EXIF block does not make a broken picture
        return UPRIGHT
    return value if value in range(1, 9) else UPRIGHT
