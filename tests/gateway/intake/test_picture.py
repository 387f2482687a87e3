"""A URL, base64 or an uploaded part becomes one checked, upright picture, or a problem that says what to do."""

from __future__ import annotations

import asyncio
import base64
import random
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from blake3 import blake3
from PIL import Image, ImageCms

from gateway.intake.picture import PictureLimits, PictureMeans, PictureSource, bring_picture, check_picture
from gateway.problems import (
    GatewayError,
    ImageForbidden,
    ImageTooLarge,
    ImageUnreachable,
    InvalidImage,
    InvalidRequest,
    UnsupportedMediaType,
)
from providers.contract import Deadline, Picture
from providers.fetch import GuardedFetcher
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders
from tests.gateway.intake.picture_files import (
    Pixels,
    camera_jpeg,
    chunk,
    exif,
    file_of,
    file_of_image,
    noise,
    pixels_of,
    png_of_chunks,
    slopes,
)
from tests.gateway.intake.picture_files import taken as check
from tests.providers.loopback import serving

LIMITS = PictureLimits()
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("MPO", "image/jpeg")],
)
def test_an_upright_picture_is_taken_byte_for_byte(kind: str, media_type: str) -> None:
    """The file is not touched, is named by the BLAKE3 of its bytes, and keeps the address that it came from."""
    data = file_of(noise(), kind)
    digest = f"blake3:{blake3(data).hexdigest()}"
    expected = Picture(data, media_type, 64, 48, digest, "https://example.com/a")
    assert expected == check_picture(data, url="https://example.com/a", limits=LIMITS).picture
    assert check(data) == check(data)


def test_a_second_picture_in_an_mpo_is_no_animation() -> None:
    """The file of a camera with two lenses is taken as its first picture."""
    second = Image.fromarray(noise(seed=2))
    data = file_of(noise(), "MPO", save_all=True, append_images=[second])
    assert (64, 48, data) == (check(data).width, check(data).height, check(data).data)


def lying(upright: Pixels, orientation: int) -> Pixels:
    """Return the pixels as a camera stores them: EXIF says on which side row 0 and column 0 of the file belong."""
    across = upright.transpose(1, 0, 2)
    stored = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: across,  # left, top
        6: across[::-1],  # right, top
        7: across[::-1, ::-1],  # right, bottom
        8: across[:, ::-1],  # left, bottom
    }
    return np.ascontiguousarray(stored[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_every_exif_orientation_is_baked_in(kind: str, orientation: int) -> None:
    """Whatever side the camera was held on, the picture's size and pixels are those of the upright one."""
    upright = slopes(width=48, height=32)
    exact: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}
    data = file_of(lying(upright, orientation), kind, exif=exif(orientation), **exact.get(kind, {}))
    picture = check(data)
    seen = pixels_of(picture.data)
    assert (48, 32) == (picture.width, picture.height)
    assert upright.shape == seen.shape
    off = np.abs(seen.astype(int) - upright.astype(int))
    assert off.max() <= (0 if kind != "JPEG" else 12)
    assert off.mean() <= (0 if kind != "JPEG" else 2)
    assert (data == picture.data) is (orientation == 1)
    assert picture.data == check(picture.data).data  # nobody turns it a second time


async def test_a_turned_picture_keeps_the_name_of_the_bytes_that_were_given_and_no_address() -> None:
    """Its digest is of the caller's file; its URL is gone, since what is behind it lies on its side."""
    data = file_of(slopes(), "JPEG", exif=exif(6))

    async def file(_: web.Request) -> web.Response:
        return web.Response(body=data)

    app = web.Application()
    app.router.add_get("/a", file)
    async with serving(app) as base:
        fetcher = GuardedFetcher(time.monotonic, allow=[base.removeprefix("http://")])
        picture = await bring(PictureSource(url=f"{base}/a"), fetcher, ThreadWorkers(threads=1, queue=4))
        await fetcher.close()
    assert (f"blake3:{blake3(data).hexdigest()}", None) == (picture.digest, picture.url)
    assert ("image/jpeg", 32, 48) == (picture.media_type, picture.width, picture.height)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_a_turned_picture_keeps_its_colour_profile(kind: str) -> None:
    """Numbers of another colour space mean other colours, so the profile stays beside them."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    turned = check(file_of(slopes(), kind, exif=exif(8), icc_profile=profile)).data
    assert profile in turned or zlib_profile(turned) == profile


def zlib_profile(png: bytes) -> bytes:
    """Return the colour profile in a PNG."""
    place = png.index(b"iCCP")
    length = int.from_bytes(png[place - 4 : place], "big")
    return zlib.decompress(png[place + 4 : place + 4 + length].split(b"\0", 1)[1][1:])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_a_turned_png_of_any_mode_keeps_its_pixels(mode: str) -> None:
    """Palettes and transparency survive the turn."""
    image = Image.fromarray(noise()).convert(mode)
    turned = check(file_of_image(image, "PNG", exif=exif(3))).data
    expected = file_of_image(image.transpose(Image.Transpose.ROTATE_180), "PNG")
    assert np.array_equal(pixels_of(expected), pixels_of(turned))


def test_a_turned_webp_keeps_the_colours_under_its_transparent_pixels() -> None:
    """A provider that knows no transparency sees the same picture as before."""
    image = Image.fromarray(noise()).convert("RGBA")
    image.putalpha(0)
    data = file_of_image(image, "WEBP", lossless=True, exact=True, exif=exif(3))
    assert np.array_equal(noise()[::-1, ::-1], pixels_of(check(data).data))


def test_a_turned_cmyk_jpeg_stays_what_it_is() -> None:
    """Four colours of ink are turned as they are, and look the same."""
    image = Image.fromarray(slopes()).convert("CMYK")
    turned = check(file_of_image(image, "JPEG", quality=95, exif=exif(3))).data
    off = np.abs(pixels_of(turned).astype(int) - slopes()[::-1, ::-1].astype(int))
    assert off.mean() < 3


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0MM\0*",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x05",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x03six\0\0\0\0\0",
        exif(9),
        exif(0),
        b"Exif\0\0" + b"nonsense" * 9,
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_broken_exif_block_does_not_make_a_broken_picture(kind: str, block: bytes) -> None:
    """Where EXIF is cut off or nonsense, the picture is taken as it lies."""
    data = file_of(noise(), kind, exif=block)
    assert data == check(data).data


def test_zero_bytes_are_told_apart_from_a_bad_file() -> None:
    """An empty upload is called empty."""
    with pytest.raises(InvalidImage, match="empty: 0 bytes"):
        check(b"")


@pytest.mark.parametrize("size", [(1, 1), (7, 8), (8, 7), (1, 4000)])
def test_a_picture_with_a_side_below_eight_pixels_is_refused(size: tuple[int, int]) -> None:
    """There is nothing to segment in it, and the message gives both sizes."""
    with pytest.raises(InvalidImage, match=f"{size[0]} x {size[1]}; each side has to have at least 8"):
        check(file_of(noise(*size), "PNG"))


def test_the_smallest_picture_is_taken() -> None:
    """Eight by eight pixels are enough."""
    assert (8, 8) == check(file_of(noise(8, 8), "PNG")).size


def of_brand(brand: bytes) -> bytes:
    """Return the start of a file in the ISO container that HEIC and AVIF share."""
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0" * 40


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (file_of(noise(), "PDF"), "a PDF file"),
        (b"8BPS\0\1" + b"\0" * 60, "a Photoshop file;"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG file"),
        (b"\n <?xml version='1.0'?><svg/>", "an SVG file"),
        (of_brand(b"heic"), "a HEIC file"),
        (of_brand(b"heix"), "a HEIC file"),
        (of_brand(b"hevc"), "a HEIC image sequence"),
        (of_brand(b"mif1"), "a HEIF file"),
        (of_brand(b"msf1"), "a HEIF image sequence"),
        (of_brand(b"avis"), "an AVIF image sequence"),
        (b"\xff\x0a" + bytes(60), "a JPEG XL file"),
        (file_of(noise(), "JPEG2000"), "a JPEG 2000 file"),
    ],
)
def test_another_format_is_refused_by_its_name(data: bytes, name: str) -> None:
    """A caller with a PDF or a JPEG XL is told so, and what to send instead."""
    with pytest.raises(UnsupportedMediaType, match=name) as refused:
        check(data)
    assert refused.value.message.endswith("send a PNG, a JPEG or a WebP")


@pytest.mark.parametrize("data", [b"not a picture", b"\x89PNG", b"\xff\xd8", b"\0" * 5000])
def test_text_that_is_named_png_is_no_picture(data: bytes) -> None:
    """What no format begins like is called unreadable."""
    with pytest.raises(InvalidImage, match="no picture that we can read"):
        check(data)


def test_a_picture_of_many_pixels_in_few_bytes_is_refused_by_its_header() -> None:
    """Sixty-eight bytes that claim 400 million pixels are not decoded, and neither are 120 million and some."""
    huge = png_of_chunks(20_000, 20_000, pixels=zlib.compress(bytes(10)))
    assert len(huge) < 80
    with pytest.raises(ImageTooLarge, match="at most 120000000 are taken"):
        check(huge)
    with pytest.raises(ImageTooLarge, match="10000 x 12001 = 120010000 pixels; at most 120000000"):
        check(png_of_chunks(10_000, 12_001))
    with pytest.raises(InvalidImage, match="10000 x 12000 pixels, and its 57 bytes cannot come to so many"):
        check(png_of_chunks(10_000, 12_000))
    rows = zlib.compress(bytes(120_010_000), 9)
    assert (12_000, 10_000) == check(png_of_chunks(10_000, 12_000, pixels=rows)).size


def test_the_number_of_bytes_is_bounded_to_the_byte() -> None:
    """A file of exactly the limit is taken, one with a byte more is not."""
    data = file_of(noise(), "PNG")
    assert data == check(data, PictureLimits(max_bytes=len(data))).data
    with pytest.raises(ImageTooLarge, match=f"has {len(data)} bytes; at most {len(data) - 1}"):
        check(data, PictureLimits(max_bytes=len(data) - 1))


WHOLE = {
    "png": file_of(noise(), "PNG"),
    "jpeg": file_of(noise(), "JPEG"),
    "progressive jpeg": file_of(noise(), "JPEG", progressive=True),
    "jpeg with a thumbnail": camera_jpeg(noise()),
    "lying jpeg": file_of(noise(), "JPEG", exif=exif(6)),
    "webp": file_of(noise(), "WEBP"),
    "lossless webp": file_of(noise(), "WEBP", lossless=True),
    "mpo": file_of(noise(), "MPO"),
}


@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_cut_off_is_refused(name: str, tenths: int) -> None:
    """At no tenth of its length does a half picture pass for a whole one, whatever its thumbnail ends in."""
    data = WHOLE[name]
    check(data)
    with pytest.raises(InvalidImage):
        check(data[: len(data) * tenths // 10])


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_lacks_its_last_bytes_is_refused(name: str) -> None:
    """The end that the format prescribes is looked for, and not only most of the file."""
    with pytest.raises(InvalidImage):
        check(WHOLE[name][:-8])


def test_bytes_after_the_end_are_nobodys_harm() -> None:
    """Phones append things to pictures."""
    for data in WHOLE.values():
        check(data + b"appended" * 100)


def test_missing_pixels_before_a_proper_end_are_left_for_the_provider_to_find() -> None:
    """Nothing is decoded, so a PNG whose pixel data are too short but whose end is there is taken."""
    assert (48, 64) == check(png_of_chunks(64, 48, pixels=zlib.compress(bytes(65 * 3)))).size


def test_a_lying_picture_whose_pixels_are_missing_is_refused() -> None:
    """One that has to be turned is decoded, and there the gap is seen."""
    block = chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0"))
    half = zlib.compress(noise(65, 48).tobytes())[:2000]
    with pytest.raises(InvalidImage, match="could not be turned upright"):
        check(png_of_chunks(64, 48, block, pixels=half))


MEASURE = """
import resource, sys
from gateway.intake.picture import PictureLimits, check_picture
from gateway.problems import GatewayError
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    check_picture(data, url=None, limits=PictureLimits())
except GatewayError as problem:
    print(problem.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""

BOMB = zlib.compress(bytes(50_000_000), 9)


@pytest.mark.parametrize(
    ("chunks", "mebibytes"),
    [
        ([chunk(b"zTXt", b"c\0\0" + BOMB)], 16),
        ([chunk(b"iTXt", b"c\0\1\0\0\0" + BOMB)], 16),
        ([chunk(b"iCCP", b"c\0\0" + BOMB)], 16),
        ([chunk(b"zTXt", b"c\0\0" + zlib.compress(b"a" * 1_000_000, 9))] * 200, 16),
    ],
    ids=["zTXt", "iTXt", "iCCP", "200 zTXt of 1 MB"],
)
def test_a_bomb_in_a_chunk_of_text_does_not_grow_the_process(chunks: list[bytes], mebibytes: int) -> None:
    """Fifty megabytes packed into fifty kilobytes are refused before they are unpacked."""
    data = png_of_chunks(64, 64, *chunks)
    assert len(data) < 400_000
    done = subprocess.run([sys.executable, "-c", MEASURE], input=data, cwd=ROOT, capture_output=True, check=True)
    code, kibibytes = done.stdout.split()
    assert b"invalid_image" == code
    assert int(kibibytes) < mebibytes * 1024


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_raise_nothing_but_problems(seed: int) -> None:
    """However a file is damaged, it is taken or refused, and neither breaks nor warns."""
    chance = random.Random(seed)
    whole = [*WHOLE.values(), file_of(noise(), "PNG", exif=exif(6)), file_of(noise(), "WEBP", exif=exif(5))]
    for _ in range(250):
        data = bytearray(chance.choice(whole))
        for _ in range(chance.choice((1, 1, 2, 6))):
            place = chance.randrange(min(len(data), chance.choice((60, 300, 6000))))
            data[place : place + chance.randrange(5)] = chance.randbytes(chance.randrange(5))
        try:
            check(bytes(data), PictureLimits(max_pixels=100_000))
        except GatewayError as problem:
            assert problem.message  # noqa: PT017 - taken or refused, both are right


@pytest.fixture
def workers() -> ThreadWorkers:
    """Real threads; small files are checked on the spot."""
    return ThreadWorkers(threads=1, queue=4)


@pytest.fixture
async def fetcher() -> AsyncIterator[GuardedFetcher]:
    """The real fetcher, without exceptions from its rules."""
    fetcher = GuardedFetcher(time.monotonic)
    yield fetcher
    await fetcher.close()


async def bring(
    source: PictureSource, fetcher: GuardedFetcher, workers: ThreadWorkers, *, max_bytes: int = 1_000_000
) -> Picture:
    """Bring a picture within ten seconds."""
    deadline = Deadline.after(10, time.monotonic)
    limits = PictureLimits(max_bytes=max_bytes)
    means = PictureMeans(fetcher, workers, shared_decoders(), fetch_seconds=10)
    return await bring_picture(source, means=means, limits=limits, deadline=deadline, tenant="anyone")


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,", "data:;base64,", "DATA:image/jpeg;base64,"])
async def test_base64_is_read_bare_and_as_a_data_uri(
    prefix: str, fetcher: GuardedFetcher, workers: ThreadWorkers
) -> None:
    """Both ways give the bytes, whatever media type the data: URI claims."""
    data = file_of(noise(), "PNG")
    text = prefix + base64.b64encode(data).decode()
    picture = await bring(PictureSource(base64=text), fetcher, workers)
    assert (data, "image/png", None) == (picture.data, picture.media_type, picture.url)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("!!!!", InvalidRequest, "is not base64"),
        ("YWJjZ", InvalidRequest, "no bytes have 5 characters of it; is it cut off"),
        ("YWJj\nZümlaut", InvalidRequest, "'ü' at position 7"),
        ("data:image/png;base64,*", InvalidRequest, "'\\*' at position 23"),
        ("data:image/png;base64", InvalidRequest, "a data: URI without a comma"),
        ("data:image/png,abc", InvalidImage, "no picture that we can read"),
        ("data:image/png;base64,", InvalidImage, "empty: 0 bytes"),
        ("QUFB", InvalidImage, "no picture that we can read"),
        ("QUFB" * 50_000, ImageTooLarge, "image.data holds more than 100000 bytes"),
        (base64.b64encode(bytes(100_001)).decode(), ImageTooLarge, "100001 bytes; at most 100000"),
    ],
)
async def test_bad_base64_is_a_problem_of_its_field(
    text: str, kind: type[GatewayError], words: str, fetcher: GuardedFetcher, workers: ThreadWorkers
) -> None:
    """The problem names image.data and says what is wrong with it."""
    with pytest.raises(kind, match=words) as refused:
        await bring(PictureSource(base64=text), fetcher, workers, max_bytes=100_000)
    assert "image.data" == refused.value.field


@pytest.mark.parametrize("part", [b"", b"text", file_of(noise(), "PDF")])
async def test_a_bad_part_is_a_problem_of_image(part: bytes, fetcher: GuardedFetcher, workers: ThreadWorkers) -> None:
    """The problem names the multipart part."""
    with pytest.raises(GatewayError) as refused:
        await bring(PictureSource(part=part), fetcher, workers)
    assert "image" == refused.value.field


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/a.png", "http://169.254.169.254/", "file:///etc/passwd", "ftp://example.com/a"]
)
async def test_an_address_that_nobody_may_send_us_to_is_forbidden(
    url: str, fetcher: GuardedFetcher, workers: ThreadWorkers
) -> None:
    """Private addresses and other schemes are refused, with the way out."""
    with pytest.raises(ImageForbidden, match="or send the bytes") as refused:
        await bring(PictureSource(url=url), fetcher, workers)
    assert "image.url" == refused.value.field


async def test_a_picture_is_fetched_and_its_problems_name_the_address(workers: ThreadWorkers) -> None:
    """What is behind image.url is taken, or is too large, or is not there, or is no picture."""
    data = file_of(noise(), "JPEG")

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/large":
            return web.Response(body=bytes(100_001))
        return web.Response(body=data if request.path == "/a.jpg" else b"<html>", content_type="image/gif")

    async def absent(_request: web.Request) -> web.Response:
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/absent", absent)
    app.router.add_get("/{name}", answer)
    async with serving(app) as base:
        fetcher = GuardedFetcher(time.monotonic, allow=[base.removeprefix("http://")])
        picture = await bring(PictureSource(url=f"{base}/a.jpg"), fetcher, workers)
        assert (data, "image/jpeg", f"{base}/a.jpg") == (picture.data, picture.media_type, picture.url)
        for name, kind in {"large": ImageTooLarge, "absent": ImageUnreachable, "page": UnsupportedMediaType}.items():
            with pytest.raises(kind) as refused:
                await bring(PictureSource(url=f"{base}/{name}"), fetcher, workers, max_bytes=100_000)
            assert "image.url" == refused.value.field
        await fetcher.close()


async def test_a_large_file_is_checked_off_the_event_loop(fetcher: GuardedFetcher) -> None:
    """While a thread reads a picture of some megabytes, the loop turns on."""
    data = file_of(noise(1200, 900), "PNG", compress_level=0)
    workers = ThreadWorkers(threads=1, queue=1)
    bringing = asyncio.create_task(bring(PictureSource(part=data), fetcher, workers, max_bytes=10_000_000))
    await asyncio.sleep(0)
    assert not bringing.done()
    assert (900, 1200) == (await bringing).size
    workers.close()
