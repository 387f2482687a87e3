"""Pictures as people have them bring the true masks, with a warning where something was done; bad ones cost nothing."""

import base64
import io
import struct
import zlib
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.asking import Caller, on
from tests.end_to_end.broken_pictures import chunk, twice_animated
from tests.end_to_end.masks import from_rle
from tests.end_to_end.upstreams import Upstreams


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def sixteen_bits(image: Image.Image) -> bytes:
    """Return a PNG of sixteen bits a channel."""
    deep = np.asarray(image.convert("RGB")).astype(">u2") * 257
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in deep))
    head = struct.pack(">IIBBBBB", image.width, image.height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def exif(tag: int, value: Any) -> Image.Exif:
    """Return EXIF data with one entry."""
    block = Image.Exif()
    block[tag] = value
    return block


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def made(name: str, image: Image.Image) -> tuple[bytes, str, str | None]:
    """Return a file of a scene, the media type that the answer names, and what its warning says."""
    more: dict[str, Any] = {"save_all": True, "append_images": [image.rotate(180)], "duration": 100}
    files: dict[str, tuple[str, dict[str, Any], str | None]] = {
        "BMP": ("BMP", {}, "written as image/png without loss (it was image/bmp)"),
        "TIFF": ("TIFF", {"compression": "tiff_lzw"}, "written as image/png without loss (it was image/tiff)"),
        "TIFF of two pages": ("TIFF", {"save_all": True, "append_images": [image.rotate(180)]}, "several pages"),
        "animated WebP": ("WEBP", {"lossless": True, **more}, "several frames; the first frame was taken"),
        "animated PNG": ("PNG", more, "its default image was taken"),
        "XMP beside EXIF": ("WEBP", {"lossless": True, "xmp": XMP, "exif": exif(0x010F, "a camera")}, None),
    }
    if name == "sixteen bits":
        return sixteen_bits(image), "image/png", "more than 8 bits a channel"
    kind, options, says = files[name]
    return saved(image, kind, **options), f"image/{kind.lower()}", says


@pytest.mark.parametrize("deployment", ["runflow-eu", "prodia"])
@pytest.mark.parametrize(
    "name",
    ["BMP", "TIFF", "TIFF of two pages", "animated WebP", "animated PNG", "XMP beside EXIF", "sixteen bits"],
)
async def test_every_format_brings_the_true_mask(
    visitor: Caller, upstreams: Upstreams, name: str, deployment: str
) -> None:
    """Whatever holds the scene's pixels; the answer names the format that came, and says what was done."""
    with Image.open(io.BytesIO(upstreams.picture("shoes"))) as image:
        data, media_type, says = made(name, image.convert("RGB"))
    body = {"prompt": "left shoe", "route": on(deployment), "cache": {"mode": "skip"}}
    form = aiohttp.FormData()
    form.add_field("image", io.BytesIO(data), filename="any name", content_type="application/octet-stream")
    form.add_field("request", aiohttp.payload.JsonPayload(body), content_type="application/json")
    reply = (await visitor.send("POST", "/v1/segmentations", status=200, data=form)).body
    [instance] = reply["instances"]
    [shoe] = upstreams.scene("shoes").named("left shoe")
    assert np.array_equal(from_rle(instance["mask"]), shoe.bitmap)
    assert media_type == reply["image"]["media_type"]
    warnings = reply["answers"][0]["warnings"]
    assert warnings == [] if says is None else any(says in each for each in warnings)


@pytest.mark.parametrize("kind", ["GIF", "AVIF"])
async def test_what_was_stored_with_loss_is_answered_with_a_warning(visitor: Caller, kind: str) -> None:
    """A GIF and an AVIF are read at their own size."""
    rows, columns = np.mgrid[0:300, 0:400]
    image = Image.fromarray(np.stack([columns // 2, rows // 2, columns % 99], axis=-1).astype(np.uint8))
    picture = {"data": base64.b64encode(saved(image, kind)).decode()}
    body = {"prompt": "left shoe", "route": on("prodia"), "image": picture}
    reply = (await visitor.segment(body)).body
    assert {"width": 400, "height": 300, "media_type": f"image/{kind.lower()}"}.items() <= reply["image"].items()
    assert any(f"it was image/{kind.lower()}" in each for each in reply["answers"][0]["warnings"])


async def test_a_jpeg_without_its_end_is_read_if_it_is_whole(visitor: Caller, upstreams: Upstreams) -> None:
    """With a camera's trailer in the place of its end; with pixels missing it is refused, and costs nothing."""
    data = saved(Image.effect_noise((320, 240), 90).convert("RGB"), "JPEG")
    body = {"prompt": "left shoe", "route": on("prodia"), "cache": {"mode": "skip"}}
    whole = {"data": base64.b64encode(data[:-2] + b"\0\0\x01\x0bSEFT" * 9).decode()}
    await visitor.segment({**body, "image": whole})
    half = {"data": base64.b64encode(data[: len(data) // 2] + b"SEFT" * 9).decode()}
    reply = await visitor.segment({**body, "image": half}, status=422)
    assert ("invalid_image", "image.data") == (reply.body["code"], reply.body["field"])
    assert ["prodia"] == [call.upstream for call in upstreams.books()]


def bad(name: str) -> bytes:
    """Return a file that must not be bought for, or not as it is."""
    image = Image.new("RGB", (64, 64), 9)
    png, jpeg = saved(image, "PNG"), saved(image, "JPEG", progressive=True)
    bomb = chunk(b"iTXt", b"c\0\1\0\0\0" + zlib.compress(bytes(1_000_000), 9))
    last = jpeg.rfind(b"\xff\xda")
    return {
        "Apple's PNG": png[:8] + chunk(b"CgBI", bytes(4)) + png[8:],
        "fill bytes": jpeg[:2] + b"\xff" * 130_000 + jpeg[2:],
        "300 scans": jpeg[:last] + jpeg[last:-2] * 300 + jpeg[-2:],
        "63 bombs": png[:33] + bomb * 63 + png[33:],
        "cut off, with the word IEND": png[:-30] + b"IEND\xaeB`\x82",
        "JPEG XL": b"\xff\x0a" + bytes(64),
        "HTML": b"<!doctype html><title>Sign in</title>",
    }[name]


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("Apple's PNG", "invalid_image", "CgBI"),
        ("fill bytes", "invalid_image", "fill bytes"),
        ("300 scans", "invalid_image", "scans"),
        ("63 bombs", "invalid_image", "unpack"),
        ("cut off, with the word IEND", "invalid_image", "cut off"),
        ("JPEG XL", "unsupported_media_type", "JPEG XL"),
        ("HTML", "unsupported_media_type", "HTML"),
    ],
)
async def test_what_must_not_be_bought_for_is_refused_before_money(
    visitor: Caller, upstreams: Upstreams, name: str, code: str, says: str
) -> None:
    """The refusal names what it is, and no provider is asked."""
    body = {"prompt": "left shoe", "image": {"data": base64.b64encode(bad(name)).decode()}}
    for ask in (visitor.segment, visitor.quote):
        reply = await ask(body, status=422)
        assert (code, "image.data") == (reply.body["code"], reply.body["field"])
        assert says in reply.body["detail"]
    assert [] == upstreams.books()


async def test_a_png_that_ended_the_process_is_a_picture_like_any_other(visitor: Caller) -> None:
    """Whoever decodes it, for fitting, for an overlay or to find things in it, sees its default image alone."""
    for data in (twice_animated(), twice_animated(frames=0x80000001, twice=False)):
        body = {"prompt": "x", "image": {"data": base64.b64encode(data).decode()}, "output": {"overlay": True}}
        reply = await visitor.segment({**body, "route": on("prodia"), "cache": {"mode": "skip"}})
        assert (128, 64) == (reply.body["image"]["width"], reply.body["image"]["height"])
