"""
The mask files of one answer become masks, and no file that a stranger made meets a codec in the gateway's process.

A black and white PNG, which nearly all masks are, is read here, without a codec (`png_runs`); anything else goes to a
decoder process. What a file may be is judged by its own header before: how large it is beside the picture, and how much
it is to decode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from providers.contract import (
    Box,
    Deadline,
    DecodingFailed,
    Means,
)
from providers.contract.headers import PictureHeader
from providers.decoding import decoded, decoded_apart, read_too_late
from providers.masks import MaskReading, Polarity, UnreadableMask, decode_mask, read_mask_header, read_plain_mask
from providers.side_by_side import side_by_side

T = TypeVar("T")

#: Pixels that are worth a thread of their own.
_BATCH_PIXELS = 4 * 1024 * 1024

#: Threads or decoder processes that one answer may occupy.
_SIDE_BY_SIDE = 4

#: How many times the picture's pixels a mask may have, and how many it may have in any case.
_MOST_TIMES_THE_PICTURE = 4
_ALWAYS_ALLOWED_PIXELS = 4 * 1024 * 1024

#: Bytes a pixel of what a decoder's time is measured by, a picture in colours.
_USUAL_BYTES = 3


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A file, and what is known of it."""

    data: bytes
    polarity: Polarity = Polarity.WHITE
    box: Box | None = None
    """Where the provider says that the object is, in pixels of the picture."""


@dataclass(frozen=True, slots=True)
class MaskReader:
    """Reads the masks of one answer."""

    means: Means
    size: tuple[int, int]
    """`(height, width)` of the picture in pixels."""
    deadline: Deadline
    tenant: str
    """On whose behalf."""

    async def read(self, files: Sequence[MaskFile]) -> list[MaskReading | UnreadableMask]:
        """
        Return the masks in *files*, or what is wrong with them, in their order.

        Raises:
            OwnShortage: they could not be read in time; `may_have_charged` is set.
        """
        headers = await decoded(
            self.means,
            lambda: [_header(file.data, self.size) for file in files],
            pixels=sum(len(file.data) for file in files),
            deadline=self.deadline,
        )
        readings: list[MaskReading | UnreadableMask | None] = [
            header if isinstance(header, UnreadableMask) else None for header in headers
        ]
        wanted = [
            _Wanted(place, file, header)
            for place, (file, header) in enumerate(zip(files, headers, strict=True))
            if isinstance(header, PictureHeader)
        ]
        for found in await _beside([self._plain(batch) for batch in _batches(wanted)]):
            for place, plain in found:
                readings[place] = plain
        left = [each for each in wanted if readings[each.place] is None]
        for each, reading in zip(left, await _beside([self._decoded(each) for each in left]), strict=True):
            readings[each.place] = reading
        return [reading for reading in readings if reading is not None]

    async def _plain(self, batch: Sequence[_Wanted]) -> list[tuple[int, MaskReading | None]]:
        """Read what can be read without a codec, on one thread."""
        return await decoded(
            self.means,
            partial(_read_batch, batch, self.size, self.deadline),
            pixels=sum(each.pixels for each in batch),
            deadline=self.deadline,
        )

    async def _decoded(self, wanted: _Wanted) -> MaskReading | UnreadableMask:
        """Read one mask in a decoder process."""
        try:
            return await decoded_apart(
                self.means,
                _decode_file,
                wanted.file,
                self.size,
                pixels=wanted.decoder_pixels,
                deadline=self.deadline,
                tenant=self.tenant,
            )
        except UnreadableMask as unreadable:
            return unreadable
        except DecodingFailed as error:
            return UnreadableMask(f"the mask cannot be decoded: {error}")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file whose header is in order."""

    place: int
    file: MaskFile
    header: PictureHeader

    @property
    def pixels(self) -> int:
        """What it costs to read: its pixels, or its bytes where they are more."""
        return max(self.header.width * self.header.height, len(self.file.data))

    @property
    def decoder_pixels(self) -> int:
        """What it costs to decode, by its own depth, channels and scans, in pixels of a usual picture."""
        return max(self.pixels, self.header.decoded_bytes * self.header.scans // _USUAL_BYTES)


def _header(data: bytes, size: tuple[int, int]) -> PictureHeader | UnreadableMask:
    """Return the header of a mask file, or why it is not looked at further."""
    try:
        header = read_mask_header(data)
    except UnreadableMask as unreadable:
        return unreadable
    most = max(_MOST_TIMES_THE_PICTURE * size[0] * size[1], _ALWAYS_ALLOWED_PIXELS)
    if header.width * header.height > most:
        return UnreadableMask(
            f"the mask claims {header.width}x{header.height} pixels; beside a picture of {size[1]}x{size[0]} at most "
            f"{most} are read"
        )
    return header


def _batches(wanted: Sequence[_Wanted]) -> Iterator[Sequence[_Wanted]]:
    """Yield the files in batches: one large mask is worth a thread of its own, twenty small ones together are not."""
    batch: list[_Wanted] = []
    pixels = 0
    for each in wanted:
        batch.append(each)
        pixels += each.pixels
        if pixels >= _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _read_batch(
    batch: Sequence[_Wanted], size: tuple[int, int], deadline: Deadline
) -> list[tuple[int, MaskReading | None]]:
    """Read each without a codec, or say that it takes one."""
    found: list[tuple[int, MaskReading | None]] = []
    for each in batch:
        if deadline.passed:
            raise read_too_late()
        file = each.file
        found.append(
            (each.place, read_plain_mask(file.data, each.header, size=size, polarity=file.polarity, box=file.box))
        )
    return found


def _decode_file(file: MaskFile, size: tuple[int, int]) -> MaskReading:
    """Read a mask with a codec; in a decoder process."""
    return decode_mask(file.data, size=size, polarity=file.polarity, box=file.box)


async def _beside(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do a few pieces of work at a time, and return what came of them."""
    places = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def placed(work: Coroutine[Any, Any, T]) -> T:
        async with places:
            return await work

    return [await works[0]] if len(works) == 1 else await side_by_side(map(placed, works))
