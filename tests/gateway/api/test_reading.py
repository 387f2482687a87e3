"""The request's bytes become a body and the place of its picture: JSON, or multipart with two parts."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from gateway.api.problems import status_of
from gateway.api.reading import JSON_BYTES, field_path, read_request
from gateway.intake.body import SegmentationBody
from gateway.intake.picture import PictureSource
from gateway.problems import GatewayError, InvalidRequest, MalformedBody, RequestTooLarge, UnsupportedContentType
from providers.workers import ThreadWorkers

BOUNDARY = "----maskgate"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
MOST = 10_000
WORKERS = ThreadWorkers(threads=1, queue=8)
BODY_LIMIT = MOST * 10 // 7 + 2 * JSON_BYTES


async def read(
    content_type: str | None, *chunks: bytes, cut: bool = False, told: str | None = None, most: int = MOST
) -> tuple[SegmentationBody, PictureSource]:
    """Read a request whose body arrives in these pieces; *cut* ends the connection before the end of it."""
    waiting: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    waiting.append({"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return waiting.pop(0)

    headers = [] if content_type is None else [(b"content-type", content_type.encode("latin-1"))]
    if told is not None:
        headers.append((b"content-length", told.encode()))
    scope = {"type": "http", "method": "POST", "path": "/v1/segmentations", "headers": headers}
    return await read_request(Request(scope, receive), max_picture_bytes=most, workers=WORKERS)


def part(name: str | None, content: bytes, *headers: str, disposition: str = 'form-data; name="{}"') -> bytes:
    """Return one part, without the line break before the next boundary."""
    lines = [] if name is None else [f"Content-Disposition: {disposition.format(name)}"]
    return "".join(f"{line}\r\n" for line in [*lines, *headers]).encode("latin-1") + b"\r\n" + content


def multipart(*parts: bytes, end: bytes = b"--\r\n") -> bytes:
    """Return a multipart body of these parts."""
    edge = b"--" + BOUNDARY.encode()
    return b"".join(edge + b"\r\n" + each + b"\r\n" for each in parts) + edge + end


IMAGE = part(
    "image",
    b"\x89PNG\r\n\x1a\n\0--\r\n",
    "Content-Type: image/png",
    disposition='form-data; name="{}"; filename="ü.png"',
)
REQUEST = part("request", b'{"prompt": "shoe"}', "Content-Type: application/json")
GOOD = multipart(IMAGE, REQUEST)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/json;charset=utf-8; x=y"],
)
async def test_json_is_read_whatever_its_parameters(content_type: str) -> None:
    """The picture is where the body says."""
    data = json.dumps({"image": {"url": "https://example.com/a"}, "prompt": "shoe"}).encode()
    body, source = await read(content_type, data[:10], b"", data[10:])
    assert ("shoe", PictureSource(url="https://example.com/a")) == (body.prompt, source)
    _, source = await read(content_type, b'{"image": {"data": "QUFB"}, "prompt": "shoe"}')
    assert PictureSource(base64="QUFB") == source


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
async def test_multipart_is_read_in_pieces_of_any_size(size: int) -> None:
    """The picture's bytes are exactly those that were sent, line breaks and dashes included."""
    pieces = [GOOD[start : start + size] for start in range(0, len(GOOD), size)]
    body, source = await read(MULTIPART, *pieces)
    assert ("shoe", PictureSource(part=b"\x89PNG\r\n\x1a\n\0--\r\n")) == (body.prompt, source)


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        (f'multipart/form-data; boundary="{BOUNDARY}"', GOOD),
        (f"Multipart/Form-Data; charset=utf-8; BOUNDARY={BOUNDARY}", GOOD),
        (f"multipart/form-data; boundary*=utf-8''{BOUNDARY}", GOOD),
        (MULTIPART, multipart(REQUEST, IMAGE)),
        (MULTIPART, b"\r\n" + GOOD),
        (MULTIPART, GOOD + b"an epilogue"),
        (MULTIPART, multipart(IMAGE, REQUEST, end=b"--")),
        (MULTIPART, multipart(part("image", b"x", disposition="form-data; name={}"), REQUEST)),
        (MULTIPART, multipart(part("image", b"x", disposition="form-data; name*=utf-8''{}"), REQUEST)),
    ],
)
async def test_every_way_to_write_good_multipart_is_read(content_type: str, data: bytes) -> None:
    """Order, quotes, case and what stands after the end do not matter."""
    body, source = await read(content_type, data)
    assert "shoe" == body.prompt
    assert source.part is not None


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        ";;;",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "image/png",
        "multipart/mixed; boundary=b",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary",
        f"multipart/form-data; boundary*{'9' * 5000}=b",
        "application/json\n x",
    ],
)
async def test_another_content_type_is_refused_by_its_header(content_type: str | None) -> None:
    """The problem says what to send, with status 415."""
    with pytest.raises(UnsupportedContentType, match="send application/json, or multipart/form-data") as refused:
        await read(content_type, GOOD)
    assert (415, "unsupported_media_type", "Content-Type") == (
        status_of(refused.value),
        refused.value.code,
        refused.value.field,
    )


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        (MULTIPART, b""),
        (MULTIPART, GOOD[:-6]),
        (MULTIPART, GOOD[:60]),
        (MULTIPART, multipart(IMAGE, REQUEST, end=b"")),
        (MULTIPART, b"x" * 200_000 + b"\r\n" + GOOD),
        (MULTIPART, GOOD.replace(b"\r\n", b"\n")),
        (MULTIPART, b'{"prompt": "shoe"}'),
        (MULTIPART, multipart(part("image", b"x", *["A: b"] * 5000), REQUEST)),
        (MULTIPART, multipart(part("image", b"x", "A: " + "b" * 200_000), REQUEST)),
        ("multipart/form-data; boundary=another", GOOD),
        ("multipart/form-data; boundary=" + "b" * 300, GOOD),
        ("multipart/form-data; boundary=\xfc", GOOD),
        ("multipart/form-data; boundary*=utf-8''%E9%9D%B4", GOOD),
    ],
)
async def test_what_is_not_the_multipart_that_was_promised_cannot_be_read(content_type: str, data: bytes) -> None:
    """Cut off, with a long preamble, with another boundary: the body is at fault, with status 400."""
    with pytest.raises(MalformedBody, match="multipart") as refused:
        await read(content_type, data)
    assert (400, "invalid_request") == (status_of(refused.value), refused.value.code)


REFUSED: list[tuple[Sequence[bytes], str | None, str]] = [
    ([IMAGE], "request", "part `request` is missing"),
    ([REQUEST], "image", "give the picture"),
    ([IMAGE, REQUEST, IMAGE], "image", "came twice"),
    ([REQUEST, IMAGE, REQUEST], "request", "came twice"),
    ([IMAGE, REQUEST, part("mask", b"x")], "mask", 'unknown part "mask"'),
    ([IMAGE, REQUEST, part("Image", b"x")], "Image", 'unknown part "Image"'),
    ([IMAGE, REQUEST, part("", b"x")], "", 'unknown part ""'),
    ([IMAGE, REQUEST, part(None, b"x", "X-Other: y")], None, "a part has no name"),
    ([IMAGE, REQUEST, part("x", b"x", disposition="form-data; filename={}")], None, "a part has no name"),
    ([IMAGE, REQUEST, part("x", b"", disposition="form-data; name*=undefined''{}")], None, "has no name"),
    ([IMAGE, REQUEST, part("x", b"x", disposition="form-data; name*=utf-8''b{}")], "bx", 'unknown part "bx"'),
    ([IMAGE] * 9, None, "more than 8 parts"),
    ([IMAGE, part("request", b'{"promt": "shoe"}')], "promt", "unknown"),
    ([IMAGE, part("request", b'{"prompt": "x", "image": {"url": "x"}}')], "image", "came as the part `image` already"),
]


@pytest.mark.parametrize(("parts", "field", "words"), REFUSED)
async def test_a_part_that_is_missing_double_or_unknown_is_named(
    parts: Sequence[bytes], field: str | None, words: str
) -> None:
    """The field of the problem is the part's name."""
    with pytest.raises(InvalidRequest, match=words) as refused:
        await read(MULTIPART, multipart(*parts))
    assert (422, field) == (status_of(refused.value), refused.value.field)


async def test_the_part_request_has_to_be_json() -> None:
    """What is wrong in it is told as for a JSON body."""
    with pytest.raises(MalformedBody, match="the body is not JSON"):
        await read(MULTIPART, multipart(IMAGE, part("request", b"prompt=shoe")))


async def test_a_json_body_needs_its_picture() -> None:
    """Only a multipart request may leave `image` out."""
    with pytest.raises(InvalidRequest, match="give the picture") as refused:
        await read("application/json", b'{"prompt": "shoe"}')
    assert "image" == refused.value.field


async def test_a_connection_that_ends_early_is_a_body_that_cannot_be_read() -> None:
    """Half a body is not taken for a whole one, even where it is JSON by itself."""
    with pytest.raises(MalformedBody, match="ended early"):
        await read("application/json", b'{"image": {"url": "x"}, "prompt": "shoe"}', cut=True)


GOOD_JSON = b'{"image": {"url": "x"}, "prompt": "shoe"}'


async def test_reading_stops_at_the_limit() -> None:
    """Room is for the picture in base64 and for the rest; a byte more is refused, before more is read."""
    filler = b" " * (JSON_BYTES - len(GOOD_JSON))
    body, _ = await read("application/json", GOOD_JSON, filler)
    assert "shoe" == body.prompt
    with pytest.raises(RequestTooLarge, match=f"more than {BODY_LIMIT} bytes. A picture may have 10000") as refused:
        await read("application/json", b" " * BODY_LIMIT, b" ", b"never read" * 1000)
    assert (413, "request_too_large") == (status_of(refused.value), refused.value.code)


async def test_a_body_that_says_that_it_is_too_long_is_not_read() -> None:
    """Content-Length alone decides, however many digits it has."""
    for told in (str(BODY_LIMIT + 1), "9" * 4000):
        with pytest.raises(RequestTooLarge, match="more than"):
            await read("application/json", told=told)


async def test_room_is_asked_for_what_a_compressed_body_may_become() -> None:
    """Before it is inflated: what it takes on the wire says nothing about what it takes in memory."""
    asked: list[int] = []

    async def room(count: int) -> None:
        asked.append(count)

    packed = gzip.compress(GOOD_JSON)
    headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
    scope = {"type": "http", "method": "POST", "path": "/v1/segmentations", "headers": headers}

    async def receive() -> Message:
        return {"type": "http.request", "body": packed, "more_body": False}

    body, _ = await read_request(Request(scope, receive), max_picture_bytes=MOST, workers=WORKERS, room=room)
    assert ("shoe", JSON_BYTES) == (body.prompt, asked[-1])


TEXT = base64.b64encode(bytes(MOST)).decode() * 90


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("application/json", GOOD_JSON + b" " * JSON_BYTES),
        ("application/json", json.dumps({"image": {"url": "x"}, "prompt": "shoe", "data": TEXT}).encode()),
        ("application/json", json.dumps({"image": {"data": TEXT + '"'}, "prompt": "shoe"}).encode()),
        ("application/json", b'{"data":"' * 120_000),
        ("application/json", json.dumps({"image": {"data": "A" * 600_000}, "pad": "x" * JSON_BYTES}).encode()),
        (MULTIPART, multipart(IMAGE, part("request", GOOD_JSON + b" " * JSON_BYTES))),
    ],
)
async def test_what_is_not_the_picture_is_at_most_one_megabyte(content_type: str, data: bytes) -> None:
    """Blanks, other fields and pictures in the wrong place count alike; the problem says where the picture goes."""
    with pytest.raises((RequestTooLarge, InvalidRequest)) as refused:
        await read(content_type, data, most=2 * JSON_BYTES)
    assert "data" == refused.value.field or "beside the picture" in refused.value.message


@pytest.mark.parametrize(
    ("loc", "path"),
    [
        ((), None),
        (("max_masks",), "max_masks"),
        (("prompts", 0, "object", "box", "x_min"), "prompts[0].box.x_min"),
        (("prompts", 12, "exemplars", "boxes", 3, "positive"), "prompts[12].boxes[3].positive"),
        (("prompts", 0, "text", "text"), "prompts[0].text"),
        (("prompts", 0), "prompts[0]"),
        (("tags", "text"), "tags.text"),
        (("route", "regions", 1), "route.regions[1]"),
    ],
)
def test_a_field_s_place_is_written_as_callers_write_it(loc: tuple[int | str, ...], path: str | None) -> None:
    """The arm of the union that pydantic names is no field of ours."""
    assert path == field_path(loc)


async def quietly(content_type: str, data: bytes) -> None:
    """Read, and take any problem for an answer."""
    try:
        body, source = await read(content_type, data)
    except GatewayError as problem:
        assert problem.message  # noqa: PT017 - read or refused, both are right
    else:
        assert isinstance(body, SegmentationBody)
        assert isinstance(source, PictureSource)


@given(st.binary(max_size=300))
async def test_no_bytes_raise_anything_but_a_problem(data: bytes) -> None:
    """Random bytes are refused, as JSON and as multipart."""
    await quietly("application/json", data)
    await quietly(MULTIPART, data)


@given(st.data())
async def test_no_damage_to_good_multipart_raises_anything_but_a_problem(data: st.DataObject) -> None:
    """However a body is cut and overwritten, it is read or refused."""
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(damaged)))
        damaged[place : place + data.draw(st.integers(0, 40))] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"\r\n", b"--" + BOUNDARY.encode(), b":", b"; name="])
        )
    await quietly(MULTIPART, bytes(damaged))


HEADER_PIECES = st.sampled_from(
    [
        "multipart/form-data",
        "application/json",
        ";",
        " ",
        "boundary",
        "=",
        "*",
        "*0",
        "*=",
        '"',
        "'",
        "utf-8''",
        "%FF",
        "b",
    ]
) | st.text(st.characters(max_codepoint=255, exclude_characters="\0\r\n"), max_size=5)


@given(st.lists(HEADER_PIECES, max_size=12).map("".join), st.sampled_from([GOOD, b"{}"]))
@example("multipart/form-data; boundary*=bogus''%e9", GOOD)
@example("multipart/form-data; boundary*=idna''xn--%ff", GOOD)
async def test_no_content_type_raises_anything_but_a_problem(content_type: str, data: bytes) -> None:
    """Whatever the header holds, the request is read or refused."""
    await quietly(content_type, data)


@given(
    st.lists(
        st.sampled_from(["form-data", ";", " ", "name", "=", "*", "*0", '"', "image", "utf-8''", "%FF", "filename"])
        | st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=4),
        max_size=12,
    ).map("".join)
)
async def test_no_name_of_a_part_raises_anything_but_a_problem(disposition: str) -> None:
    """Whatever a part is called, the request is read or refused."""
    named = part("", b"x", disposition=disposition.replace("{", "").replace("}", ""))
    await quietly(MULTIPART, multipart(named, REQUEST))
