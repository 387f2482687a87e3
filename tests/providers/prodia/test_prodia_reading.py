"""Many masks, large masks and false masks of one answer."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import AsyncIterator

import numpy as np
import pytest

from providers.contract import Deadline, Mask, Means, ProviderFailed
from providers.masks import UnreadableMask
from providers.prodia.reading import read_masks
from tests.providers.loopback import disc, file_of, real_means

SIZE = (300, 400)


def soon() -> Deadline:
    """Return a deadline that is far off."""
    return Deadline.after(20, time.monotonic)


def claiming(width: int, height: int) -> bytes:
    """Return a PNG file that claims a size, and has the pixels of a few million at most."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"IDAT" + zlib.compress(bytes(min(5_000_000, height * (1 + width))))
    parts = (each + struct.pack(">I", zlib.crc32(each)) for each in (head, rows, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(each) - 8) + each for each in parts)


@pytest.fixture
async def means() -> AsyncIterator[Means]:
    """Two threads and a queue."""
    async with real_means("http://127.0.0.1:9") as made:
        yield made


@pytest.mark.parametrize("count", [0, 1, 40, 100])
async def test_order(means: Means, count: int) -> None:
    """However many threads they are spread over, the masks come back in their order."""
    shapes = [disc(SIZE, x=20 + 3 * n, y=150, radius=15) for n in range(count)]
    readings = await read_masks(means, [file_of(shape) for shape in shapes], size=SIZE, deadline=soon())
    assert [reading.mask for reading in readings] == [Mask.from_bitmap(shape) for shape in shapes]


@pytest.mark.parametrize("at", [0, 20, 39])
async def test_one_that_is_none(means: Means, at: int) -> None:
    """One file that is no mask spoils the answer, wherever it stands."""
    files = [file_of(disc(SIZE, x=50, y=50, radius=20))] * 40
    files[at] = b"<html>"
    with pytest.raises(UnreadableMask):
        await read_masks(means, files, size=SIZE, deadline=soon())


@pytest.mark.parametrize(("width", "height"), [(2049, 2048), (100_000, 42), (2**31 - 1, 2**31 - 1)])
async def test_claims(means: Means, width: int, height: int) -> None:
    """A file that claims more than four megapixels and four times the picture is refused before it is decoded."""
    with pytest.raises(UnreadableMask, match=f"claims {width}x{height} pixels"):
        await read_masks(means, [claiming(width, height)], size=SIZE, deadline=soon())


async def test_twice_the_size(means: Means) -> None:
    """A mask of twice the picture's size is read, and scaled."""
    shape = disc(SIZE, x=100, y=100, radius=60)
    [reading] = await read_masks(means, [file_of(shape.repeat(2, 0).repeat(2, 1))], size=SIZE, deadline=soon())
    assert np.array_equal(reading.mask.bitmap, shape)
    assert len(reading.warnings) == 1


async def test_too_late(means: Means) -> None:
    """No mask is begun after the deadline; what was paid for is said to be."""
    with pytest.raises(ProviderFailed, match="the deadline passed while its masks were read") as caught:
        await read_masks(
            means,
            [file_of(disc(SIZE, x=50, y=50, radius=20))],
            size=SIZE,
            deadline=Deadline.after(-1, time.monotonic),
        )
    assert (caught.value.may_have_charged, caught.value.elsewhere) == (True, False)
