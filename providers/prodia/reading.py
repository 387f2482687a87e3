"""
The masks of one answer, decoded beside one another, bounded in pixels and by the deadline.

Why in batches: one mask of 4096 x 4096 pixels is worth a thread of its own, twenty small ones together are not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from providers.contract import Deadline, Means, ProviderFailed
from providers.contract.headers import PictureHeader, UnreadablePicture, read_header
from providers.decoding import decoded
from providers.masks import MaskReading, UnreadableMask, read_mask

#: Pixels that are worth a thread of their own.
_BATCH_PIXELS = 4 * 1024 * 1024

#: Threads that one answer may occupy.
_SIDE_BY_SIDE = 4

#: How many times the picture's pixels a mask may have, and how many it may have in any case.
_MOST_TIMES_THE_PICTURE = 4
_ALWAYS_ALLOWED_PIXELS = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Batch:
    """Masks that are decoded one after another."""

    files: tuple[bytes, ...]
    pixels: int


async def read_masks(
    means: Means, files: Sequence[bytes], *, size: tuple[int, int], deadline: Deadline
) -> list[MaskReading]:
    """
    Return the masks in encoded *files*, in their order.

    Args:
        means: whose workers decode.
        files: PNG, JPEG or WebP, nobody knows how large.
        size: `(height, width)` of the picture in pixels.
        deadline: no further mask is begun after it.

    Raises:
        UnreadableMask: one of them is no mask, or has more than four times the picture's pixels.
        ProviderFailed: they could not be read in time; `may_have_charged` is set.
    """
    batches = list(_batches(files, size))
    readings: list[MaskReading] = []
    for start in range(0, len(batches), _SIDE_BY_SIDE):
        beside = [
            decoded(means, partial(_read, batch, size, deadline), pixels=batch.pixels, deadline=deadline)
            for batch in batches[start : start + _SIDE_BY_SIDE]
        ]
        if len(beside) == 1:
            readings += await beside[0]
            continue
        # Each is waited for even when one fails, so that nothing is left at work.
        for done in await asyncio.gather(*beside, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
            readings += done
    return readings


def _batches(files: Sequence[bytes], size: tuple[int, int]) -> Iterator[_Batch]:
    """
    Yield the files in batches, by the pixels that their headers claim.

    Raises:
        UnreadableMask: one of them claims too many.
    """
    picture_pixels = size[0] * size[1]
    most = max(_MOST_TIMES_THE_PICTURE * picture_pixels, _ALWAYS_ALLOWED_PIXELS)
    batch: list[bytes] = []
    pixels = 0
    for file in files:
        header = _header(file)
        claimed = 0 if header is None else header.width * header.height
        if header is not None and claimed > most:
            raise UnreadableMask(
                f"the mask claims {header.width}x{header.height} pixels; the picture has {picture_pixels}"
            )
        batch.append(file)
        pixels += max(claimed, picture_pixels)
        if pixels >= _BATCH_PIXELS:
            yield _Batch(tuple(batch), pixels)
            batch, pixels = [], 0
    if batch:
        yield _Batch(tuple(batch), pixels)


def _header(file: bytes) -> PictureHeader | None:
    """Return a mask's header; None where `read_mask` will say what is wrong with it."""
    try:
        return read_header(file)
    except UnreadablePicture:
        return None


def _read(batch: _Batch, size: tuple[int, int], deadline: Deadline) -> list[MaskReading]:
    """Decode one batch."""
    readings: list[MaskReading] = []
    for file in batch.files:
        if deadline.passed:
            raise ProviderFailed(
                "the answer came, and the deadline passed while its masks were read; ask for less, or give more time",
                elsewhere=False,
                may_have_charged=True,
            )
        readings.append(read_mask(file, size=size))
    return readings
