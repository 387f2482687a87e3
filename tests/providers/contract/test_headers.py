"""The one reader of headers, against what Pillow says of the same bytes, and against files made to hurt it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from providers.contract.headers import (
    OtherFormat,
    PictureHeader,
    TooMuchWork,
    UnreadablePicture,
    Work,
    most_steps,
    read_header,
    still_picture,
)
from tests.end_to_end.broken_pictures import apng, broken, chunk, picture_files, twice_animated

PNG = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112


def picture(mode: str = "RGB", width: int = 300, height: int = 20) -> Image.Image:
    """Return a picture of slopes."""
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([columns, rows * 9, columns + rows], axis=-1).astype(np.uint8)).convert(mode)


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """Return the file that Pillow writes."""
    written = io.BytesIO()
    (image or picture()).save(written, kind, **options)
    return written.getvalue()


def turned(orientation: int) -> Image.Exif:
    """Return EXIF data with an orientation."""
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block


MORE: dict[str, Any] = {"save_all": True, "append_images": [picture().rotate(180)], "duration": 100}
SIXTEEN = Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(20, 300))

#: Files, and what is to be read in them beside their size of 300 x 20.
FILES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "PNG": (saved("PNG"), {"media_type": "image/png", "channels": 3}),
    "PNG grey": (saved("PNG", picture("L")), {"channels": 1}),
    "PNG black and white": (saved("PNG", picture("1")), {"channels": 1, "bits": 8}),
    "PNG grey alpha": (saved("PNG", picture("LA")), {"channels": 2, "transparent": True}),
    "PNG alpha": (saved("PNG", picture("RGBA")), {"channels": 4, "transparent": True}),
    "PNG palette": (saved("PNG", picture("P")), {"channels": 3, "transparent": False}),
    "PNG colour that is none": (saved("PNG", picture("P"), transparency=3), {"channels": 4, "transparent": True}),
    "PNG sixteen bits": (saved("PNG", SIXTEEN), {"bits": 16, "channels": 1}),
    "PNG turned": (saved("PNG", exif=turned(6)), {"orientation": 6, "upright": (20, 300)}),
    "PNG animated": (apng(picture()), {"frames": 2}),
    "JPEG": (saved("JPEG"), {"media_type": "image/jpeg", "scans": 1, "complete": True, "lossless": False}),
    "JPEG grey": (saved("JPEG", picture("L")), {"channels": 1}),
    "JPEG inks": (saved("JPEG", picture("CMYK")), {"channels": 4, "transparent": False}),
    "JPEG progressive, turned": (saved("JPEG", progressive=True, exif=turned(8)), {"scans": 10, "orientation": 8}),
    "JPEG restarts": (saved("JPEG", restart_marker_blocks=1), {"scans": 1, "complete": True}),
    "JPEG of two": (saved("MPO", save_all=True, append_images=[picture()]), {"media_type": "image/jpeg", "frames": 1}),
    "WebP": (saved("WEBP"), {"media_type": "image/webp", "lossless": False}),
    "WebP lossless": (saved("WEBP", lossless=True), {"lossless": True}),
    "WebP alpha": (saved("WEBP", picture("RGBA")), {"channels": 3}),  # it is nowhere transparent, and says so
    "WebP turned": (saved("WEBP", exif=turned(3)), {"orientation": 3, "upright": (300, 20)}),
    "WebP animated": (saved("WEBP", **MORE), {"animated": True, "frames": 2}),
    "GIF": (saved("GIF"), {"media_type": "image/gif", "frames": 1}),
    "GIF animated": (saved("GIF", **MORE), {"frames": 2}),
    "GIF transparent": (saved("GIF", picture("P"), transparency=picture("P").getpixel((0, 0))), {"transparent": True}),
    "BMP": (saved("BMP"), {"media_type": "image/bmp"}),
    "BMP palette": (saved("BMP", picture("P")), {"channels": 3}),
    "TIFF": (saved("TIFF"), {"media_type": "image/tiff", "channels": 3, "frames": 1}),
    "TIFF turned": (saved("TIFF", exif=turned(5)), {"orientation": 5, "upright": (20, 300)}),
    "TIFF sixteen bits": (saved("TIFF", SIXTEEN), {"bits": 16, "channels": 1}),
    "TIFF deflate": (saved("TIFF", compression="tiff_adobe_deflate"), {"lossless": True}),
    "TIFF JPEG": (saved("TIFF", compression="jpeg"), {"lossless": False}),
    "TIFF large": (saved("TIFF", big_tiff=True), {"media_type": "image/tiff"}),
    "TIFF of two": (saved("TIFF", save_all=True, append_images=[picture()]), {"frames": 2}),
    "AVIF": (saved("AVIF"), {"media_type": "image/avif", "transparent": False}),
    "AVIF alpha": (saved("AVIF", Image.new("RGBA", (300, 20), (9, 9, 9, 9))), {"transparent": True, "channels": 4}),
    "AVIF animated": (saved("AVIF", **MORE), {"frames": 2}),
}


@pytest.mark.parametrize("name", FILES)
def test_what_a_file_says_of_itself(name: str) -> None:
    """Format, size and whatever else there is to know are read, and no part of the file is beyond its end."""
    data, facts = FILES[name]
    header = read_header(data)
    assert {"width": 300, "height": 20} | facts == {
        fact: getattr(header, fact) for fact in {"width": 300, "height": 20} | facts
    }
    assert 0 < header.end <= len(data)
    assert read_header(data + b"appended" * 9).upright == header.upright


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_by_its_own_properties(orientation: int) -> None:
    """What AVIF says by turns and mirrors is the orientation that Pillow wrote there."""
    assert orientation == read_header(saved("AVIF", exif=turned(orientation))).orientation


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_anywhere(name: str) -> None:
    """A file without its end is refused, or says the same as the whole one; it is never another picture."""
    data, _ = FILES[name]
    whole = read_header(data).upright
    step = max(1, len(data) // 300)
    for end in range(0, len(data), step):
        try:
            assert whole == read_header(data[:end]).upright
        except UnreadablePicture as error:
            assert str(error)  # noqa: PT017 - both are right


def test_too_few_bytes_for_so_many_pixels_are_not_all_of_them() -> None:
    """Deflate makes nothing more than a thousand times smaller, so some files cannot be whole."""
    assert not read_header(png_with(width=20_000, height=20_000, rows=b"")).complete
    assert read_header(png_with(width=2_000, height=2_000)).complete


def test_only_the_parts_of_a_still_picture_are_shown_to_a_codec() -> None:
    """Of an animated PNG its header, its default image and nothing of an animation is left, however that is broken."""
    for data in (apng(picture()), twice_animated(), twice_animated(frames=0x80000001, twice=False)):
        header = read_header(data)
        still = still_picture(data, header)
        assert not any(name in still for name in (b"acTL", b"fcTL", b"fdAT"))
        assert (header.width, header.height) == Image.open(io.BytesIO(still)).size
        assert still == still_picture(still, read_header(still))
    data = saved("PNG")
    assert data is still_picture(data, read_header(data))


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "AVIF"])
def test_xmp_turns_nothing(kind: str) -> None:
    """An orientation that stands in XMP alone is none, beside EXIF or without it."""
    make = Image.Exif()
    make[0x010F] = "a camera"
    options: dict[str, Any] = {"tiffinfo": {700: XMP}} if kind == "TIFF" else {"xmp": XMP, "exif": make}
    assert (300, 20) == read_header(saved(kind, **options)).upright


def jpeg_with(*segments: bytes, progressive: bool = False) -> bytes:
    """Return a JPEG with segments right after its beginning."""
    data = saved("JPEG", progressive=progressive)
    return data[:2] + b"".join(segments) + data[2:]


def many_scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan comes so often."""
    data = saved("JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def png_with(*chunks: bytes, width: int = 8, height: int = 8, rows: bytes | None = None) -> bytes:
    """Return a grey PNG with chunks before its pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = zlib.compress(bytes((width + 1) * height) if rows is None else rows)
    return PNG + head + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _webp(chunks: bytes) -> bytes:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0, 9, 0, 0, 9, 0, 0]) + chunks
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def _avif_of_boxes(count: int) -> bytes:
    properties = _box(b"iprp", _box(b"ipco", _box(b"free", b"") * count))
    return _box(b"ftyp", b"avif\0\0\0\0avif") + _box(b"meta", bytes(4) + properties) + _box(b"mdat", b"")


def _avif_of_links() -> bytes:
    links = _box(b"iprp", _box(b"ipma", bytes(4) + b"\xff\xff\xff\xff" + b"\0\1\0" * 1_000))
    return _box(b"ftyp", b"avif\0\0\0\0avif") + _box(b"meta", bytes(4) + links) + _box(b"mdat", b"")


BOMB = zlib.compress(bytes(1_000_000), 9)
TIFF_LOOP = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 256, 3, 1, 9) + struct.pack("<I", 8)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: jpeg_with(b"\xff" * 130_000), "fill bytes"),
        (lambda: jpeg_with(b"\xff" * 8_000_000), "fill bytes"),
        (lambda: many_scans(300), "more than 100 scans"),
        (lambda: jpeg_with(b"\xff\xfe\0\2" * 1_000_000), "more parts"),
        (lambda: jpeg_with(b"\xff\xd0" * 1_000_000), "more parts"),
        (lambda: saved("JPEG")[:-2] + b"\xff\0" * 4_000_000 + b"\xff\xe1", None),
        (lambda: png_with(*[chunk(b"iTXt", b"c\0\1\0\0\0" + BOMB)] * 63), "unpack to more than"),
        (lambda: png_with(*[chunk(b"zTXt", b"c\0\0" + BOMB)] * 63), "unpack to more than"),
        (lambda: png_with(*[chunk(b"iCCP", b"c\0\0" + BOMB)] * 63), "unpack to more than"),
        (lambda: png_with(chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(50_000_000), 9))), "unpack to more than"),
        (lambda: png_with(*[chunk(b"tEXt", b"c\0c")] * 1_001), "more than 1000 chunks"),
        (lambda: png_with() [:-12] + chunk(b"IDAT", b"") * 500_000 + chunk(b"IEND", b""), "more parts"),
        (lambda: png_with(*[chunk(b"fcTL", bytes(26))] * 500_000), "more parts"),
        (lambda: png_with(chunk(b"CgBI", bytes(4))), "Apple"),
        (lambda: PNG + chunk(b"CgBI", bytes(4)) + png_with()[8:], "Apple"),
        (lambda: saved("PNG")[:-40] + b"IEND\xaeB`\x82", "cut off"),
        (lambda: _webp(b"ABCD\0\0\0\0" * 1_000_000), "more parts"),
        (lambda: _webp(b"ANMF\0\0\0\0" * 1_000_000), "more parts"),
        (lambda: saved("GIF")[:-2] + b"\1\0" * 4_000_000, "more parts"),
        (lambda: saved("GIF")[:13] + b"\x21\xfe\0" * 2_000_000, None),
        (lambda: TIFF_LOOP, "pixels"),
        (lambda: b"II*\0\x08\0\0\0" + b"\xff\xff" + bytes(800_000), "65535 entries"),
        (lambda: b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 273, 4, 2**31, 8), "values for one entry"),
        (lambda: saved("AVIF")[:32] + b"\0\0\0\x08free" * 1_000_000, "more parts"),
        (lambda: _avif_of_boxes(500_000), "more parts"),
        (_avif_of_links, "do not fit"),
    ],
)  # fmt: skip
def test_a_file_made_to_cost_much_is_refused_within_its_steps(make: Callable[[], bytes], says: str | None) -> None:
    """Each is refused, or read, in no more steps than a file of its size may take, and says what is wrong."""
    data = make()
    work = Work(most_steps(len(data)))
    try:
        read_header(data, work)
        assert says is None
    except UnreadablePicture as error:
        assert says is None or says in str(error)  # noqa: PT017
    assert work.done <= most_steps(len(data)) + 64 * 1024


@pytest.mark.parametrize("name", FILES)
def test_an_honest_file_takes_few_steps(name: str) -> None:
    """The files that people send are read on the spot."""
    work = Work(most_steps(1_000_000))
    read_header(FILES[name][0], work)
    assert work.done < 60


def test_work_that_is_not_allowed_is_not_done() -> None:
    """Who allows few steps is told that more are needed."""
    data = saved("JPEG", Image.effect_noise((900, 900), 90))
    with pytest.raises(TooMuchWork):
        read_header(data, Work(20))
    assert (900, 900) == read_header(data).upright


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "JPEG 2000"),
        (saved("JPEG2000"), "JPEG 2000"),
        (b"\xff\x4f\xff\x51" + bytes(40), "JPEG 2000"),
        (b"%PDF-1.7", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\n <?xml version='1.0'?><!-- a --><svg/>", "SVG"),
        (b"<svg xmlns='x'>", "SVG"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html>", "HTML"),
        (b"<html>", "HTML"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (b'{"error": "expired"}', "JSON"),
        (b"data:image/png;base64,iVBORw0KGgo", "data: URI"),
        (b"iVBORw0KGgoAAAANSUhEUgAA", "base64"),
        (b"PK\3\4", "ZIP"),
        (saved("ICO"), "ICO"),
        (saved("PPM"), "Netpbm"),
        (b"RIFF\0\0\0\0WAVE", "WAV"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "raw file"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1mif1" + bytes(40), "HEIF"),
        (b"\0\0\0\x18ftypavis\0\0\0\0avisavis" + _box(b"moov", b""), "AVIF image sequence"),
        (b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc" + _box(b"moov", b""), "HEIF image sequence"),
        (b"\0\0\0\x18ftyphevc\0\0\0\0hevcmsf1" + _box(b"moov", b""), "HEIC image sequence"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(90), "raw file"),
        (b"IIU\0" + bytes(90), "raw"),
    ],
)
def test_what_is_not_read_is_named(data: bytes, says: str | None) -> None:
    """Formats that people do send are refused by their name."""
    with pytest.raises(UnreadablePicture) as refused:
        read_header(data)
    assert says is None or (isinstance(refused.value, OtherFormat) and says in str(refused.value))


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"text", b"II*\0"]
)
def test_what_is_hardly_a_file_is_no_picture(data: bytes) -> None:
    """A few bytes are refused, and never an error."""
    with pytest.raises(UnreadablePicture):
        read_header(data)


@pytest.mark.parametrize("seed", range(4))
def test_broken_pictures_raise_nothing_but_refusals(seed: int) -> None:
    """Three hundred broken files of every format each are read or refused, in a bounded number of steps."""
    print(f"seed {seed}")  # noqa: T201 - to make the same files again
    some, refused = broken(seed), 0
    for _ in range(300):
        data = next(some)
        work = Work(most_steps(len(data)))
        try:
            header: PictureHeader = read_header(data, work)
            assert header.width > 0
            assert header.height > 0
            still_picture(data, header)
        except UnreadablePicture as error:
            refused += bool(str(error))
        assert work.done <= 2_000 + len(data) // 4
    assert 0 < refused < 300


def test_whole_pictures_of_all_formats_are_read() -> None:
    """What the generator of broken pictures starts from is read, and as large as Pillow says."""
    for data in picture_files():
        with Image.open(io.BytesIO(data)) as image:
            assert image.size in {read_header(data).upright, read_header(data).upright[::-1]}
