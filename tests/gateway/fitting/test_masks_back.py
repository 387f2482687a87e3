"""Masks of fitted pictures, brought back: crops, blocks, outlines, and what is left of nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitting.geometry import Geometry, Sides
from gateway.fitting.masks import mask_back, to_fitted, to_upright
from gateway.fitting.rendering import Fitted
from providers.contract import Instance, Mask, ObjectPrompt, Picture, Point, Question, Segmentation


def fitted(source: Sides, content: Sides, canvas: Sides) -> Fitted:
    """Return a picture that was fitted so."""
    return Fitted(Picture(b"x", "image/png", *canvas, "blake3:1"), Geometry(source, content, canvas), "It was fitted.")


@given(st.data())
def test_any_mask_in_a_padded_picture_is_cropped(data: st.DataObject) -> None:
    """Whatever touches whichever edge, the crop's pixels come back, written in the one way that COCO's runs allow."""
    width, height = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    canvas = (width + data.draw(st.integers(0, 3)), height + data.draw(st.integers(0, 3)))
    bits = data.draw(st.lists(st.booleans(), min_size=canvas[0] * canvas[1], max_size=canvas[0] * canvas[1]))
    bitmap = np.array(bits, np.uint8).reshape(canvas[1], canvas[0])
    back = mask_back(Mask.from_bitmap(bitmap), Geometry((width, height), (width, height), canvas))
    assert Mask.from_bitmap(bitmap[:height, :width]) == back


@given(st.data(), st.integers(2, 4))
def test_any_mask_of_blocks_comes_back(data: st.DataObject, blocks: int) -> None:
    """A mask that was scaled up in blocks is the mask that it was."""
    width, height = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    bits = data.draw(st.lists(st.booleans(), min_size=width * height, max_size=width * height))
    bitmap = np.array(bits, np.uint8).reshape(height, width)
    content = (width * blocks, height * blocks)
    large = Mask.from_bitmap(bitmap.repeat(blocks, axis=0).repeat(blocks, axis=1))
    assert Mask.from_bitmap(bitmap) == mask_back(large, Geometry((width, height), content, content))


@pytest.mark.parametrize(("solid", "there"), [(3, 0), (4, 0), (5, 1), (9, 1)])
def test_half_a_block_decides(solid: int, there: int) -> None:
    """A pixel is on the object when at least half of its block is."""
    block = np.zeros(9, np.uint8)
    block[:solid] = 1
    picture = np.zeros((6, 6), np.uint8)
    picture[3:, 3:] = block.reshape(3, 3)
    assert there == mask_back(Mask.from_bitmap(picture), Geometry((2, 2), (6, 6), (6, 6))).area


@pytest.mark.parametrize("times", [1.0, 1.37, 2.0, 2.93, 7.5])
def test_the_whole_picture_comes_back_whole(times: float) -> None:
    """A mask of everything is one of everything at any size; the edge of the picture is no edge of the object."""
    source = (900, 700)
    content = (round(900 / times), round(700 / times))
    whole = Mask.from_bitmap(np.ones((content[1], content[0]), np.uint8))
    assert 900 * 700 == mask_back(whole, Geometry(source, content, content)).area


def test_an_unchanged_picture_s_mask_is_the_very_same() -> None:
    """Where only the format was changed, masks are not touched."""
    mask = Mask.from_bitmap(np.eye(5, dtype=np.uint8))
    assert mask is mask_back(mask, Geometry((5, 5), (5, 5), (5, 5)))


def test_what_lies_in_the_padding_is_left_out() -> None:
    """Objects that the model saw beyond the picture are no objects; the answer says that there were some."""
    inside, beyond = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    inside[2:9, 3:15] = 1
    beyond[12:, :] = 1
    answer = Segmentation(tuple(Instance(Mask.from_bitmap(each), 0.5, "x") for each in (inside, beyond)), ("First.",))
    back = to_upright(answer, fitted((10, 8), (10, 8), (20, 20)))
    (instance,) = back.instances
    assert (0.5, "x", Mask.from_bitmap(inside[:8, :10])) == (instance.score, instance.label, instance.mask)
    assert (
        "First.",
        "It was fitted.",
        "1 mask(s) with no pixel inside the picture at its own size were left out.",
    ) == back.warnings


def test_the_question_is_asked_about_the_fitted_picture() -> None:
    """Picture and coordinates change together; the rest of the question stays."""
    upright = Picture(b"y", "image/png", 100, 100, "blake3:0")
    made = fitted((100, 100), (300, 300), (300, 300))
    asked = to_fitted(Question(upright, ObjectPrompt((Point(1, 2),)), 7, 0.25), made)
    assert Question(made.picture, ObjectPrompt((Point(4, 7),)), 7, 0.25) == asked
