"""What holds for requests that cannot be answered: a problem that names field and remedy, and not a micro-dollar."""

import base64
import io
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.end_to_end.asking import Caller, on, text
from tests.end_to_end.household import House, gateway_running
from tests.end_to_end.upstreams import Upstreams


def png(width: int, height: int) -> bytes:
    """Return a PNG picture of that size."""
    target = io.BytesIO()
    Image.new("RGB", (width, height), (120, 130, 140)).save(target, "PNG")
    return target.getvalue()


def huge_png() -> bytes:
    """Return the 69 bytes of a PNG file that says it has 20000 x 20000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    file = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(4))) + chunk(b"IEND", b"")
    assert len(file) == 69
    return file


@dataclass(frozen=True, slots=True)
class Bad:
    """A request's JSON that has to be refused."""

    name: str
    body: dict[str, Any]
    status: int
    code: str
    at: str | None
    """The field that is named; None where no one field is at fault."""
    remedy: str
    """What the detail says to do, or which value it names."""


def inline(data: bytes) -> dict[str, Any]:
    """Return the picture's part of a request with the bytes in it."""
    return {"image": {"data": base64.b64encode(data).decode()}}


PICTURE = inline(png(300, 260))
SHOE = {"prompt": "left shoe"}
WORD = "s" * 501


def box(x_min: int, y_min: int, x_max: int, y_max: int) -> dict[str, Any]:
    """Return an object prompt by a box."""
    return {"kind": "object", "box": {"x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max}}


BAD = [
    Bad("unknown_field", {**PICTURE, **SHOE, "promt": 1}, 422, "invalid_request", "promt", "misspelt"),
    Bad(
        "unknown_field_deep",
        {**PICTURE, "prompts": [{"kind": "text", "text": "a", "colour": "red"}]},
        422,
        "invalid_request",
        "prompts[0].colour",
        "unknown",
    ),
    Bad("unknown_route", {**PICTURE, **SHOE, "route": {"hedge": 1}}, 422, "invalid_request", "route.hedge", "unknown"),
    Bad(
        "url_and_data",
        {"image": {"url": "https://example.com/a.jpg", **PICTURE["image"]}, **SHOE},
        422,
        "invalid_request",
        "image",
        "exactly one of image.url and image.data",
    ),
    Bad("no_picture", SHOE, 422, "invalid_request", "image", "image.url"),
    Bad("empty_image", {"image": {}, **SHOE}, 422, "invalid_request", "image", "exactly one"),
    Bad("no_prompt", PICTURE, 422, "invalid_request", None, "exactly one of prompt"),
    Bad("two_prompts", {**PICTURE, **SHOE, "prompts": [text("a")]}, 422, "invalid_request", None, "exactly one"),
    Bad("no_prompts", {**PICTURE, "prompts": []}, 422, "invalid_request", "prompts", "at least 1"),
    Bad("prompts_17", {**PICTURE, "prompts": [text("a")] * 17}, 422, "invalid_request", "prompts", "at most 16"),
    Bad(
        "prompt_of_0",
        {**PICTURE, "prompts": [text("")], "route": on("prodia")},
        422,
        "invalid_request",
        "prompts[0].text",
        "at least 1 character",
    ),
    Bad(
        "prompt_of_0_short",
        {**PICTURE, "prompt": "", "route": on("prodia")},
        422,
        "invalid_request",
        "prompt",
        "at least 1 character",
    ),
    Bad("prompt_of_blanks", {**PICTURE, "prompt": "  \t "}, 422, "invalid_request", "prompt", "at least 1 character"),
    Bad(
        "prompt_of_501",
        {**PICTURE, "prompts": [text(WORD)], "route": on("prodia")},
        422,
        "prompt_too_long",
        "prompts[0].text",
        "at most 500 characters, this one has 501; shorten",
    ),
    Bad(
        "prompt_of_501_short",
        {**PICTURE, "prompt": WORD, "route": on("prodia")},
        422,
        "prompt_too_long",
        "prompt",
        "at most 500",
    ),
    Bad("kind", {**PICTURE, "prompts": [{"kind": "sound"}]}, 422, "invalid_request", "prompts[0]", "'text'"),
    Bad(
        "box_outside",
        {**PICTURE, "prompts": [text("a"), box(10, 10, 301, 50)]},
        422,
        "invalid_request",
        "prompts[1].box",
        "300 wide and 260 high",
    ),
    Bad("box_empty", {**PICTURE, "prompts": [box(10, 10, 10, 50)]}, 422, "invalid_request", "prompts[0].box", "x_min"),
    Bad(
        "box_negative",
        {**PICTURE, "prompts": [box(-1, 10, 20, 50)]},
        422,
        "invalid_request",
        "prompts[0].box.x_min",
        "greater than or equal to 0",
    ),
    Bad(
        "point_outside",
        {**PICTURE, "prompts": [{"kind": "object", "points": [{"x": 5, "y": 260}]}]},
        422,
        "invalid_request",
        "prompts[0].points[0]",
        "300 wide and 260 high",
    ),
    Bad(
        "nowhere",
        {**PICTURE, "prompts": [{"kind": "object"}]},
        422,
        "invalid_request",
        "prompts[0]",
        "give a box",
    ),
    Bad("picture_1x1", {**inline(png(1, 1)), **SHOE}, 422, "invalid_image", "image.data", "at least 8 pixels"),
    Bad(
        "picture_small_for_prodia",
        {**inline(png(300, 255)), **SHOE, "fit": "strict", "route": on("prodia")},
        422,
        "no_deployment",
        "image",
        "at least 256 pixels",
    ),
    Bad(
        "bytes_0", {"image": {"data": "data:image/png;base64,"}, **SHOE}, 422, "invalid_image", "image.data", "0 bytes"
    ),
    Bad("data_empty", {"image": {"data": ""}, **SHOE}, 422, "invalid_request", "image.data", "at least 1 character"),
    Bad("data_not_base64", {"image": {"data": "#?!"}, **SHOE}, 422, "invalid_request", "image.data", "base64"),
    Bad("text_file", {**inline(b"This is no picture.\n" * 9), **SHOE}, 422, "invalid_image", "image.data", "a PNG"),
    Bad("pdf", {**inline(b"%PDF-1.7" + bytes(90)), **SHOE}, 422, "unsupported_media_type", "image.data", "a PDF"),
    Bad("cut_off", {**inline(png(300, 260)[:-30]), **SHOE}, 422, "invalid_image", "image.data", "cut off"),
    Bad(
        "huge",
        {**inline(huge_png()), **SHOE},
        422,
        "image_too_large",
        "image.data",
        "at most 120000000 are taken; scale",
    ),
    Bad("max_masks", {**PICTURE, **SHOE, "max_masks": 0}, 422, "invalid_request", "max_masks", "greater than"),
    Bad("min_score", {**PICTURE, **SHOE, "min_score": 1.5}, 422, "invalid_request", "min_score", "less than"),
    Bad("encoding", {**PICTURE, **SHOE, "output": {"masks": "svg"}}, 422, "invalid_request", "output.masks", "'rle'"),
    Bad(
        "strategy",
        {**PICTURE, **SHOE, "route": {"strategy": "best"}},
        422,
        "invalid_request",
        "route.strategy",
        "'cheapest'",
    ),
    Bad(
        "money_as_float",
        {**PICTURE, **SHOE, "route": {"max_charge_usd": 0.02}},
        422,
        "invalid_request",
        "route.max_charge_usd",
        "string",
    ),
    Bad(
        "money_too_fine",
        {**PICTURE, **SHOE, "route": {"max_charge_usd": "0.0000001"}},
        422,
        "invalid_request",
        "route.max_charge_usd",
        "0.0000001",
    ),
    Bad(
        "money_negative",
        {**PICTURE, **SHOE, "route": {"max_charge_usd": "-1"}},
        422,
        "invalid_request",
        "route.max_charge_usd",
        "below zero",
    ),
    Bad(
        "deadline",
        {**PICTURE, **SHOE, "route": {"deadline_seconds": 0}},
        422,
        "invalid_request",
        "route.deadline_seconds",
        "greater than 0",
    ),
    Bad("nobody", {**PICTURE, **SHOE, "route": on("runflow-mars")}, 422, "no_deployment", "route", "runflow-eu"),
    Bad("tags", {**PICTURE, **SHOE, "tags": {"team": 7}}, 422, "invalid_request", "tags.team", "string"),
    Bad(
        "text_to_local",
        {**PICTURE, "prompts": [text("shoe")], "route": on("local-classic")},
        422,
        "unsupported_capability",
        "prompts[0]",
        "Who could: prodia inference.sam3.segment.v1, runflow meta/sam-3/image",
    ),
    Bad(
        "exemplars_to_anybody",
        {
            **PICTURE,
            "prompts": [
                {"kind": "exemplars", "boxes": [{"x_min": 1, "y_min": 1, "x_max": 9, "y_max": 9, "positive": True}]}
            ],
        },
        422,
        "unsupported_capability",
        "prompts[0]",
        "Who could: no installed provider",
    ),
]

FORBIDDEN = [
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:127.0.0.1]/a.png",
    "http://127.0.0.1/a.png",
    "http://[::1]/a.png",
    "http://10.0.0.1/a.png",
    "http://[fd00:ec2::254]/a.png",
    "http://localhost/a.png",
    "file:///etc/passwd",
    "ftp://example.com/a.png",
    "http://user:secret@example.com/a.png",
]


@pytest.fixture(autouse=True)
def nothing_is_spent(standing_house: House, upstreams: Upstreams) -> Iterator[None]:
    """Demand after every test here that nothing was reserved and nothing was billed."""
    yield
    assert standing_house.rows() == 0
    assert upstreams.books() == []


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_bad_request_is_a_problem(visitor: Caller, bad: Bad) -> None:
    """The problem has the status, the code, the field at fault and a detail that says what to do."""
    reply = await visitor.segment(bad.body, status=bad.status)
    assert (bad.code, bad.at) == (reply.body["code"], reply.body.get("field"))
    assert bad.remedy in reply.body["detail"]


@pytest.mark.parametrize("url", FORBIDDEN)
async def test_forbidden_address_is_a_problem(visitor: Caller, url: str) -> None:
    """An address that nobody may send us to is refused, whatever way it is written."""
    reply = await visitor.segment({"image": {"url": url}, **SHOE}, status=422)
    assert ("image_forbidden", "image.url") == (reply.body["code"], reply.body["field"])
    assert "public" in reply.body["detail"]
    assert "secret" not in reply.body["detail"]


@pytest.mark.parametrize("url", ["http://2130706433/a.png", "http://0/a.png", "http://127.1/a.png", "http:///a.png"])
async def test_address_that_is_none_is_a_problem(visitor: Caller, url: str) -> None:
    """Numbers that some programs take for an address of loopback lead nowhere, since they are no address at all."""
    reply = await visitor.segment({"image": {"url": url}, **SHOE}, status=422)
    assert reply.body["code"] in {"image_unreachable", "image_forbidden"}
    assert "image.url" == reply.body["field"]
    assert "http" in reply.body["detail"]


async def test_absent_picture_is_a_problem(visitor: Caller, upstreams: Upstreams) -> None:
    """An address without a file behind it is said with what the server answered."""
    url = upstreams.scene("shoes").url.replace("shoes", "boots")
    reply = await visitor.segment({"image": {"url": url}, **SHOE}, status=422)
    assert ("image_unreachable", "image.url") == (reply.body["code"], reply.body["field"])
    assert "404" in reply.body["detail"]


@pytest.fixture
def redirecting() -> Iterator[tuple[str, list[str]]]:
    """Serve redirects to another port of loopback; give the address, and what that port was asked for."""
    asked: list[str] = []

    class Secret(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    def redirect_to(port: int) -> type[BaseHTTPRequestHandler]:
        class Redirect(Secret):
            def do_GET(self) -> None:
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{port}/admin.png")
                self.end_headers()

        return Redirect

    with (
        HTTPServer(("127.0.0.1", 0), Secret) as secret,
        HTTPServer(("127.0.0.1", 0), redirect_to(secret.server_port)) as redirect,
    ):
        threads = [threading.Thread(target=server.serve_forever) for server in (secret, redirect)]
        for thread in threads:
            thread.start()
        yield f"127.0.0.1:{redirect.server_port}", asked
        redirect.shutdown()
        secret.shutdown()
        for thread in threads:
            thread.join()


async def test_redirect_to_loopback_is_a_problem(
    upstreams: Upstreams,
    redirecting: tuple[str, list[str]],
    session: aiohttp.ClientSession,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """An allowed server that redirects to another port of this machine leads nowhere: that port is not even asked."""
    address, asked = redirecting
    state = tmp_path_factory.mktemp("redirected")
    with gateway_running(upstreams.sandbox, state, changes={"fetch": {"allow": [address]}}) as house:
        caller = Caller(house.url, session, house.key)
        reply = await caller.segment({"image": {"url": f"http://{address}/a.png"}, **SHOE}, status=422)
        assert ("image_forbidden", "image.url") == (reply.body["code"], reply.body["field"])
        assert "public" in reply.body["detail"]
        assert house.rows() == 0
    assert asked == []


async def test_empty_part_is_a_problem(visitor: Caller) -> None:
    """A multipart part without a byte in it is no picture."""
    form = aiohttp.FormData()
    form.add_field("image", b"", filename="a.png", content_type="image/png")
    form.add_field("request", '{"prompt": "left shoe"}', content_type="application/json")
    reply = await visitor.send("POST", "/v1/segmentations", status=422, data=form)
    assert ("invalid_image", "image") == (reply.body["code"], reply.body["field"])


@pytest.mark.parametrize(
    ("parts", "status", "at", "remedy"),
    [
        ({"image": png(300, 260)}, 422, "request", "missing"),
        ({"request": b'{"prompt": "a"}'}, 422, "image", "multipart part `image`"),
        ({"image": b"This is text.", "request": b'{"prompt": "a"}'}, 422, "image", "no picture"),
        ({"photo": png(300, 260), "request": b'{"prompt": "a"}'}, 422, "photo", "`image` and `request`"),
        ({"image": png(300, 260), "request": b"{"}, 400, None, "not JSON"),
        (
            {"image": png(300, 260), "request": b'{"prompt": "a", "image": {"url": "https://example.com/"}}'},
            422,
            "image",
            "leave image out",
        ),
    ],
    ids=["no_request", "no_image", "text_named_png", "unknown_part", "not_json", "picture_twice"],
)
async def test_bad_multipart_is_a_problem(
    visitor: Caller, parts: dict[str, bytes], status: int, at: str | None, remedy: str
) -> None:
    """Parts that are missing, unknown, unreadable or there twice are named."""
    form = aiohttp.FormData()
    for name, data in parts.items():
        form.add_field(name, data, filename=f"{name}.png")
    reply = await visitor.send("POST", "/v1/segmentations", status=status, data=form)
    assert at == reply.body.get("field")
    assert remedy in reply.body["detail"]


@pytest.mark.parametrize(
    ("media_type", "body", "status", "code"),
    [
        ("application/json", b"{'prompt': 1}", 400, "invalid_request"),
        ("application/json", b"", 400, "invalid_request"),
        ("application/json", b'{"prompt": "\xff"}', 400, "invalid_request"),
        ("application/json", b"[1, 2]", 422, "invalid_request"),
        ("application/json", b"null", 422, "invalid_request"),
        ("application/json", b"[" * 100_000, 400, "invalid_request"),
        ("text/plain", b'{"prompt": "a"}', 415, "unsupported_media_type"),
        ("application/x-www-form-urlencoded", b"prompt=a", 415, "unsupported_media_type"),
        ("multipart/form-data", b"--a--", 415, "unsupported_media_type"),
        ("multipart/form-data; boundary=a", b"no parts at all", 400, "invalid_request"),
    ],
    ids=["quotes", "empty", "utf8", "list", "null", "deep", "text", "form", "no_boundary", "no_parts"],
)
async def test_unreadable_body_is_a_problem(
    visitor: Caller, media_type: str, body: bytes, status: int, code: str
) -> None:
    """A body that is not JSON, no object, or not what its Content-Type says, is said to be that."""
    reply = await visitor.send(
        "POST", "/v1/segmentations", status=status, data=body, headers={"Content-Type": media_type}
    )
    assert code == reply.body["code"]


async def test_body_too_large_is_a_problem(visitor: Caller) -> None:
    """A body beyond the limit is refused with the limit in the detail."""
    most = 32 * 2**20

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(most * 10 // 7 // 2**20 + 4):
            yield bytes(2**20)

    reply = await visitor.send(
        "POST", "/v1/segmentations", status=413, data=pieces(), headers={"Content-Type": "application/json"}
    )
    assert "request_too_large" == reply.body["code"]
    assert str(most) in reply.body["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/segment", 404, "not_found"),
        ("GET", "/v1/segmentations", 405, "invalid_request"),
        ("DELETE", "/v1/usage", 405, "invalid_request"),
        ("POST", "/v1/deployments", 405, "invalid_request"),
        ("GET", "/v1/segmentations/seg_01", 404, "not_found"),
        ("GET", "/v1/usage?by=colour", 422, "invalid_request"),
        ("GET", "/v1/usage?until=tomorrow", 422, "invalid_request"),
        ("GET", "/v1/usage?year=2026", 422, "invalid_request"),
        ("GET", "/v1/usage?tag=team", 422, "invalid_request"),
        ("GET", "/v1/usage?format=xml", 422, "invalid_request"),
    ],
)
async def test_wrong_place_is_a_problem(visitor: Caller, method: str, path: str, status: int, code: str) -> None:
    """Paths, methods and parameters that are not there are problems of ours, and no page of the framework's."""
    reply = await visitor.send(method, path, status=status)
    assert code == reply.body["code"]


async def test_request_id_is_the_callers_own_where_it_is_fit(visitor: Caller) -> None:
    """A caller's X-Request-Id stands in problem and header; one that could not stand in a log line is replaced."""
    own = await visitor.segment({}, status=422, headers={"X-Request-Id": "order-7:retry.1"})
    assert "order-7:retry.1" == own.body["request_id"] == own.headers["X-Request-Id"]
    other = await visitor.segment({}, status=422, headers={"X-Request-Id": "a b"})
    assert other.body["request_id"].startswith("req_")
