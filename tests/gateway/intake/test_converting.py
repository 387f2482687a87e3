"""What honest callers send beside plain JPEG, PNG and WebP becomes a picture that everybody can read."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from gateway.intake.picture import PictureLimits
from gateway.problems import InvalidImage, UnsupportedMediaType
from providers.contract import Picture
from tests.end_to_end.broken_pictures import twice_animated
from tests.gateway.intake.picture_files import (
    Pixels,
    chunk,
    exif,
    file_of,
    file_of_image,
    noise,
    pixels_of,
    slopes,
    taken,
)

SOLID = slopes()
OTHER = slopes()[::-1, ::-1].copy()


def check(data: bytes, limits: PictureLimits | None = None) -> Picture:
    """Take a file that came from an address."""
    return taken(data, limits, url="https://example.com/a")


def off(picture: Picture, wanted: Pixels) -> float:
    """Return the mean distance between a picture and what it should be, of 255."""
    seen = pixels_of(picture.data)
    assert wanted.shape == seen.shape
    assert (wanted.shape[1], wanted.shape[0]) == (picture.width, picture.height)
    return float(np.abs(seen.astype(int) - wanted.astype(int)).mean())


MORE: dict[str, Any] = {"save_all": True, "append_images": [Image.fromarray(OTHER)]}

FORMATS: dict[str, tuple[bytes, str, float, str]] = {
    "GIF": (file_of(SOLID, "GIF"), "image/gif", 8, "written as image/png without loss"),
    "animated GIF": (file_of(SOLID, "GIF", duration=50, **MORE), "image/gif", 8, "the first frame"),
    "BMP": (file_of(SOLID, "BMP"), "image/bmp", 0, "written as image/png without loss"),
    "BMP palette": (
        file_of_image(Image.fromarray(SOLID).convert("P"), "BMP"), "image/bmp", 40, "written as image/png",
    ),
    "TIFF": (file_of(SOLID, "TIFF"), "image/tiff", 0, "written as image/png without loss"),
    "TIFF of two pages": (file_of(SOLID, "TIFF", compression="tiff_lzw", **MORE), "image/tiff", 0, "the first page"),
    "TIFF deflate": (file_of(SOLID, "TIFF", compression="tiff_adobe_deflate"), "image/tiff", 0, "(it was image/tiff)"),
    "TIFF inks": (file_of_image(Image.fromarray(SOLID).convert("CMYK"), "TIFF"), "image/tiff", 2, "image/png"),
    "AVIF": (file_of(SOLID, "AVIF", quality=95), "image/avif", 4, "written as image/png"),
    "animated AVIF": (file_of(SOLID, "AVIF", quality=95, duration=50, **MORE), "image/avif", 4, "the first frame"),
    "animated WebP": (file_of(SOLID, "WEBP", lossless=True, **MORE), "image/webp", 0, "the first frame"),
    "animated PNG": (file_of(SOLID, "PNG", **MORE), "image/png", 0, "its default image was taken"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_the_first_frame_of_any_format_is_read_with_a_warning(name: str) -> None:
    """Its pixels are those of the first frame; it is named by the bytes that came, and has no address any more."""
    data, media_type, most, says = FORMATS[name]
    picture = check(data)
    assert off(picture, SOLID) <= most
    assert media_type == (picture.given_media_type or picture.media_type)
    assert "image/png" == picture.media_type
    assert any(says in each for each in picture.warnings), picture.warnings
    assert picture.url is None
    assert picture == check(data)
    assert not Image.open(io.BytesIO(picture.data)).info.get("duration")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "WEBP", "PNG", "TIFF 16", "PNG 16"])
def test_what_is_converted_is_turned_upright_once(kind: str, orientation: int) -> None:
    """Whatever reads a format, it is turned exactly as its header says."""
    stored = Image.fromarray(SOLID)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose[STORED[orientation - 2]])
    if kind.endswith("16"):
        grey = np.asarray(stored)[..., 0].astype(np.uint16) * 257
        data = file_of_image(Image.fromarray(grey), kind[:-3], exif=exif(orientation))
        wanted = np.asarray(Image.fromarray(SOLID))[..., [0, 0, 0]]
        wanted = np.rint(wanted * (255 / wanted.max())).astype(np.uint8)
    else:
        more = {"save_all": True, "append_images": [stored.rotate(180)]}
        options: dict[str, dict[str, Any]] = {"AVIF": {"quality": 95}, "WEBP": {"lossless": True, **more}}
        data, wanted = file_of_image(stored, kind, exif=exif(orientation), **options.get(kind, {})), SOLID
    picture = check(data)
    assert off(picture, wanted) <= 4
    assert picture.data == check(picture.data).data


#: How a camera stores what is upright, by orientation from 2 on.
STORED = (
    "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270",
)  # fmt: skip


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "TIFF", "animated WEBP"])
def test_xmp_turns_no_picture_and_stays_in_none_that_was_written(kind: str) -> None:
    """Beside EXIF without an orientation, or beside one that says another thing, XMP's is passed over."""
    make = Image.Exif()
    make[0x010F] = "a camera"
    kind, more = kind.removeprefix("animated "), MORE if kind.startswith("animated") else {}
    options: dict[str, Any] = {"tiffinfo": {700: XMP}} if kind == "TIFF" else {"xmp": XMP, "exif": make}
    picture = check(file_of(SOLID, kind, **options, **more))
    assert (48, 32) == (picture.width, picture.height) == Image.open(io.BytesIO(picture.data)).size
    if kind in {"JPEG", "WEBP"}:
        both = check(file_of(SOLID, kind, xmp=XMP, exif=exif(3), **more))
        assert (48, 32) == (both.width, both.height)
        assert b"tiff:Orientation" not in both.data


def deep(values: np.ndarray, kind: str = "PNG") -> bytes:
    """Return a file of sixteen bits: grey by Pillow, colours by hand, since it writes none."""
    if values.ndim == 2:
        return file_of_image(Image.fromarray(values), kind)
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


RAMP = np.linspace(0, 1, 48 * 32).reshape(32, 48)


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 65_535), (0, 4_095), (1_000, 1_400), (30_000, 60_000)],
    ids=["all", "12 bits", "few", "middle"],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_become_eight_by_their_range(kind: str, low: int, high: int) -> None:
    """The lowest value becomes black and the highest white, whatever part of sixteen bits they fill."""
    picture = check(deep((low + RAMP * (high - low)).astype(np.uint16), kind))
    seen = np.asarray(Image.open(io.BytesIO(picture.data)))
    assert ("uint8", 0, 255) == (seen.dtype.name, int(seen.min()), int(seen.max()))
    assert np.abs(seen - RAMP * 255).max() <= 1.5
    assert f"its values {low} to {high} were brought to 0 to 255" in picture.warnings[0]
    assert picture.url is None


def test_sixteen_bits_of_colour_keep_their_hue() -> None:
    """Black stays black; white stays white where it is reached, and is the largest value where that is far below."""
    for top, scale in ((65_535, 257.0), (4_095, 4_095 / 255)):
        colours = np.stack([RAMP * top, RAMP[::-1] * top * 0.5, np.zeros_like(RAMP)], axis=-1).astype(np.uint16)
        seen = pixels_of(check(deep(colours)).data)
        assert np.abs(seen - colours / scale).max() <= 1
    alpha = np.stack([RAMP * 65_535] * 4, axis=-1).astype(np.uint16)
    assert "RGBA" == Image.open(io.BytesIO(check(deep(alpha)).data)).mode
    assert "LA" == Image.open(io.BytesIO(check(deep(alpha[..., :2])).data)).mode


def test_colours_as_floating_point_values_are_read() -> None:
    """A TIFF of colours from 0 to 1 comes as the colours that they are."""
    _, data = cv2.imencode(".tiff", SOLID[..., ::-1].astype(np.float32) / 255)
    assert off(check(data.tobytes()), SOLID) <= 1


def test_floating_point_values_are_brought_to_eight_bits_by_their_range() -> None:
    """A TIFF of measured values, some of them none, is read."""
    values = (RAMP * 7 - 3).astype(np.float32)
    values[0, 0] = np.nan
    seen = np.asarray(Image.open(io.BytesIO(check(file_of_image(Image.fromarray(values), "TIFF")).data)))
    assert (0, 255) == (seen.min(), seen.max())


def test_eight_bits_go_as_they_are() -> None:
    """A JPEG, PNG or WebP of one frame that is upright is passed on to the byte, with its address and no warning."""
    for kind in ("PNG", "JPEG", "WEBP"):
        data = file_of(SOLID, kind)
        picture = check(data)
        assert (data, "https://example.com/a", ()) == (picture.data, picture.url, picture.warnings)


def test_no_codec_sees_an_animated_png() -> None:
    """A PNG that ended OpenCV 5.0.0.93 with a signal is its default image, and nothing else of it is passed on."""
    for data in (twice_animated(), twice_animated(frames=0x80000001, twice=False)):
        picture = check(data)
        assert not any(name in picture.data for name in (b"acTL", b"fcTL", b"fdAT"))
        assert (128, 64) == Image.open(io.BytesIO(picture.data)).size


PHOTOGRAPH = noise(160, 120)
TRAILER = b"\0\0\x01\x0bImage_UTC_Data1700000000000SEFHk\0\0\0\x01\0\0\0\0\0\x01\x0b$\0\0\0SEFT"


@pytest.mark.parametrize(
    "trailer", [b"", TRAILER, b"appended" * 9, file_of(slopes(), "JPEG")], ids=["none", "phone", "text", "JPEG"]
)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_marker_is_read_if_all_of_its_pixels_are_there(
    trailer: bytes, *, progressive: bool
) -> None:
    """It gets the end marker, and a warning; where pixels are missing it is refused, whatever stands behind them."""
    data = file_of(PHOTOGRAPH, "JPEG", progressive=progressive)
    picture = check(data[:-2] + trailer)
    assert np.array_equal(pixels_of(data), pixels_of(picture.data))
    assert any("end marker" in each for each in picture.warnings)
    for missing in (40, 300, len(data) // 5, len(data) // 2):
        with pytest.raises(InvalidImage, match="cut off"):
            check(data[: -2 - missing] + trailer[: missing // 2])
    with pytest.raises(InvalidImage, match="cut off"):  # as a download leaves it that had its room set aside
        check(data[: len(data) // 2] + bytes(len(data)))


def test_apples_own_png_is_refused_before_anybody_is_asked() -> None:
    """Nobody but Apple reads it, and the refusal says what to do."""
    data = file_of(SOLID, "PNG")
    with pytest.raises(InvalidImage, match=r"CgBI.*pngcrush"):
        check(data[:8] + chunk(b"CgBI", b"\x50\0\x20\2") + data[8:])


def test_heic_is_read_with_its_extra_and_names_it_without() -> None:
    """A phone's picture is read where pillow-heif is installed; elsewhere the refusal says which extra it takes."""
    pillow_heif.register_heif_opener()
    for orientation in range(1, 9):  # pillow-heif writes EXIF's orientation as turns of its own
        turned = check(file_of(slopes(64, 48), "HEIF", exif=exif(orientation)))
        assert (turned.width, turned.height) == ((64, 48) if orientation < 5 else (48, 64))
    data = file_of(slopes(64, 48), "HEIF", quality=95)
    picture = check(data)
    assert off(picture, slopes(64, 48)) <= 6
    assert ("image/heic", "image/png") == (picture.given_media_type, picture.media_type)
    with pytest.raises(UnsupportedMediaType, match=r"maskgate\[heic\]"):
        check(data, PictureLimits(heic=False))


def test_pixels_that_are_missing_or_damaged_are_told_by_whoever_reads_them() -> None:
    """What is converted is decoded, and there every gap is seen."""
    for data in (
        file_of(noise(), "TIFF", compression="tiff_lzw").replace(b"\x80", b"\x81"),
        file_of(noise(), "BMP")[:1000],
        file_of(noise(), "GIF").replace(b"\x80", b"\x81"),
    ):
        with pytest.raises(InvalidImage):
            check(data)
