"""What a model gets to see once a picture was made to fit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from gateway.fitting.plan import JPEG, PNG, WEBP, CannotFit, outside, plan_for
from gateway.fitting.rendering import Fitted, render
from providers.contract import Limits, Picture
from tests.gateway.fitting.drawn import SAM3, colours, seen, written
from tests.gateway.intake.picture_files import file_of_image, noise, slopes


def fit(picture: Picture, limits: Limits) -> Fitted:
    """Return the fitted picture, which is within the limits and is what it says it is."""
    fitted = render(picture, plan_for(picture, limits))
    assert outside(fitted.picture, limits) is None
    assert fitted.picture.size == seen(fitted.picture).shape
    assert fitted.picture.url is None
    assert picture.digest != fitted.picture.digest
    return fitted


def test_an_icon_becomes_blocks_of_its_pixels() -> None:
    """Each pixel of a small picture is a block of equal ones, without loss."""
    pixels = noise(100, 90)
    fitted = fit(written(pixels), SAM3)
    assert np.array_equal(pixels.repeat(3, axis=0).repeat(3, axis=1), colours(fitted.picture))
    assert (
        "To fit the provider's limits, the picture was scaled up from 100x90 to 300x270 pixels (factor 3), written as "
        "image/png without loss (it was image/png); masks are at its own size." == fitted.warning
    )


def test_a_strip_is_padded_with_its_edge() -> None:
    """What is added at the right and the bottom continues the edge, so that nothing seems to end there."""
    pixels = noise(1000, 20)
    fitted = fit(written(pixels), Limits(min_side=256, max_side=4096 // 2))
    framed = colours(fitted.picture)
    assert (256, 1000) == framed.shape[:2]
    assert np.array_equal(pixels, framed[:20])
    assert (framed[20:] == pixels[-1]).all()
    assert "padded at its right and bottom to 1000x256 pixels" in fitted.warning


def test_a_large_picture_is_the_mean_of_its_pixels() -> None:
    """Scaled down by two, each pixel is the mean of four."""
    pixels = noise(800, 600)
    fitted = fit(written(pixels), Limits(max_side=400))
    means = pixels.reshape(300, 2, 400, 2, 3).mean(axis=(1, 3))
    assert np.abs(means - colours(fitted.picture)).max() <= 0.5
    assert "scaled down from 800x600 to 400x300 pixels (factor 0.5000)" in fitted.warning


@pytest.mark.parametrize("sides", [(803, 601), (1601, 1003), (3210, 1999)])
def test_a_jpeg_read_at_a_part_of_its_size_shows_the_same(sides: tuple[int, int]) -> None:
    """A half, a quarter or an eighth of a JPEG is decoded where that is enough, and nothing moves by it."""
    x, y = np.meshgrid(np.arange(sides[0]) / sides[0], np.arange(sides[1]) / sides[1])
    pixels = (np.hypot(x - 0.5, y - 0.45) < 0.3).astype(np.uint8) * np.uint8(255)
    limits = Limits(max_side=400)
    as_jpeg, as_png = fit(written(pixels, "jpg"), limits), fit(written(pixels), limits)
    one, other = seen(as_jpeg.picture) >= 128, seen(as_png.picture) >= 128
    assert (one & other).sum() / (one | other).sum() > 0.985


@pytest.mark.parametrize(
    ("extension", "options", "taken", "becomes"),
    [
        ("png", (), {JPEG}, JPEG),
        ("png", (), {WEBP, JPEG}, WEBP),
        ("webp", (cv2.IMWRITE_WEBP_QUALITY, 80), {PNG, JPEG}, PNG),
        ("webp", (cv2.IMWRITE_WEBP_QUALITY, 101), {PNG, JPEG}, PNG),
        ("jpg", (), {WEBP}, WEBP),
    ],
)
def test_a_format_that_is_not_taken_is_written_anew(
    extension: str, options: tuple[int, ...], taken: set[str], becomes: str
) -> None:
    """Without loss where a format for that is taken: the model sees the very pixels."""
    picture = written(slopes(300, 280), extension, *options)
    fitted = fit(picture, Limits(media_types=frozenset(taken)))
    assert becomes == fitted.picture.media_type
    if becomes != JPEG:
        assert np.array_equal(colours(picture), colours(fitted.picture))
    assert not fitted.geometry.scaled


@pytest.mark.parametrize(
    ("extension", "options", "share", "becomes"),
    [
        ("png", (cv2.IMWRITE_PNG_COMPRESSION, 0), 0.9, PNG),
        ("png", (), 0.5, JPEG),
        ("jpg", (cv2.IMWRITE_JPEG_QUALITY, 100), 0.7, JPEG),
        ("jpg", (cv2.IMWRITE_JPEG_QUALITY, 100), 0.02, JPEG),
        ("webp", (cv2.IMWRITE_WEBP_QUALITY, 100), 0.7, WEBP),
        ("webp", (cv2.IMWRITE_WEBP_QUALITY, 101), 0.3, JPEG),
    ],
)
def test_too_many_bytes_become_fewer(extension: str, options: tuple[int, ...], share: float, becomes: str) -> None:
    """First written better, then with some loss, and scaled down only where that is not enough."""
    picture = written(np.asarray(cv2.GaussianBlur(noise(600, 500), (5, 5), 0), np.uint8), extension, *options)
    limit = int(len(picture.data) * share)
    fitted = fit(picture, Limits(min_side=64, max_bytes=limit))
    assert (becomes, share < 0.1) == (fitted.picture.media_type, fitted.geometry.scaled)
    assert len(fitted.picture.data) <= limit


def test_a_picture_that_no_file_is_small_enough_for_cannot_fit() -> None:
    """There is an end to scaling down, and a reason."""
    with pytest.raises(CannotFit, match="at most 20 bytes"):
        fit(written(noise(64, 64)), Limits(max_bytes=20))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
def test_every_kind_of_png_is_read(mode: str) -> None:
    """Grey, colours, palettes, one bit and sixteen; transparency is left out."""
    levels = np.linspace(0, 255, 100 * 90).astype(np.uint8).reshape(90, 100)
    if mode == "1":
        levels = (levels > 127) * np.uint8(255)
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16) * np.uint16(257))
    else:
        image = Image.fromarray(levels).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(levels[::-1].copy()))
    fitted = fit(Picture(file_of_image(image, "PNG"), PNG, 100, 90, "blake3:0"), SAM3)
    assert np.abs(seen(fitted.picture)[1::3, 1::3] - levels.astype(np.int16)).max() <= 1


def test_a_damaged_file_cannot_fit() -> None:
    """Nothing is invented for what cannot be decoded."""
    whole = written(noise(100, 100))
    for data in (whole.data[:200], whole.data[:60] + bytes(5000) + whole.data[-12:]):
        broken = Picture(data, PNG, 100, 100, "blake3:0")
        with pytest.raises(CannotFit, match="cannot be decoded"):
            render(broken, plan_for(broken, SAM3))


def test_a_file_that_is_of_another_size_than_its_header_said_cannot_fit() -> None:
    """Masks of a picture of another size would lie elsewhere."""
    picture = Picture(written(noise(90, 100)).data, PNG, 100, 100, "blake3:0")
    with pytest.raises(CannotFit, match="decodes to 90 x 100 pixels"):
        render(picture, plan_for(picture, SAM3))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_too_large_to_copy_is_decoded_where_it_is_told(channels: int) -> None:
    """By way of a file a large picture shows the same as any other."""
    pixels = np.zeros((6000, 6000, channels), np.uint8)
    pixels[1500:3000, 600:4200] = 255
    fitted = fit(written(pixels, "png", cv2.IMWRITE_PNG_COMPRESSION, 1), Limits(max_side=600))
    assert np.array_equal(pixels[5::10, 5::10, 0], seen(fitted.picture))
