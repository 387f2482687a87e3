"""Masks painted over their picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gateway.render.overlay import PALETTE, overlay
from providers.contract import Mask

GREY = 100


def grey_picture(height: int, width: int, form: str = "PNG", mode: str = "RGB") -> bytes:
    """Return the file of a grey picture."""
    file = io.BytesIO()
    Image.fromarray(np.full((height, width), GREY, np.uint8)).convert(mode).save(file, form)
    return file.getvalue()


def rectangle(height: int, width: int, rows: slice, columns: slice) -> Mask:
    """Return a mask of one rectangle."""
    bitmap = np.zeros((height, width), np.uint8)
    bitmap[rows, columns] = 1
    return Mask.from_bitmap(bitmap)


def painted(picture: bytes, masks: list[Mask], max_side: int = 2048) -> np.ndarray:
    """Return the pixels of an overlay, which is a PNG file."""
    with Image.open(io.BytesIO(overlay(picture, masks, max_side=max_side)), formats=["PNG"]) as opened:
        return np.asarray(opened)


def test_each_instance_has_a_colour_of_its_own_and_the_rest_is_left_alone() -> None:
    """Inside a mask its colour is mixed in, on its border the colour is nearly pure, elsewhere nothing changes."""
    left = rectangle(60, 90, slice(10, 50), slice(5, 40))
    right = rectangle(60, 90, slice(10, 50), slice(50, 85))
    pixels = painted(grey_picture(60, 90), [left, right])
    assert pixels.shape == (60, 90, 3)
    for place, column in enumerate((20, 70)):
        mixed = np.rint(GREY * 0.55 + np.array(PALETTE[place]) * 0.45)
        assert np.abs(pixels[30, column] - mixed).max() <= 1
        assert np.abs(pixels[10, column] - np.array(PALETTE[place])).max() <= 25
    assert np.all(pixels[:5] == GREY)
    assert np.all(pixels[:, 44:46] == GREY)


def test_a_small_mask_stays_visible_on_a_large_one() -> None:
    """Whatever their order, the smaller mask is painted over the larger one."""
    large, small = rectangle(80, 80, slice(0, 80), slice(0, 80)), rectangle(80, 80, slice(30, 50), slice(30, 50))
    for masks in ([large, small], [small, large]):
        pixels = painted(grey_picture(80, 80), masks)
        assert np.abs(pixels[30, 40] - np.array(PALETTE[masks.index(small)])).max() <= 25


def test_a_large_picture_is_painted_smaller() -> None:
    """No side of the overlay is longer than asked for, and the mask shrinks along."""
    pixels = painted(grey_picture(400, 1000), [rectangle(400, 1000, slice(0, 400), slice(500, 1000))], max_side=250)
    assert pixels.shape == (100, 250, 3)
    assert np.all(pixels[:, :120] == GREY)
    assert not np.any(np.all(pixels[:, 130:] == GREY, axis=2))


@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB")]
)
def test_every_kind_of_picture_is_painted(form: str, mode: str) -> None:
    """Grey, transparent, palette and CMYK pictures of the three formats become an RGB overlay."""
    pixels = painted(grey_picture(20, 30, form, mode), [rectangle(20, 30, slice(5, 15), slice(5, 15))])
    assert pixels.shape == (20, 30, 3)


def test_more_masks_than_colours_and_none_at_all_are_painted() -> None:
    """Colours begin again where they end; no masks leave the picture as it is; an empty mask paints nothing."""
    height = 12 * (len(PALETTE) + 1)
    masks = [rectangle(height, 30, slice(12 * i + 2, 12 * i + 10), slice(2, 28)) for i in range(len(PALETTE) + 1)]
    pixels = painted(grey_picture(height, 30), masks)
    assert np.array_equal(pixels[5, 15], pixels[12 * len(PALETTE) + 5, 15])
    assert np.all(painted(grey_picture(20, 30), []) == GREY)
    assert np.all(painted(grey_picture(20, 30), [Mask.from_bitmap(np.zeros((20, 30)))]) == GREY)


def test_a_mask_of_another_size_is_refused() -> None:
    """A mask that does not belong to the picture is a bug, and says both sizes."""
    with pytest.raises(ValueError, match=r"\(30, 20\).*\(20, 30\)"):
        overlay(grey_picture(20, 30), [Mask.from_bitmap(np.zeros((30, 20)))])
