"""Masks read off the rows of PNG files, beside a decoder's reading of the same files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from providers.contract import Bitmap, Mask
from providers.png_runs import read_black_and_white

NONE, SUB, UP, AVERAGE, PAETH = range(5)


def predicted(filter_type: int, left: int, above: int, corner: int) -> int:
    """Return what a filter predicts of a byte (PNG, section 9.2)."""
    if filter_type == AVERAGE:
        return (left + above) // 2
    if filter_type == PAETH:
        far = {value: abs(left + above - corner - value) for value in (corner, above, left)}
        nearest = min(far.values())
        return next(value for value in (left, above, corner) if far[value] == nearest)
    return {NONE: 0, SUB: left, UP: above}[filter_type]


def filtered(levels: Bitmap, filters: Iterable[int]) -> bytes:
    """Return the rows of a grey picture as a PNG file has them before they are compressed."""
    framed = np.pad(levels, ((1, 0), (1, 0))).tolist()
    rows = bytearray()
    for above, row, kind in zip(framed[:-1], framed[1:], filters, strict=True):
        rows.append(kind)
        rows.extend((row[x] - predicted(kind, row[x - 1], above[x], above[x - 1])) % 256 for x in range(1, len(row)))
    return bytes(rows)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes, *, form: tuple[int, ...] = (8, 0, 0, 0, 0), more: bytes = b"") -> bytes:
    """Return a file of those rows, with *more* chunks before them."""
    header = chunk(b"IHDR", struct.pack(">II5B", width, height, *form))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def read(data: bytes, levels: Bitmap) -> Mask | None:
    """Read a file of the size of *levels*."""
    height, width = levels.shape
    return read_black_and_white(data, width=width, height=height)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Bitmap, list[int]]:
    """Return the levels of a black and white picture, noise or blots, and a filter for each of its rows."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 140))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    noise = random.random((height, width))
    blur = draw(st.sampled_from((0.0, 1.0, 3.0)))
    smooth = cv2.GaussianBlur(noise, (0, 0), blur).reshape(height, width) if blur else noise
    solid = smooth > draw(st.floats(0.3, 0.7))
    kinds = draw(st.lists(st.sampled_from((NONE, SUB, UP, PAETH)), min_size=height, max_size=height))
    return solid.astype(np.uint8) * np.uint8(255), kinds


SHAPE = np.zeros((48, 130), np.uint8)
SHAPE[10:40, 20:70] = 255
SHAPE[5:15, 60:130] = 255


@given(pictures())
@example((np.zeros((1, 1), np.uint8), [NONE]))
@example((np.full((1, 1), 255, np.uint8), [PAETH]))
@example((np.full((3, 63), 255, np.uint8), [UP, UP, UP]))
@example((np.full((3, 64), 255, np.uint8), [SUB, PAETH, UP]))
def test_every_mixture_of_filters(drawn: tuple[Bitmap, list[int]]) -> None:
    """The mask is the picture's, whatever filters its rows have."""
    levels, kinds = drawn
    assert Mask.from_bitmap(levels) == read(png(levels.shape[1], levels.shape[0], filtered(levels, kinds)), levels)


@given(pictures(), st.data())
def test_one_grey_pixel_is_seen(drawn: tuple[Bitmap, list[int]], data: st.DataObject) -> None:
    """A picture with a single other level is left to the decoder, wherever the pixel is and however it is filtered."""
    levels, kinds = drawn
    place = tuple(data.draw(st.integers(0, side - 1)) for side in levels.shape)
    levels[place] = data.draw(st.integers(1, 254))
    assert read(png(levels.shape[1], levels.shape[0], filtered(levels, kinds)), levels) is None


@pytest.mark.parametrize("side", [62, 63, 64, 127, 128, 1024])
def test_what_encoders_write(side: int) -> None:
    """The files of Pillow and OpenCV mean the same to it as to OpenCV, at sizes around whole words."""
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    angle, distance = np.arctan2(rows, columns), np.hypot(rows, columns)
    levels = ((distance < 0.36 + 0.05 * np.sin(9 * angle)) & (distance > 0.1)).astype(np.uint8) * np.uint8(255)
    written = io.BytesIO()
    Image.fromarray(levels).save(written, "PNG")
    all_filters = cv2.imencode(".png", levels, [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_ALL_FILTERS])[1].tobytes()
    files = [written.getvalue(), cv2.imencode(".png", levels)[1].tobytes(), all_filters]
    assert [Mask.from_bitmap(levels)] * 3 == [read(data, levels) for data in files]


GOOD = png(130, 48, filtered(SHAPE, [PAETH] * 48))
ROWS = filtered(SHAPE, [NONE] * 48)

LEFT_TO_A_DECODER = {
    "the filter Average": png(130, 48, filtered(SHAPE, [AVERAGE] * 48)),
    "a filter that does not exist": png(130, 48, b"".join(b"\5" + bytes(130) for _ in range(48))),
    "a transparent level": png(130, 48, ROWS, more=chunk(b"tRNS", b"\0\0")),
    "a palette": png(130, 48, ROWS, form=(8, 3, 0, 0, 0), more=chunk(b"PLTE", bytes(6))),
    "interlaced": png(130, 48, ROWS, form=(8, 0, 0, 0, 1)),
    "16 bits": png(130, 48, ROWS, form=(16, 0, 0, 0, 0)),
    "a row too few": png(130, 48, ROWS[:-131]),
    "a row too many": png(130, 48, ROWS + bytes(131)),
    "a checksum that does not hold": GOOD[:-20] + bytes((GOOD[-20] ^ 1,)) + GOOD[-19:],
    "cut off": GOOD[:-12],
    "cut in the middle": GOOD[:60],
    "nothing but a header": GOOD[:33] + chunk(b"IEND", b""),
    "rows that are not compressed": GOOD[:33] + chunk(b"IDAT", ROWS) + chunk(b"IEND", b""),
}


@pytest.mark.parametrize("what", LEFT_TO_A_DECODER)
def test_the_rest_is_left_to_a_decoder(what: str) -> None:
    """None says that it is not, or not surely, a whole plain file of 0 and 255."""
    assert read(LEFT_TO_A_DECODER[what], SHAPE) is None


def test_what_stands_beside_the_picture_changes_nothing() -> None:
    """Texts, resolutions and colour profiles are passed over."""
    more = chunk(b"tEXt", b"Software\0a painter") + chunk(b"pHYs", bytes(9)) + chunk(b"gAMA", struct.pack(">I", 45455))
    assert Mask.from_bitmap(SHAPE) == read(png(130, 48, ROWS, more=more), SHAPE)


def test_no_more_is_unpacked_than_the_size_takes() -> None:
    """A file that unpacks to half a gigabyte is put down after the first byte too many."""
    packer = zlib.compressobj(9)
    bomb = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(512)), packer.flush()])
    data = GOOD[:33] + chunk(b"IDAT", bomb) + chunk(b"IEND", b"")
    assert read(data, SHAPE) is None


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_damage_is_never_a_mask(place: int, change: int) -> None:
    """A file with one changed byte is left to the decoder, or still means the same."""
    damaged = bytearray(GOOD)
    damaged[place] ^= change
    assert read(bytes(damaged), SHAPE) in {None, Mask.from_bitmap(SHAPE)}
