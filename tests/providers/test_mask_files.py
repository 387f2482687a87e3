"""Many masks, large masks, false masks and deadly masks of one answer."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from providers.contract import Deadline, Mask, Means, OwnShortage
from providers.mask_files import MaskFile, MaskReader
from providers.masks import MaskReading, UnreadableMask
from tests.providers.loopback import disc, file_of, real_means

SIZE = (300, 400)


def soon() -> Deadline:
    """Return a deadline that is far off."""
    return Deadline.after(20, time.monotonic)


def claiming(width: int, height: int) -> bytes:
    """Return a PNG file that claims a size, and has the pixels of a few million at most."""
    rows = chunk(b"IDAT", zlib.compress(bytes(min(5_000_000, height * (1 + width)))))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b"")


@pytest.fixture
async def means() -> AsyncIterator[Means]:
    """Two threads and a queue."""
    async with real_means("http://127.0.0.1:9") as made:
        yield made


async def read(
    means: Means, files: Sequence[bytes], size: tuple[int, int] = SIZE, deadline: Deadline | None = None
) -> list[MaskReading | UnreadableMask]:
    """Read the files as masks of a picture of that size."""
    reader = MaskReader(means, size, deadline or soon(), "anyone")
    return await reader.read([MaskFile(file) for file in files])


@pytest.mark.parametrize("count", [0, 1, 40, 100])
async def test_order(means: Means, count: int) -> None:
    """However many threads and processes they are spread over, the masks come back in their order."""
    shapes = [disc(SIZE, x=20 + 3 * n, y=150, radius=15) for n in range(count)]
    files = [file_of(shape, ".webp" if n % 10 == 3 else ".png") for n, shape in enumerate(shapes)]
    assert [MaskReading(Mask.from_bitmap(shape)) for shape in shapes] == await read(means, files)


@pytest.mark.parametrize("at", [0, 3])
async def test_one_that_is_none(means: Means, at: int) -> None:
    """One file that is no mask stands in its place, and the others are read."""
    files = [file_of(disc(SIZE, x=50, y=50, radius=20))] * 4
    files[at] = b"<html>"
    readings = await read(means, files)
    assert [at] == [place for place, reading in enumerate(readings) if isinstance(reading, UnreadableMask)]


@pytest.mark.parametrize(("width", "height"), [(2049, 2048), (100_000, 42), (2**31 - 1, 2**31 - 1)])
async def test_claims(means: Means, width: int, height: int) -> None:
    """A file that claims more than four megapixels and four times the picture is refused before it is decoded."""
    [reading] = await read(means, [claiming(width, height)])
    assert isinstance(reading, UnreadableMask)
    assert f"claims {width}x{height} pixels" in str(reading)


async def test_twice_the_size(means: Means) -> None:
    """A mask of twice the picture's size is read, and scaled."""
    shape = disc(SIZE, x=100, y=100, radius=60)
    [reading] = await read(means, [file_of(shape.repeat(2, 0).repeat(2, 1))])
    assert isinstance(reading, MaskReading)
    assert np.array_equal(reading.mask.bitmap, shape)
    assert len(reading.warnings) == 1


@pytest.mark.parametrize("kind", [".png", ".webp"])
async def test_too_late(means: Means, kind: str) -> None:
    """No mask is begun after the deadline; what was paid for is said to be."""
    files = [file_of(disc(SIZE, x=50, y=50, radius=20), kind)]
    with pytest.raises(OwnShortage, match="the deadline passed while it was read") as caught:
        await read(means, files, deadline=Deadline.after(-1, time.monotonic))
    assert (caught.value.may_have_charged, caught.value.elsewhere) == (True, False)


async def test_no_codec_in_this_process(means: Means, monkeypatch: pytest.MonkeyPatch) -> None:
    """PNG of 8 bits and of 1, of the picture's size or another, is read here; all else elsewhere, to the same masks."""
    shape = disc((120, 120), x=60, y=50, radius=33)
    grey = Image.fromarray(shape * np.uint8(255))
    files = [saved(grey), saved(grey.convert("1")), saved(grey.resize((240, 240), Image.Resampling.NEAREST))]
    files += [
        saved(grey, "JPEG", quality=95),
        saved(grey, "WEBP", lossless=True),
        saved(grey.convert("RGB")),
        apng(grey),
    ]

    def codec(*_: object) -> None:
        pytest.fail("a codec was called in the gateway's process")

    monkeypatch.setattr(cv2, "imdecode", codec)
    monkeypatch.setattr(Image, "open", codec)
    readings = await read(means, files, size=(120, 120))
    ious = [reading.mask.iou(Mask.from_bitmap(shape)) for reading in readings if isinstance(reading, MaskReading)]
    assert len(files) == len(ious)
    assert min(ious) > 0.97
    assert [1.0] * 6 == [iou for place, iou in enumerate(ious) if place != 3]


async def test_the_chunks_of_an_animation_reach_no_codec(means: Means) -> None:
    """The file that OpenCV dies of is read as its first frame, which is empty."""
    [reading] = await read(means, [deadly_png()])
    assert isinstance(reading, MaskReading)
    assert 0 == reading.mask.area


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture as a file."""
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def apng(image: Image.Image) -> bytes:
    """Return a file of two frames, the first the picture and the second its opposite."""
    return saved(image, save_all=True, append_images=[ImageOps.invert(image)])


def deadly_png() -> bytes:
    """
    Return the file that OpenCV 5.0.0.93 writes outside of its memory for.

    `acTL` twice, and a second frame whose middle row has a filter that does not exist.
    """
    rows = b"".join(b"\0" + bytes(128 * 4) for _ in range(64))
    bad = b"".join(bytes((9 if y == 32 else 0,)) + bytes(128 * 4) for y in range(64))
    chunks = [chunk(b"IHDR", struct.pack(">II5B", 128, 64, 8, 6, 0, 0, 0))]
    chunks += [chunk(b"acTL", struct.pack(">2I", 2, 0))] * 2
    chunks += [chunk(b"IDAT", zlib.compress(rows))]
    chunks += [chunk(b"fcTL", struct.pack(">5I2H2B", 0, 128, 64, 0, 0, 1, 10, 0, 0))]
    chunks += [chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(bad)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
