"""
What a picture file says about itself, read by going through its parts and never by decoding: the one reader of headers.

Both sides of the contract use it before any codec sees a byte: a file of 69 bytes can claim 400 million pixels, and
140 kB of fill bytes kept Pillow busy for most of a second. The work is linear in the bytes, and counted (`Work`).

    read_header(data) -> PictureHeader
      png jpeg webp gif bmp tiff isobmff (AVIF, HEIC)   a module for each format
      exif                                              the orientation, where these have an EXIF block
      others                                            names what is none of them
"""

from __future__ import annotations

from providers.contract.headers.bmp import read_bmp
from providers.contract.headers.gif import read_gif
from providers.contract.headers.header import (
    OtherFormat,
    PictureHeader,
    TooMuchWork,
    UnreadablePicture,
    Work,
    most_steps,
)
from providers.contract.headers.isobmff import read_isobmff
from providers.contract.headers.jpeg import read_jpeg
from providers.contract.headers.others import refusal
from providers.contract.headers.png import SIGNATURE, read_png
from providers.contract.headers.tiff import STARTS, read_tiff
from providers.contract.headers.webp import read_webp

__all__ = [
    "OtherFormat",
    "PictureHeader",
    "TooMuchWork",
    "UnreadablePicture",
    "Work",
    "for_codec",
    "most_steps",
    "read_header",
    "still_picture",
]


def read_header(data: bytes, work: Work | None = None) -> PictureHeader:
    """
    Go through a file, and return what it says of its picture.

    Args:
        data: the whole file.
        work: counts the steps; None: as many as `most_steps` allows.

    Raises:
        UnreadablePicture: it is not to be decoded; the message says why.
        OtherFormat: it is of a format that is not read.
        TooMuchWork: it takes more steps than *work* allows.
    """
    work = Work(most_steps(len(data))) if work is None else work
    if data.startswith(SIGNATURE):
        return read_png(data, work)
    if data.startswith(b"\xff\xd8\xff"):
        return read_jpeg(data, work)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return read_webp(data, work)
    if data[4:8] == b"ftyp":
        return read_isobmff(data, work)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return read_gif(data, work)
    if data.startswith(STARTS):
        return read_tiff(data, work)
    if data.startswith(b"BM"):
        return read_bmp(data, work)
    raise refusal(data)


def for_codec(data: bytes) -> bytes:
    """
    Return a file as a codec may see it: one whose parts are in order, without those of an animation.

    Raises:
        UnreadablePicture: no codec is to see it; the message says why.
    """
    return still_picture(data, read_header(data))


def still_picture(data: bytes, header: PictureHeader) -> bytes:
    """Return the file without the parts of an animation that no codec is to see; itself where there are none."""
    if not header.still:
        return data
    view = memoryview(data)
    return b"".join(view[start:end] for start, end in header.still)
