"""The mask value: runs, box, area and COCO's text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from providers.contract import Box, Mask

DENSITIES = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0)


def random_bitmap(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return a bitmap of up to 50 x 50 pixels: scattered pixels, or a few rectangles."""
    height, width = rng.integers(1, 51, 2)
    if rng.random() < 0.5:
        return (rng.random((height, width)) < rng.choice(DENSITIES)).astype(np.uint8)
    bitmap = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        y, x = rng.integers(0, height), rng.integers(0, width)
        bitmap[y : y + rng.integers(1, height + 1), x : x + rng.integers(1, width + 1)] ^= 1
    return bitmap


def test_two_thousand_masks_are_those_of_pycocotools() -> None:
    """Text, area and box of 2,000 random masks (seed 20261) are those that pycocotools gives, and read back equal."""
    rng = np.random.default_rng(20261)
    for _ in range(2000):
        bitmap = random_bitmap(rng)
        theirs = coco.encode(np.asfortranarray(bitmap))
        mask = Mask.from_bitmap(bitmap)
        assert theirs["counts"].decode() == mask.counts
        assert int(coco.area(theirs)) == mask.area
        x, y, width, height = (int(side) for side in coco.toBbox(theirs))
        expected = Box(x, y, x + width, y + height) if mask.area else None
        assert expected == mask.box
        assert mask == Mask.from_counts((bitmap.shape[0], bitmap.shape[1]), theirs["counts"])
        assert np.array_equal(bitmap, mask.bitmap)


@settings(deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1)))
def test_a_bitmap_goes_through_runs_and_text_unchanged(bitmap: npt.NDArray[np.uint8]) -> None:
    """Any bitmap comes back from its mask, and from the text of its mask."""
    mask = Mask.from_bitmap(bitmap)
    assert bitmap.size == int(mask.runs.sum())
    assert np.array_equal(bitmap, mask.bitmap)
    assert np.array_equal(bitmap, Mask.from_counts(mask.size, mask.counts).bitmap)


@pytest.mark.parametrize("density", [0.0001, 0.02, 0.5])
def test_the_layout_and_the_values_of_a_bitmap_do_not_matter(density: float) -> None:
    """Booleans, 255 instead of 1, floats, column order and a strided view give the same mask (seed 7)."""
    wide = (np.random.default_rng(7).random((301, 514)) < density).astype(np.uint8)
    expected = Mask.from_bitmap(wide)
    same = (wide.astype(bool), wide * 255, wide.astype(np.float32) / 3, np.asfortranarray(wide))
    assert all(expected == Mask.from_bitmap(other) for other in same)
    doubled = np.repeat(np.repeat(wide, 2, axis=0), 2, axis=1)
    assert expected == Mask.from_bitmap(doubled[::2, ::2])
    assert np.array_equal(wide, expected.bitmap)


def test_a_mask_that_begins_on_the_object_has_a_first_run_of_nothing() -> None:
    """COCO's runs begin with the background, of length 0 if need be."""
    assert Mask.from_bitmap(np.array([[1, 0], [0, 1]])).runs.tolist() == [0, 1, 2, 1]
    assert Mask.from_bitmap(np.ones((2, 3))).runs.tolist() == [0, 6]
    assert Mask.from_bitmap(np.zeros((2, 3))).runs.tolist() == [6]


@pytest.mark.parametrize("size", [(0, 0), (0, 4), (4, 0)])
def test_a_mask_of_no_pixels_is_empty(size: tuple[int, int]) -> None:
    """A picture without pixels has a mask without area, box, or trouble."""
    mask = Mask.from_bitmap(np.zeros(size))
    assert (0, None, size) == (mask.area, mask.box, mask.bitmap.shape)
    assert mask == Mask.from_counts(size, mask.counts)


def test_a_box_is_as_tall_as_the_picture_where_a_run_goes_over_a_column() -> None:
    """A run through the bottom of one column and the top of the next touches both edges."""
    bitmap = np.zeros((5, 4), np.uint8)
    bitmap[4, 1] = bitmap[0, 2] = 1
    assert Box(1, 0, 3, 5) == Mask.from_bitmap(bitmap).box


def test_a_bitmap_has_two_dimensions() -> None:
    """A picture with channels is no bitmap."""
    with pytest.raises(ValueError, match=r"\(2, 2, 3\)"):
        Mask.from_bitmap(np.zeros((2, 2, 3)))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("4 8", "a character out of its range"),
        ("4\x7f", "a character out of its range"),
        ("o", "cut in the middle of a number"),
        ("9P", "cut in the middle of a number"),
        ("o" * 12 + "1", "more than sixty bits"),
        ("8", "add up to 8 pixels, the picture has 9"),
        ("", "add up to 0 pixels, the picture has 9"),
        (":", "a run of 10 pixels, the picture has 9"),
        ("N;", "negative length"),
        ("4é", "ascii"),
    ],
)
def test_text_that_is_not_a_mask_is_refused(counts: str, message: str) -> None:
    """Wrong characters, a cut number, a wrong sum and a negative run each say what they are."""
    with pytest.raises(ValueError, match=message):
        Mask.from_counts((3, 3), counts)


def test_runs_that_only_wrap_around_to_the_right_sum_are_refused() -> None:
    """Four runs of 2 to the 62nd add up to nothing in 64 bits, and are still no mask."""
    huge = Mask((1, 1), np.array([2**58] * 64 + [4], np.int64)).counts
    with pytest.raises(ValueError, match="the picture has 4"):
        Mask.from_counts((2, 2), huge)


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12))
def test_text_is_a_mask_or_a_value_error(counts: str) -> None:
    """Whatever the text, reading it ends in a mask of the right size or in a ValueError."""
    try:
        mask = Mask.from_counts((4, 4), counts)
    except ValueError:
        return
    assert mask.bitmap.size == 16
    assert mask == Mask.from_bitmap(mask.bitmap)


def test_one_mask_has_one_way_to_be_written() -> None:
    """Runs of no length in the middle, which COCO allows, are read as the mask that they stand for."""
    odd = Mask((2, 3), np.array([1, 2, 0, 1, 2], np.int64)).counts
    read = Mask.from_counts((2, 3), odd)
    assert read.runs.tolist() == [1, 3, 2]
    assert read == Mask.from_bitmap(np.array([[0, 1, 0], [1, 1, 0]]))


def test_masks_are_equal_and_hash_alike_by_their_pixels() -> None:
    """Equality is of size and pixels; nothing else is equal to a mask."""
    one, same = Mask.from_bitmap(np.eye(3)), Mask.from_bitmap(np.eye(3, dtype=bool))
    assert one == same
    assert hash(one) == hash(same)
    assert one != Mask.from_bitmap(np.ones((3, 3)))
    assert one != "mask"
    assert Mask.from_bitmap(np.zeros((2, 3))) != Mask.from_bitmap(np.zeros((3, 2)))


def test_iou_is_the_shared_part() -> None:
    """Intersection over union is exact, 1.0 for two empty masks, and of one size only."""
    left = Mask.from_bitmap(np.array([[1, 1, 0, 0]]))
    right = Mask.from_bitmap(np.array([[0, 1, 1, 0]]))
    empty = Mask.from_bitmap(np.zeros((1, 4)))
    assert left.iou(right) == 1 / 3
    assert empty.iou(empty) == 1.0
    with pytest.raises(ValueError, match="different sizes"):
        left.iou(Mask.from_bitmap(np.zeros((4, 1))))
