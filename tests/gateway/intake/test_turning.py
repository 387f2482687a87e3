"""Pictures that lie on their side are brought upright."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from gateway.intake.turning import turned
from gateway.problems import InvalidImage
from tests.gateway.intake.picture_files import exif, file_of, file_of_image, noise, pixels_of, slopes

#: What numpy does to bring each orientation upright, told apart from the code's own tables.
UPRIGHT = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_pixels_land_where_exif_says(kind: str, orientation: int) -> None:
    """It gives the pixels of the upright picture, in the format that came."""
    exact: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}
    file = turned(file_of(slopes(), kind, exif=exif(orientation), **exact.get(kind, {})), orientation)
    off = np.abs(pixels_of(file).astype(int) - UPRIGHT[orientation](slopes()).astype(int))
    assert off.max() <= (12 if kind == "JPEG" else 0)
    with Image.open(io.BytesIO(file)) as image:
        assert kind == image.format
        assert not image.getexif()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_modes_keep_their_pixels(mode: str) -> None:
    """Palettes, transparency and sixteen bits survive."""
    image = Image.fromarray(noise())
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    file = turned(file_of_image(image, "PNG", exif=exif(3)), 3)
    with Image.open(io.BytesIO(file)) as upright:
        seen = np.asarray(upright if mode == "I;16" else upright.convert("RGBA"))
    stored = np.asarray(image if mode == "I;16" else image.convert("RGBA"))
    assert np.array_equal(stored[::-1, ::-1], seen)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_profiles_stay(kind: str) -> None:
    """Numbers of another colour space mean other colours, so the profile stays beside them."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    file = turned(file_of(slopes(), kind, exif=exif(8), icc_profile=profile), 8)
    with Image.open(io.BytesIO(file)) as image:
        assert profile == image.info["icc_profile"]


def test_inks_look_the_same() -> None:
    """A JPEG of four inks looks as before."""
    image = Image.fromarray(slopes()).convert("CMYK")
    data = file_of_image(image, "JPEG", quality=95, exif=exif(3), icc_profile=b"inks" * 40)
    file = turned(data, 3)
    off = np.abs(pixels_of(file).astype(int) - slopes()[::-1, ::-1].astype(int))
    assert off.mean() < 3


def test_damaged_pixels_are_a_problem() -> None:
    """A file whose pixels cannot be read is refused."""
    data = bytearray(file_of(noise(), "PNG", exif=exif(6)))
    place = data.index(b"IDAT")
    data[place + 4 : place + 40] = bytes(36)
    with pytest.raises(InvalidImage, match="could not be turned upright"):
        turned(bytes(data), 6)
