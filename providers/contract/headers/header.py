"""What a picture's file says about itself, and how it is said that it says nothing good."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: From here on an EXIF orientation makes rows of columns.
FIRST_ACROSS = 5


class UnreadablePicture(ValueError):
    """A file that is not to be decoded. The message is a clause about it: "it is cut off: its end is missing"."""


class OtherFormat(UnreadablePicture):
    """A file of a format that is not read. The message names it, and says what to do."""


class TooMuchWork(UnreadablePicture):
    """Going through the file takes more steps than a picture of its size has any reason for."""


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What the file claims and how it is laid out; the pixels behind that may still be cut or broken."""

    media_type: str
    """Such as `image/png`: read from the bytes."""
    width: int
    height: int
    """Pixels, as they are stored: before the picture is turned upright."""
    bits: int = 8
    """Of one channel."""
    channels: int = 3
    """Of a decoded pixel, alpha included; 4 without alpha are inks."""
    transparent: bool = False
    """Whether pixels may be transparent, by an alpha channel or by a colour that stands for it."""
    orientation: int = 1
    """1 to 8, as EXIF counts them: by EXIF's own tag, TIFF's, or the turns of AVIF and HEIC; never by XMP."""
    frames: int = 1
    """Frames or pages; 2 stands for two or more."""
    animated: bool = False
    """Whether it has the form of an animation, of however many frames, that only decoding makes a still picture."""
    scans: int = 1
    """How often decoding goes over all pixels."""
    lossless: bool = True
    complete: bool = True
    """Whether its end is there. A JPEG without one may have all of its pixels; a PNG with too few bytes cannot."""
    end: int = 0
    """Where the picture ends in the file, in bytes."""
    still: tuple[tuple[int, int], ...] = ()
    """What of the file makes a still picture, as places from and to; empty where that is all of it."""

    @property
    def upright(self) -> tuple[int, int]:
        """`(width, height)` once it is turned upright."""
        return (self.width, self.height) if self.orientation < FIRST_ACROSS else (self.height, self.width)

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.width * self.height

    @property
    def decoded_bytes(self) -> int:
        """How many bytes its pixels take."""
        return self.pixels * self.channels * (1 if self.bits <= 8 else self.bits // 8)


class Work:
    """
    Counts steps, and ends what takes too many: what a file costs to go through shows only on the way.

    One step is about a microsecond: a part of the file, 4,096 bytes that are looked through, 512 that are unpacked.
    """

    def __init__(self, most: int) -> None:
        """Allow *most* steps."""
        self.most = most
        self.done = 0

    def add(self, steps: int = 1) -> None:
        """
        Count.

        Raises:
            TooMuchWork: that was the last one.
        """
        self.done += steps
        if self.done > self.most:
            raise TooMuchWork("it is in more parts than a picture of its size has a reason for; save it again")


def most_steps(size: int) -> int:
    """Return how many steps a file of so many bytes may take: more than any honest one, and no more than linear."""
    return 20_000 + size // 1024


def merged(parts: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return parts of a file, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in parts:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return tuple(joined)
