"""What honest callers send, spelt as their tools spell it, is answered with the true masks and no question asked."""

import base64
import gzip
import json
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote_from_bytes

import aiohttp
import numpy as np
import pytest

from tests.end_to_end.asking import Caller, Reply, on
from tests.end_to_end.household import House, gateway_running
from tests.end_to_end.masks import from_rle
from tests.end_to_end.upstreams import Upstreams

JSON = {"Content-Type": "application/json"}


@dataclass(slots=True)
class Store:
    """A server of pictures that notes how it was asked."""

    port: int
    head: list[tuple[str, str]] = field(default_factory=list)
    """Headers of its answers."""
    body: bytes = b""
    asked: list[str] = field(default_factory=list)
    """Targets of the requests."""


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """Run a store on loopback. `/hop/N` redirects to N - 1, and `/hop/0` to a name with a blank in it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.asked.append(self.path)
            hop = self.path.startswith("/hop/")
            self.send_response(302 if hop else 200)
            if hop:
                left = int(self.path.removeprefix("/hop/"))
                self.send_header("Location", f"/hop/{left - 1}" if left else "/my pic.png")
            for name, value in running.head:
                self.send_header(name, value)
            self.send_header("Content-Length", str(0 if hop else len(running.body)))
            self.end_headers()
            self.wfile.write(b"" if hop else running.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = Store(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield running
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def fetching_house(
    running_upstreams: Upstreams, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Run a gateway that may fetch from the store."""
    changes = {"fetch": {"allow": [f"127.0.0.1:{store.port}"]}}
    with gateway_running(running_upstreams.sandbox, tmp_path_factory.mktemp("honest"), changes=changes) as house:
        yield house


@pytest.fixture
def picture(upstreams: Upstreams, store: Store) -> bytes:
    """Return a picture that the sandbox knows, and have the store serve it."""
    store.head, store.asked, store.body = [], [], upstreams.picture("shoes")
    return store.body


@pytest.fixture
async def asker(fetching_house: House, session: aiohttp.ClientSession) -> Caller:
    """Return a caller of that gateway."""
    return Caller(fetching_house.url, session)


def asked_of(image: dict[str, str] | None, **more: Any) -> dict[str, Any]:
    """Return a request for the left shoe."""
    return {"image": image, "prompt": "left shoe", "route": on("prodia"), "cache": {"mode": "skip"}, **more}


def assert_found(reply: Reply, upstreams: Upstreams) -> None:
    """Demand the shoe's true mask."""
    [instance] = reply.body["instances"]
    [shoe] = upstreams.scene("shoes").named("left shoe")
    assert np.array_equal(from_rle(instance["mask"]), shoe.bitmap)


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/512_vc%26p.jpg?X-Amz-Credential=a%40b%2Fauto", None),
        ("/a%2fb//c/../d.png?x=%c3%a9&y=+&lone", None),
        ("/größe 1.png", "/gr%C3%B6%C3%9Fe%201.png"),
        ("/hop/9", "/my%20pic.png"),
    ],
)
async def test_an_address_is_fetched_as_it_is_spelt(
    target: str, sent: str | None, picture: bytes, store: Store, asker: Caller, upstreams: Upstreams
) -> None:
    """Presigned ones to the byte; blanks and letters are escaped, in redirects too, of which ten are followed."""
    url = f"http://127.0.0.1:{store.port}{target}"
    assert_found(await asker.segment(asked_of({"url": url})), upstreams)
    assert store.asked[-1] == (sent or target)


async def test_an_eleventh_redirect_is_told(picture: bytes, store: Store, asker: Caller) -> None:
    """With the number that is followed."""
    url = f"http://127.0.0.1:{store.port}/hop/10"
    reply = await asker.segment(asked_of({"url": url}), status=422)
    assert (reply.body["code"], "more than 10 redirects" in reply.body["detail"]) == ("image_unreachable", True)


@pytest.mark.parametrize("label", ["aws-chunked", "utf-8", "binary", "none", "gzip", "x-gzip", "deflate"])
async def test_a_stored_picture_is_read_whatever_its_label(
    label: str, picture: bytes, store: Store, asker: Caller, upstreams: Upstreams
) -> None:
    """As it is, and compressed though nobody asked for that."""
    url = f"http://127.0.0.1:{store.port}/a.png"
    packed = zlib.compress(picture) if label == "deflate" else gzip.compress(picture)
    for body in (picture, packed):
        store.head, store.body = [("Content-Encoding", label)], body
        assert_found(await asker.segment(asked_of({"url": url})), upstreams)


async def test_base64_is_read_as_tools_write_it(picture: bytes, asker: Caller, upstreams: Upstreams) -> None:
    """By lines, without padding, in the other alphabet, and in data: URIs of all kinds, at either place."""
    plain = base64.b64encode(picture).decode()
    safe = base64.urlsafe_b64encode(picture).decode().rstrip("=")
    for image in (
        {"data": base64.encodebytes(picture).decode().replace("\n", "\r\n")},
        {"data": safe},
        {"data": "data:image/png;name=a.png;BASE64," + plain},
        {"url": "data:image/png;base64," + plain},
        {"url": "data:image/png," + quote_from_bytes(picture)},
    ):
        assert_found(await asker.segment(asked_of(image)), upstreams)
    reply = await asker.segment(asked_of({"url": "data:image/png;base64,AA*A"}), status=422)
    assert (reply.body["field"], "'*' at position 25" in reply.body["detail"]) == ("image.url", True)


async def test_json_is_read_as_tools_write_it(picture: bytes, asker: Caller, upstreams: Upstreams) -> None:
    """Whole floats, null for a default, a byte order mark, blanks around the prompt."""
    image = {"data": base64.b64encode(picture).decode()}
    odd = asked_of(image, max_masks=50.0, min_score=None, fit=None, output=None, tags=None, metadata=None, explain=None)
    odd |= {"prompt": " \n left shoe\t", "route": on("prodia", max_attempts=1.0, deadline_seconds=None)}
    data = b"\xef\xbb\xbf" + json.dumps(odd).encode()
    assert_found(await asker.send("POST", "/v1/segmentations", status=200, data=data, headers=JSON), upstreams)


@pytest.mark.parametrize(
    ("label", "pack"), [("gzip", gzip.compress), ("X-GZip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_a_compressed_request_is_read(
    label: str, pack: Any, picture: bytes, asker: Caller, upstreams: Upstreams
) -> None:
    """Small and large, JSON and multipart alike."""
    for pad in ("", " " * 900_000):
        text = json.dumps(asked_of({"data": base64.b64encode(picture).decode()})) + pad
        headers = {**JSON, "Content-Encoding": label}
        reply = await asker.send("POST", "/v1/segmentations", status=200, data=pack(text.encode()), headers=headers)
        assert_found(reply, upstreams)


@pytest.mark.parametrize(
    ("data", "headers", "status", "code", "says"),
    [
        (b"{}", {"Content-Encoding": "br"}, 415, "unsupported_media_type", "gzip or deflate"),
        (b"{}", {"Content-Encoding": "gzip, zstd"}, 415, "unsupported_media_type", "zstd"),
        (b"{}", {"Content-Encoding": "gzip"}, 400, "invalid_request", "not what its Content-Encoding says"),
        (gzip.compress(b"{}")[:-9], {"Content-Encoding": "gzip"}, 400, "invalid_request", "cut off"),
        (gzip.compress(bytes(80_000_000)), {"Content-Encoding": "gzip"}, 413, "request_too_large", "200 times"),
        (gzip.compress(b"{}"), {}, 400, "invalid_request", "header Content-Encoding"),
        ("{}".encode("utf-16"), {}, 400, "invalid_request", "UTF-16"),
        ("{}".encode("utf-32-le"), {}, 400, "invalid_request", "UTF-16 or UTF-32"),
        ('{"prompt": "größe"}'.encode("latin-1"), {}, 400, "invalid_request", "not UTF-8 (byte 15)"),
    ],
    ids=["br", "zstd", "no gzip", "half a gzip", "bomb", "gzip untold", "UTF-16", "UTF-32", "Latin-1"],
)
async def test_a_body_that_cannot_be_read_says_why(
    data: bytes, headers: dict[str, str], status: int, code: str, says: str, asker: Caller
) -> None:
    """Other compressions, damage, bombs and other encodings of text are named, with what to send instead."""
    reply = await asker.send("POST", "/v1/segmentations", status=status, data=data, headers={**JSON, **headers})
    assert (reply.body["code"], says in reply.body["detail"]) == (code, True), reply.body
