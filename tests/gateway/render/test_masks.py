"""Masks written as text, as picture files and as polygons, and read back by other people's code."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from PIL import Image
from pycocotools import mask as coco

from gateway.render import MaskEncoding, PolygonMask, render
from providers.contract import Mask

Bitmap = npt.NDArray[np.uint8]


# pycocotools' own array wrapper was written before NumPy 2.
decodes_with_pycocotools = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def filled(polygons: PolygonMask) -> Bitmap:
    """Fill polygons as the docstring of the module tells a reader to: the even-odd rule at the centres of pixels."""
    height, width = polygons["size"]
    crossings = np.zeros((height + 1, width), np.uint8)
    for ring in polygons["polygons"] + polygons["holes"]:
        corners = np.array(ring).reshape(-1, 2)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if y0 == y1:
                crossings[y0, min(x0, x1) : max(x0, x1)] ^= 1
    return np.bitwise_xor.accumulate(crossings, axis=0)[:height]


def circle(side: int) -> Bitmap:
    """Return a disc of four fifths of the side."""
    rows, columns = np.ogrid[:side, :side]
    centre = (side - 1) / 2
    return ((rows - centre) ** 2 + (columns - centre) ** 2 <= (0.4 * side) ** 2).astype(np.uint8)


def random_bitmaps(count: int, seed: int) -> list[Bitmap]:
    """Return scattered pixels of every density in pictures of up to 30 x 30."""
    rng = np.random.default_rng(seed)
    densities = (0.0, 0.03, 0.3, 0.5, 0.8, 0.97, 1.0)
    sizes = rng.integers(1, 31, (count, 2)).tolist()
    return [(rng.random(size) < rng.choice(densities)).astype(np.uint8) for size in sizes]


def shoelace(ring: list[int]) -> float:
    """Return the area of a ring in pixels, above zero where it is clockwise on a screen."""
    x, y = np.array(ring[0::2]), np.array(ring[1::2])
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def polygons_of(bitmap: Bitmap) -> PolygonMask:
    """Render a bitmap as polygons."""
    rendered = render(Mask.from_bitmap(bitmap), MaskEncoding.POLYGON)
    assert rendered is not None
    assert rendered["encoding"] == "polygon"
    return rendered


@decodes_with_pycocotools
def test_rle_is_read_by_pycocotools() -> None:
    """The runs are a COCO object as they are, size included."""
    bitmap = circle(60)[:, :41]
    rendered = render(Mask.from_bitmap(bitmap), MaskEncoding.RLE)
    assert rendered is not None
    assert rendered["encoding"] == "rle"
    assert rendered["size"] == [60, 41]
    assert np.array_equal(bitmap, coco.decode({"size": rendered["size"], "counts": rendered["counts"]}))


def test_png_has_one_bit_a_pixel_and_every_pixel() -> None:
    """300 random masks (seed 5) come back from their PNG files, whose mode is one bit a pixel."""
    for bitmap in random_bitmaps(300, seed=5):
        rendered = render(Mask.from_bitmap(bitmap), MaskEncoding.PNG)
        assert rendered is not None
        assert rendered["encoding"] == "png"
        with Image.open(io.BytesIO(base64.b64decode(rendered["data"], validate=True)), formats=["PNG"]) as picture:
            assert picture.mode == "1"
            assert np.array_equal(bitmap, np.asarray(picture))
        assert list(bitmap.shape) == rendered["size"]


def test_nothing_is_rendered_where_nothing_is_asked_for() -> None:
    """The encoding `none` renders no mask."""
    assert render(Mask.from_bitmap(circle(9)), MaskEncoding.NONE) is None


@pytest.mark.parametrize("encoding", list(MaskEncoding))
def test_what_is_rendered_is_json(encoding: MaskEncoding) -> None:
    """Every encoding is made of what JSON knows, as plain Python numbers, and says its own name."""
    rendered = render(Mask.from_bitmap(circle(9)), encoding)
    read = orjson.loads(orjson.dumps(rendered))
    assert rendered == read
    assert read is None or encoding == read["encoding"]


def test_polygons_hold_every_pixel() -> None:
    """2,000 random masks (seed 6), with holes, parts and single pixels, are filled back exactly."""
    for bitmap in random_bitmaps(2000, seed=6):
        assert np.array_equal(bitmap, filled(polygons_of(bitmap)))


def test_rings_turn_at_every_corner_and_touch_themselves_nowhere() -> None:
    """No ring of 500 random masks (seed 8) has a corner twice, a corner that is none, or the wrong direction."""
    for bitmap in random_bitmaps(500, seed=8):
        polygons = polygons_of(bitmap)
        for ring in polygons["polygons"] + polygons["holes"]:
            corners = list(zip(ring[0::2], ring[1::2], strict=True))
            assert len(set(corners)) == len(corners)
            level = [one[1] == other[1] for one, other in zip(corners, corners[1:] + corners[:1], strict=True)]
            assert all(now != after for now, after in zip(level, level[1:] + level[:1], strict=True))
        assert all(shoelace(ring) > 0 for ring in polygons["polygons"])
        assert all(shoelace(ring) < 0 for ring in polygons["holes"])
        assert int(bitmap.sum()) == sum(shoelace(ring) for ring in polygons["polygons"] + polygons["holes"])


def test_one_pixel_is_a_square_of_side_one() -> None:
    """The pixel in column 2 and row 1 goes from (2, 1) to (3, 2)."""
    bitmap = np.zeros((3, 4), np.uint8)
    bitmap[1, 2] = 1
    assert polygons_of(bitmap)["polygons"] == [[2, 1, 3, 1, 3, 2, 2, 2]]


def test_a_ring_of_pixels_has_a_hole() -> None:
    """A frame of one pixel has one polygon and one hole."""
    bitmap = np.ones((3, 3), np.uint8)
    bitmap[1, 1] = 0
    polygons = polygons_of(bitmap)
    assert polygons["polygons"] == [[0, 0, 3, 0, 3, 3, 0, 3]]
    assert polygons["holes"] == [[1, 1, 1, 2, 2, 2, 2, 1]]


def test_parts_that_touch_in_a_corner_are_two_polygons() -> None:
    """Two pixels side by side diagonally have an outline each, whichever the diagonal."""
    for bitmap in (np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8)[::-1]):
        polygons = polygons_of(bitmap)
        assert (len(polygons["polygons"]), len(polygons["holes"])) == (2, 0)
        assert np.array_equal(bitmap, filled(polygons))


def test_an_empty_mask_has_no_polygons_and_a_full_one_has_the_pictures_edge() -> None:
    """Nothing has no outline; everything has the outline of the picture."""
    assert polygons_of(np.zeros((4, 5), np.uint8))["polygons"] == []
    assert polygons_of(np.ones((4, 5), np.uint8))["polygons"] == [[0, 0, 5, 0, 5, 4, 0, 4]]


@decodes_with_pycocotools
@pytest.mark.parametrize("side", [40, 200, 1024])
def test_polygons_without_holes_are_read_by_pycocotools(side: int) -> None:
    """COCO's own filling of a disc's polygon is the disc."""
    bitmap = circle(side)
    polygons = polygons_of(bitmap)
    theirs = coco.decode(coco.merge(coco.frPyObjects(polygons["polygons"], side, side)))
    assert Mask.from_bitmap(theirs).iou(Mask.from_bitmap(bitmap)) >= 0.98
