"""
A URL, base64 or an uploaded part becomes one checked, upright picture.

A file is gone through and not decoded (`contract.headers`), and most go to the provider byte for byte. What needs
pixels is done in a decoder process (`converting`): turning what EXIF says lies on its side, since providers disagree
about EXIF and every coordinate would; formats that they do not take; more than eight bits; a JPEG without its end.

Decided here:
- The digest is of the bytes that were sent: equal files are one picture, whatever is done to them, and the caller can
  work it out. Every step is a function of these bytes, so that equal digests are equal pixels, too.
- What was done is said in the picture's warnings; but not the turning, which changes nothing that a caller sees.
- A file that was changed has no address any more: a provider that fetches it would see another picture.
- A JPEG without its end marker costs one decoding, twice over: only that tells whether anything else is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Final

from blake3 import blake3

from gateway.intake.converting import Prepared, needs_pixels, prepared
from gateway.intake.decoding import decoded_picture
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
from providers.contract.headers import (
    OtherFormat,
    PictureHeader,
    TooMuchWork,
    UnreadablePicture,
    Work,
    read_header,
    still_picture,
)

#: Files of fewer bytes are gone through on the spot while that takes few steps, which is well under a millisecond.
INLINE_BYTES: Final = 131_072
INLINE_STEPS: Final = 400

#: What is told to the workers about a job that is to have a thread.
A_THREADS_WORTH: Final = 2**31

#: Whether the extra is installed that HEIC takes.
HEIC_IS_READ: Final = find_spec("pillow_heif") is not None


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What the gateway takes, whatever a provider would."""

    max_bytes: int = 32 * 2**20
    max_pixels: int = 120_000_000
    min_side: int = 8
    """Pixels; below this there is nothing to segment."""
    heic: bool = HEIC_IS_READ
    """Whether HEIC is taken."""


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
    """Its size is the upright one's, its file as it came, but for the chunks of an animation."""
    header: PictureHeader
    """What tells whether something has still to be done to its pixels."""


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
        checked = await _checked(data, source.url, limits, means.workers)
        if not needs_pixels(checked.header):
            return checked.picture
        return await _prepared(checked, means, deadline, tenant)
    except Overloaded:
        raise
    except GatewayError as problem:
        problem.field = problem.field or source.field or usual
        raise


async def _checked(data: bytes, url: str | None, limits: PictureLimits, workers: Workers) -> Checked:
    """Check a picture on the spot, or in a thread where it is large or takes many steps."""
    if len(data) < INLINE_BYTES:
        try:
            return check_picture(data, url=url, limits=limits, work=Work(INLINE_STEPS))
        except TooMuchWork:
            pass  # so a thread is worth it
    return await workers.run(partial(check_picture, data, url=url, limits=limits), pixels=A_THREADS_WORTH)


async def _prepared(checked: Checked, means: PictureMeans, deadline: Deadline, tenant: str) -> Picture:
    """Do what has to be done to the picture's pixels."""
    header = checked.header
    pixels = header.pixels * header.scans
    done = await decoded_picture(
        means.decoders, prepared, checked.picture.data, header, pixels=pixels, deadline=deadline, tenant=tenant
    )
    return finished(checked, done)


def finished(checked: Checked, done: Prepared) -> Picture:
    """Return the picture with what was made of it."""
    given = None if done.media_type == checked.header.media_type else checked.header.media_type
    return replace(
        checked.picture,
        data=done.data,
        media_type=done.media_type,
        given_media_type=given,
        url=None,
        warnings=(*checked.picture.warnings, *done.warnings),
    )


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


def check_picture(data: bytes, *, url: str | None, limits: PictureLimits, work: Work | None = None) -> Checked:
    """
    Go through the file, and refuse what cannot be segmented.

    Args:
        data: the file.
        url: where it came from.
        limits: what is taken.
        work: how many steps it may take for now; None: as many as a file of its size may.

    Raises:
        InvalidImage: empty, cut off, smaller than anything, or not as its format prescribes.
        UnsupportedMediaType: of a format that is not read.
        ImageTooLarge: more bytes or pixels than *limits*.
        TooMuchWork: more steps than *work*.
    """
    if not data:
        raise InvalidImage("the picture is empty: 0 bytes; send a PNG, a JPEG or a WebP")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"the picture has {len(data)} bytes; at most {limits.max_bytes} are taken")
    header = _header(data, work)
    if header.media_type == "image/heic" and not limits.heic:
        raise UnsupportedMediaType(
            "the picture is a HEIC file, which this gateway does not read without its extra `maskgate[heic]`; send a "
            "JPEG, a PNG or a WebP, or have its operator install that"
        )
    _check_size(header.upright, limits)
    if header.media_type == "image/png" and not header.complete:
        raise InvalidImage(
            f"the picture claims {header.width} x {header.height} pixels, and its {len(data)} bytes cannot come to so "
            "many: it is cut off; send the whole file"
        )
    still, said = still_picture(data, header), tuple[str, ...]()
    if header.media_type == "image/png" and header.frames > 1:
        said = ("The picture is animated; its default image was taken.",)
    digest = f"blake3:{blake3(data).hexdigest()}"
    own = url if still is data else None
    return Checked(Picture(still, header.media_type, *header.upright, digest, own, warnings=said), header)


def _header(data: bytes, work: Work | None) -> PictureHeader:
    """Return what the file says of itself."""
    try:
        return read_header(data, work)
    except OtherFormat as error:
        raise UnsupportedMediaType(f"the picture is not taken: {error}") from None
    except TooMuchWork as error:
        if work is not None:
            raise
        raise InvalidImage(f"the picture cannot be read: {error}") from None
    except UnreadablePicture as error:
        raise InvalidImage(f"the picture cannot be read: {error}") from None


def _check_size(size: tuple[int, int], limits: PictureLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"the picture is {width} x {height} = {width * height} pixels; at most {limits.max_pixels} are taken; "
            "scale it down"
        )
    if min(width, height) < limits.min_side:
        raise InvalidImage(
            f"the picture is {width} x {height}; each side has to have at least {limits.min_side} pixels"
        )
