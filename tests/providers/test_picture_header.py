"""Headers of picture files, against what Pillow says of the same bytes."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from providers.picture_header import PictureHeader, media_type_of, read_header


def saved(kind: str, size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    """Return the file that Pillow writes."""
    written = io.BytesIO()
    Image.new(mode, size, 1).save(written, kind, **options)
    return written.getvalue()


EXIF = Image.Exif()
EXIF[0x010E] = "a description that makes the header longer"
FILES = {
    "PNG": saved("PNG", (300, 20)),
    "JPEG": saved("JPEG", (300, 20)),
    "progressive JPEG": saved("JPEG", (300, 20), progressive=True),
    "JPEG with EXIF": saved("JPEG", (300, 20), exif=EXIF),
    "grey JPEG": saved("JPEG", (300, 20), "L"),
    "lossy WebP": saved("WEBP", (300, 20)),
    "lossless WebP": saved("WEBP", (300, 20), lossless=True),
    "WebP with alpha": saved("WEBP", (300, 20), "RGBA"),
    "WebP with EXIF": saved("WEBP", (300, 20), exif=EXIF),
}


@pytest.mark.parametrize("form", FILES)
def test_size(form: str) -> None:
    """The header gives format, width and height of every form."""
    assert read_header(FILES[form]) == PictureHeader(_by_word(form), 300, 20)


def _by_word(form: str) -> str:
    """Return the media type that a form's description names."""
    return next(f"image/{kind.lower()}" for kind in ("PNG", "JPEG", "WebP") if kind in form)


@pytest.mark.parametrize("form", FILES)
def test_cut_anywhere(form: str) -> None:
    """A header that is cut off is no header, and never an error."""
    whole = read_header(FILES[form])
    assert {read_header(FILES[form][:end]) for end in range(len(FILES[form]))} <= {None, whole}


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"BM", b"RIFF\x00\x00\x00\x00WAVE", b"<svg/>", b"%PDF"])
def test_other_formats(data: bytes) -> None:
    """What is none of the three formats has no media type and no header."""
    assert media_type_of(data) is None
    assert read_header(data) is None
