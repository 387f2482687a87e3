"""What holds for masks read out of answers."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from gateway.client import PolygonMask
from gateway.client.masks import read_mask
from gateway.render import MaskEncoding, render
from providers.contract import Mask


def shapes() -> list[Mask]:
    """Return masks with holes, several parts, single pixels, touching corners and nothing at all."""
    generator = np.random.default_rng(20261120)
    noise = (generator.random((31, 45)) < 0.4).astype(np.uint8)
    ring = np.zeros((40, 60), np.uint8)
    ring[5:35, 10:50] = 1
    ring[12:20, 18:30] = 0
    dot = np.zeros((9, 7), np.uint8)
    dot[4, 6] = 1
    return [Mask.from_bitmap(bitmap) for bitmap in (noise, ring, dot, np.ones((3, 5)), np.zeros((4, 4)))]


@pytest.mark.parametrize("encoding", [MaskEncoding.RLE, MaskEncoding.PNG, MaskEncoding.POLYGON])
@pytest.mark.parametrize("shape", range(5))
def test_every_encoding_gives_back_the_mask(encoding: MaskEncoding, shape: int) -> None:
    """What the gateway renders is read back pixel for pixel."""
    mask = shapes()[shape]
    rendered = render(mask, encoding)
    assert rendered is not None
    assert read_mask(rendered).mask() == mask


def test_slanted_polygon_is_filled_by_pixel_centres() -> None:
    """A triangle over the lower left half of a square covers the pixels whose centres lie inside it."""
    mask = PolygonMask((4, 4), ((0, 0, 4, 4, 0, 4),)).mask()
    assert mask.bitmap.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]


def test_polygon_beyond_the_picture_is_cut() -> None:
    """A ring that leaves the picture on every side covers all of it."""
    assert PolygonMask((2, 3), ((-5, -5, 9, -5, 9, 9, -5, 9),)).mask().area == 6


def test_grey_png_is_read_too() -> None:
    """A mask PNG of eight bits a pixel is read like one of one bit."""
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).save(file, "png")
    document = {"encoding": "png", "size": [2, 2], "data": base64.b64encode(file.getvalue()).decode()}
    assert read_mask(document).mask().bitmap.tolist() == [[0, 1], [1, 0]]


def test_unknown_encoding_is_refused_by_name() -> None:
    """An encoding that this client does not know is named, with those that it knows."""
    with pytest.raises(ValueError, match=r"'webp'.*rle, png and polygon"):
        read_mask({"encoding": "webp", "size": [1, 1]})
