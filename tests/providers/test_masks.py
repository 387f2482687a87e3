"""Mask files in the wild, and the one mask that each of them means."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from providers.contract import Bitmap, Box, Instance, Mask
from providers.masks import ColouredPicture, MaskReading, Polarity, UnreadableMask, distinct, read_mask
from tests.end_to_end.broken_pictures import twice_animated
from tests.providers.loopback import disc

SIZE = (60, 80)
SHAPE = disc(SIZE, x=50, y=20, radius=15)
TRUTH = Mask.from_bitmap(SHAPE)
GREY = Image.fromarray(SHAPE * np.uint8(255))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return the file that Pillow writes."""
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """Return a PNG of raw filtered rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def palette(*, colour: tuple[int, int, int]) -> Image.Image:
    """Return the shape as index 1 of a palette whose index 0 is black."""
    image = Image.fromarray(SHAPE).convert("P")
    image.putpalette([0, 0, 0, *colour])
    return image


def cut_out() -> Image.Image:
    """Return a picture in colours whose alpha is the shape."""
    noise = np.random.default_rng(7).integers(0, 256, (*SIZE, 3), np.uint8)
    return Image.fromarray(np.dstack((noise, SHAPE * np.uint8(255))))


def black_cut_out() -> Image.Image:
    """Return a picture of nothing but black whose alpha is the shape."""
    return Image.merge("LA", (Image.new("L", GREY.size), GREY))


CLEAN = {
    "8 bits": saved(GREY),
    "1 bit": saved(GREY.convert("1")),
    "16 bits": saved(Image.fromarray(SHAPE.astype(np.uint16) * 65535)),
    "interlaced rows of every filter": bytes(cv2.imencode(".png", SHAPE * np.uint8(255))[1]),
    "palette of black and white": saved(palette(colour=(255, 255, 255))),
    "grey with opaque alpha": saved(Image.merge("LA", (GREY, Image.new("L", GREY.size, 255)))),
    "grey with the mask as alpha": saved(black_cut_out()),
    "cut-out": saved(cut_out()),
    "cut-out in WebP": saved(cut_out(), "WEBP", lossless=True),
    "RGB": saved(GREY.convert("RGB")),
    "RGBA, opaque": saved(GREY.convert("RGBA")),
    "lossless WebP": saved(GREY, "WEBP", lossless=True),
    "an orientation that is not applied": saved(GREY, exif=Image.Exif()),
}


@pytest.mark.parametrize("form", CLEAN)
def test_forms(form: str) -> None:
    """Every lossless form of a mask is read as exactly its pixels, without a warning."""
    reading = read_mask(CLEAN[form], size=SIZE)
    assert reading.mask == TRUTH
    assert reading.warnings == ()


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.fromarray(SHAPE)),
        saved(Image.fromarray(SHAPE.astype(np.uint16))),
        saved(Image.fromarray(SHAPE * np.uint8(100))),
        saved(palette(colour=(128, 0, 0))),
        saved(palette(colour=(0, 0, 255))),
    ],
    ids=["0 and 1", "0 and 1 in 16 bits", "0 and 100", "black and dark red", "black and blue"],
)
def test_faint(data: bytes) -> None:
    """A mask of black and one other value is read as that value's pixels, and says so."""
    reading = read_mask(data, size=SIZE)
    assert reading.mask == TRUTH
    assert len(reading.warnings) == 1


@pytest.mark.parametrize(("depth", "row"), [(1, b"\x00\x30"), (2, b"\x00\x0b"), (4, b"\x00\x07\x8f")])
def test_few_bits(depth: int, row: bytes) -> None:
    """Grey of one, two and four bits is scaled to full brightness before it is cut at half."""
    expected = {1: [0, 0, 1, 1], 2: [0, 0, 1, 1], 4: [0, 0, 1, 1]}[depth]
    reading = read_mask(png(4, 1, depth, 0, row), size=(1, 4))
    assert reading.mask.bitmap.tolist() == [expected]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_ringing(kind: str) -> None:
    """A lossy mask, whose edges ring, is cut at half: nearly every pixel is right."""
    reading = read_mask(saved(GREY, kind, quality=60), size=SIZE)
    assert reading.mask.iou(TRUTH) > 0.95
    assert reading.warnings == ()


def test_resized() -> None:
    """A mask of another size is brought to the picture's by nearest neighbour, with one warning that names both."""
    reading = read_mask(saved(GREY), size=(120, 160))
    assert np.array_equal(reading.mask.bitmap, np.repeat(np.repeat(SHAPE, 2, axis=0), 2, axis=1))
    assert reading.warnings == ("A mask of 80x60 pixels was resized to 160x120 by nearest neighbour.",)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_black(kind: str) -> None:
    """An all-black mask is an empty one, and no fault."""
    reading = read_mask(saved(Image.new("L", GREY.size), kind), size=SIZE)
    assert reading.mask.area == 0
    assert reading.warnings == ()


def test_invisible_cut_out() -> None:
    """A picture that is transparent everywhere is a cut-out of nothing."""
    picture = cut_out()
    picture.putalpha(0)
    assert read_mask(saved(picture), size=SIZE).mask.area == 0


def test_white() -> None:
    """An all-white mask covers the picture."""
    assert read_mask(saved(Image.new("L", GREY.size, 255)), size=SIZE).mask.area == SIZE[0] * SIZE[1]


NOISE = np.random.default_rng(5).integers(0, 256, (*SIZE, 3), np.uint8)
UNREADABLE = {
    "nothing": b"",
    "text": b"<html>no mask today</html>",
    "GIF": saved(GREY, "GIF"),
    "header alone": saved(GREY)[:33],
    "cut PNG": saved(Image.fromarray(NOISE[:, :, 0]))[:-400],
    "cut JPEG": saved(Image.fromarray(NOISE[:, :, 0]), "JPEG")[:-400],
    "cut WebP": saved(Image.fromarray(NOISE), "WEBP")[:-400],
    "damaged PNG": saved(GREY).replace(b"IDAT", b"IDAT\x00", 1),
    "photograph": saved(Image.fromarray(NOISE)),
    "photograph in JPEG": saved(Image.fromarray(NOISE), "JPEG"),
    "photograph, opaque": saved(Image.fromarray(NOISE).convert("RGBA")),
    "400 million pixels in 69 bytes": png(20_000, 20_000, 8, 0, b""),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_unreadable(what: str) -> None:
    """What is no whole mask is refused and never read as some mask."""
    with pytest.raises(UnreadableMask):
        read_mask(UNREADABLE[what], size=SIZE)


@given(arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.sampled_from([0, 255])))
def test_round_trip(levels: Bitmap) -> None:
    """Any bitmap comes back from an 8-bit PNG as it was."""
    reading = read_mask(saved(Image.fromarray(levels)), size=levels.shape)
    assert reading.mask == Mask.from_bitmap(levels)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x00\x00\x00\x00WEBPVP8X"]),
)
def test_any_bytes(data: bytes, start: bytes) -> None:
    """Bytes that are no picture are refused as such, whatever they are."""
    with pytest.raises(UnreadableMask):
        read_mask(start + data, size=SIZE)


def white_share(bitmap: Bitmap, *, inverted: bool) -> bytes:
    """Return the file of a bitmap, black on the object where it is inverted."""
    return saved(Image.fromarray((1 - bitmap if inverted else bitmap) * np.uint8(255)))


def frame() -> Bitmap:
    """Return a bitmap that is solid but for a rectangle in its middle, which is 30 % of it."""
    bitmap = np.ones(SIZE, np.uint8)
    bitmap[15:45, 16:64] = 0
    return bitmap


def touching() -> Bitmap:
    """Return a large thing that goes off the picture on the left."""
    return disc(SIZE, x=20, y=30, radius=38)


# What a file of unsaid polarity is read as, with a word of the warning that goes with it.
UNSAID: dict[str, tuple[bytes, Bitmap, str]] = {
    "small thing, white": (white_share(SHAPE, inverted=False), SHAPE, ""),
    "small thing, black": (white_share(SHAPE, inverted=True), SHAPE, "turned over"),
    "small thing, black, in JPEG": (saved(Image.fromarray((1 - SHAPE) * np.uint8(255)), "JPEG"), SHAPE, "turned over"),
    "small thing, black, in WebP": (
        saved(Image.fromarray((1 - SHAPE) * np.uint8(255)), "WEBP", lossless=True),
        SHAPE,
        "turned over",
    ),
    "frame, white": (white_share(frame(), inverted=False), 1 - frame(), "turned over"),
    "frame, black": (white_share(frame(), inverted=True), 1 - frame(), ""),
    "large thing at the border, white": (white_share(touching(), inverted=False), touching(), "not certain"),
    "small thing at the border, black": (
        white_share(disc(SIZE, x=0, y=0, radius=20), inverted=True),
        1 - disc(SIZE, x=0, y=0, radius=20),
        "not certain",
    ),
    "all white": (white_share(np.ones(SIZE, np.uint8), inverted=False), np.ones(SIZE, np.uint8), "not certain"),
    "all black": (white_share(np.ones(SIZE, np.uint8), inverted=True), np.zeros(SIZE, np.uint8), ""),
    "cut-out": (saved(cut_out()), SHAPE, ""),
}


@pytest.mark.parametrize("form", UNSAID)
def test_unsaid_polarity(form: str) -> None:
    """Where nobody says which is the object, white is; but not where it surrounds all else; doubts are warned of."""
    data, expected, warning = UNSAID[form]
    reading = read_mask(data, size=SIZE, polarity=Polarity.UNSAID)
    assert reading.mask.iou(Mask.from_bitmap(expected)) > (0.95 if "JPEG" in form else 0.999) or not expected.any()
    assert int(expected.sum()) == reading.mask.area or "JPEG" in form
    assert [warning in each for each in reading.warnings] == [True] * bool(warning)


@pytest.mark.parametrize("bitmap", [SHAPE, frame(), touching(), np.ones(SIZE, np.uint8)])
def test_known_polarity(bitmap: Bitmap) -> None:
    """A polarity that is known is obeyed, whatever the mask looks like; a cut-out has none."""
    truth = Mask.from_bitmap(bitmap)
    assert (truth, ()) == told(read_mask(white_share(bitmap, inverted=False), size=SIZE))
    assert (truth, ()) == told(read_mask(white_share(bitmap, inverted=True), size=SIZE, polarity=Polarity.BLACK))
    assert (TRUTH, ()) == told(read_mask(saved(cut_out()), size=SIZE, polarity=Polarity.BLACK))


def told(reading: MaskReading) -> tuple[Mask, tuple[str, ...]]:
    """Return mask and warnings."""
    return reading.mask, reading.warnings


BOX = TRUTH.box


@pytest.mark.parametrize("polarity", [Polarity.WHITE, Polarity.UNSAID])
def test_turned_over_by_its_box(polarity: Polarity) -> None:
    """The provider's box tells an inverted mask from a right one; only where it is decisive anything is turned over."""
    assert BOX is not None
    right, wrong = (white_share(SHAPE, inverted=inverted) for inverted in (False, True))
    assert (TRUTH, ()) == told(read_mask(right, size=SIZE, polarity=polarity, box=BOX))
    turned = read_mask(wrong, size=SIZE, polarity=polarity, box=BOX)
    assert TRUTH == turned.mask
    assert ["box fits its black" in warning for warning in turned.warnings] == [True]
    for elsewhere in (Box(0, 0, 10, 10), Box(0, 0, SIZE[1], SIZE[0])):
        kept = read_mask(wrong, size=SIZE, polarity=polarity, box=elsewhere)
        assert (Mask.from_bitmap(1 - SHAPE), ()) == told(kept)
        assert (TRUTH, ()) == told(read_mask(right, size=SIZE, polarity=polarity, box=elsewhere))


def test_other_proportions() -> None:
    """A mask whose proportions are not the picture's is resized, and a second warning says what that may mean."""
    reading = read_mask(saved(GREY), size=(80, 60))
    assert (80, 60) == reading.mask.size
    assert ["resized" in reading.warnings[0], "proportions" in reading.warnings[1]] == [True, True]
    assert 1 == len(read_mask(saved(GREY), size=(61, 80)).warnings)


def test_coloured_preview() -> None:
    """A whole picture in colours is told apart from a file that is broken."""
    with pytest.raises(ColouredPicture):
        read_mask(UNREADABLE["photograph"], size=SIZE)
    with pytest.raises(UnreadableMask) as caught:
        read_mask(UNREADABLE["cut PNG"], size=SIZE)
    assert not isinstance(caught.value, ColouredPicture)


def test_deep_cut_out() -> None:
    """A cut-out of 16 bits is cut at half of its alpha."""
    deep = np.dstack([np.zeros((*SIZE, 3), np.uint16), SHAPE.astype(np.uint16) * 65535])
    assert TRUTH == read_mask(bytes(cv2.imencode(".png", deep)[1]), size=SIZE).mask


def test_equal_masks() -> None:
    """Of equal masks one is kept, where the first stood and with the best score; a warning counts the others."""
    other = Mask.from_bitmap(touching())
    again = Mask.from_bitmap(SHAPE.copy())
    given = [Instance(TRUTH, 0.4), Instance(other, None), Instance(again, 0.9), Instance(TRUTH, None)]
    kept, warnings = distinct(given)
    assert (Instance(TRUTH, 0.9), Instance(other, None)) == kept
    assert ("2 of the provider's masks were equal to another and are left out.",) == warnings
    assert ((given[0], given[1]), ()) == distinct(given[:2])
    assert ((), ()) == distinct([])


LARGE = (400, 500)
PLACES = {
    "in the middle": disc(LARGE, x=250, y=200, radius=90),
    "nowhere": np.zeros(LARGE, np.uint8),
    "everywhere": np.ones(LARGE, np.uint8),
    "around a hole": 1 - disc(LARGE, x=250, y=200, radius=90),
    "at one side": disc(LARGE, x=20, y=200, radius=90),
    "on most of the border": 1 - disc(LARGE, x=20, y=200, radius=150),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("polarity", Polarity)
@pytest.mark.parametrize("box", [None, Box(160, 110, 341, 291), Box(0, 0, 500, 400)], ids=["no box", "small", "whole"])
def test_the_quick_way_says_what_the_long_one_does(place: str, polarity: Polarity, box: Box | None) -> None:
    """A plain file and the same picture in three channels are one mask, with the same words about it."""
    grey = Image.fromarray(PLACES[place] * np.uint8(255))
    plain, whole = saved(grey), saved(Image.merge("RGB", (grey, grey, grey)))
    quick, long = (read_mask(data, size=LARGE, polarity=polarity, box=box) for data in (plain, whole))
    assert (long.mask, long.warnings) == (quick.mask, quick.warnings)


def test_of_an_animation_the_default_image_is_the_mask() -> None:
    """No codec sees the chunks of an animation: OpenCV 5.0.0.93 ended the process on some of them."""
    for data in (twice_animated(), twice_animated(frames=0x80000001, twice=False)):
        assert ((64, 128), 0) == (read_mask(data, size=(64, 128)).mask.size, read_mask(data, size=(64, 128)).mask.area)
