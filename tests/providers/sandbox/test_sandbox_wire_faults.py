"""The faults of framing and of bodies, byte for byte as a bare connection sees them, on either provider."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import zlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from providers.sandbox import Sandbox

QUIET_SECONDS = 0.1
"""How long nothing has to come for a wire to count as silent."""


@dataclass
class Wire:
    """A bare connection on which one request was sent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def ask(cls, url: str, body: bytes | None = None) -> Wire:
        """Connect and send a request with a key: a GET, or a POST of JSON."""
        parts = urlsplit(url)
        wire = cls(*await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 26))
        method, data = ("GET", b"") if body is None else ("POST", body)
        head = f"{method} {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer k\r\n"
        head += f"Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        wire.writer.write(head.encode() + data)
        await wire.writer.drain()
        return wire

    async def head(self) -> tuple[str, dict[str, str]]:
        """Read a status line and headers, their names in lower case."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        return lines[0], {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}

    async def rest(self) -> bytes:
        """Read to the end of the connection."""
        return await self.reader.read()

    async def is_silent(self) -> bool:
        """Say whether nothing more comes and the connection stays open."""
        try:
            await asyncio.wait_for(self.reader.read(1), QUIET_SECONDS)
        except TimeoutError:
            return True
        return False

    def leave(self) -> None:
        """Hang up."""
        self.writer.close()


@pytest.fixture(params=["runflow", "prodia"])
async def asked(request: pytest.FixtureRequest, sandbox: Sandbox, control: Any) -> Any:
    """Return what lays a fault on a provider's JSON call and makes the call on a bare connection."""
    runflow = request.param == "runflow"
    upstream = "runflow-eu" if runflow else "prodia"
    url = sandbox.upstreams[upstream] + ("/v1/billing/balance" if runflow else "/job")
    body = None if runflow else b'{"type": "inference.ping.v1"}'

    async def ask(kind: str, **fields: Any) -> Wire:
        await control.strike(upstream, {"kind": kind, "on": "account" if runflow else "job", **fields})
        return await Wire.ask(url, body)

    return ask


async def test_silence_is_never_broken(asked: Any) -> None:
    """The call is taken and nothing ever comes."""
    wire = await asked("silence")
    assert await wire.is_silent()
    wire.leave()


async def test_headers_are_all_that_comes(asked: Any) -> None:
    """A length is announced, and no byte of it follows."""
    wire = await asked("headers_then_silence")
    status, headers = await wire.head()
    assert ("HTTP/1.1 200 OK", True) == (status, int(headers["content-length"]) > 10)
    assert await wire.is_silent()
    wire.leave()


@pytest.mark.parametrize("delta", [-5, 1000])
async def test_a_length_is_wrong(delta: int, asked: Any) -> None:
    """The header is off by so much from the body that comes before the end."""
    wire = await asked("content_length", delta=delta)
    _, headers = await wire.head()
    body = await wire.rest()
    assert len(body) + delta == int(headers["content-length"])
    assert isinstance(json.loads(body), dict)
    wire.leave()


async def test_a_body_comes_in_chunks(asked: Any) -> None:
    """Chunks of the size that was asked for, the empty one last, and the connection goes on."""
    wire = await asked("chunked", bytes=16)
    _, headers = await wire.head()
    assert ("chunked", False) == (headers["transfer-encoding"], "content-length" in headers)
    body, size = b"", -1
    while size:
        size = int(await wire.reader.readline(), 16)
        assert size <= 16
        body += (await wire.reader.readexactly(size + 2))[:-2]
    assert isinstance(json.loads(body), dict)
    wire.leave()


async def test_chunks_never_end(asked: Any) -> None:
    """One chunk with everything, and never the last."""
    wire = await asked("chunk_never_ends")
    await wire.head()
    size = int(await wire.reader.readline(), 16)
    assert isinstance(json.loads((await wire.reader.readexactly(size + 2))[:-2]), dict)
    assert await wire.is_silent()
    wire.leave()


async def test_the_size_of_a_chunk_is_no_number(asked: Any) -> None:
    """Where a size in hexadecimal has to stand, a word does."""
    wire = await asked("bad_chunk")
    await wire.head()
    assert (await wire.rest()).startswith(b"many\r\n{")
    wire.leave()


@pytest.mark.parametrize(("times", "encoding"), [(1, "gzip"), (2, "gzip, gzip")])
async def test_a_body_is_compressed(times: int, encoding: str, asked: Any) -> None:
    """Once, or twice over, as its header says."""
    wire = await asked("gzip", times=times)
    _, headers = await wire.head()
    body = await wire.rest()
    assert (encoding, len(body)) == (headers["content-encoding"], int(headers["content-length"]))
    for _ in range(times):
        body = gzip.decompress(body)
    assert isinstance(json.loads(body), dict)
    wire.leave()


async def test_a_small_body_unpacks_to_much(asked: Any) -> None:
    """Some kilobytes are twenty million spaces and then JSON, with a right checksum."""
    wire = await asked("gzip_bomb", megabytes=20)
    await wire.head()
    packed = await wire.rest()
    unpacked = zlib.decompress(packed, wbits=16 + zlib.MAX_WBITS)
    assert (True, True) == (len(packed) < 60_000, len(unpacked) > 20_000_000)
    assert isinstance(json.loads(unpacked), dict)
    wire.leave()


async def test_an_answer_is_of_http_1_0(asked: Any) -> None:
    """No length, no chunks: the end of the connection is the end of the body."""
    wire = await asked("http_1_0")
    status, headers = await wire.head()
    assert ("HTTP/1.0 200 OK", False) == (status, {"content-length", "transfer-encoding"} <= set(headers))
    assert isinstance(json.loads(await wire.rest()), dict)
    wire.leave()


async def test_informational_answers_come_first(asked: Any) -> None:
    """So many 103, then the answer."""
    wire = await asked("informational", count=40)
    assert ["HTTP/1.1 103 Early Hints"] * 40 == [(await wire.head())[0] for _ in range(40)]
    assert "HTTP/1.1 200 OK" == (await wire.head())[0]
    assert isinstance(json.loads(await wire.rest()), dict)
    wire.leave()


async def test_a_header_is_huge(asked: Any) -> None:
    """One header of the size that was asked for."""
    wire = await asked("huge_header", bytes=1_000_000)
    _, headers = await wire.head()
    assert 1_000_000 == len(headers["x-padding"])
    wire.leave()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("huge_json", {"megabytes": 2}),
        ("deep_json", {"depth": 200}),
        ("duplicate_keys", {}),
        ("nan_json", {}),
    ],
)
async def test_json_is_not_what_it_should_be(kind: str, fields: dict[str, int], asked: Any) -> None:
    """Padding, nesting, names that stand twice and NaN; Python's tolerant reader shows what was put in."""
    wire = await asked(kind, **fields)
    _, headers = await wire.head()
    text = await wire.reader.readexactly(int(headers["content-length"]))
    told = json.loads(text)
    if kind == "huge_json":
        assert 2_000_000 == len(told["padding"])
    elif kind == "deep_json":
        assert b"[" * 200 + b"]" * 200 in text
    elif kind == "duplicate_keys":
        names = [name for name, _ in json.loads(text, object_pairs_hook=list)]
        assert 2 == names.count("id")
        assert "00000000-0000-7000-8000-000000000000" != told["id"]
    else:
        assert math.isnan(told["ratio"])
    wire.leave()


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ("envelope", lambda told: told["message"]),
        ("nested", lambda told: told["error"]["message"]),
        ("flat", lambda told: told["error"]),
        ("detail", lambda told: told["detail"][0]["msg"]),
        ("history", lambda told: told["state"]["history"][-1]["message"]),
        ("message", lambda told: told["message"]),
    ],
)
async def test_an_error_is_written_in_each_shape(shape: str, read: Any, asked: Any) -> None:
    """The words stand where the clients of these services look for them."""
    wire = await asked("error_shape", shape=shape, status=422, message="no")
    status, headers = await wire.head()
    assert "HTTP/1.1 422 Unprocessable Entity" == status
    assert "no" == read(json.loads(await wire.reader.readexactly(int(headers["content-length"]))))
    wire.leave()


@pytest.mark.parametrize("shape", ["text", "multipart"])
async def test_an_error_is_written_as_text_or_as_a_form(shape: str, asked: Any) -> None:
    """Plain words, or a form with a job part that holds them."""
    wire = await asked("error_shape", shape=shape, message="no")
    _, headers = await wire.head()
    body = await wire.reader.readexactly(int(headers["content-length"]))
    assert ("text/plain" if shape == "text" else "multipart/form-data") == headers["content-type"].partition(";")[0]
    assert (b"no" == body) if shape == "text" else (b'"error":"no"' in body)
    wire.leave()


@pytest.mark.parametrize(
    ("fault", "answered"),
    [
        ({"kind": "chunked"}, True),
        ({"kind": "gzip"}, True),
        ({"kind": "informational"}, True),
        ({"kind": "http_1_0"}, True),
        ({"kind": "content_length", "delta": -1}, False),
        ({"kind": "gzip_bomb", "megabytes": 1}, False),
        ({"kind": "huge_header", "bytes": 100_000}, False),
        ({"kind": "headers_then_silence"}, False),
        ({"kind": "preamble", "bytes": 100}, False),
        ({"kind": "silence"}, None),
        ({"kind": "error_shape"}, None),
    ],
)
async def test_the_books_know_what_was_billed_and_what_came_whole(
    fault: dict[str, Any], answered: Any, control: Any, prodia: Any
) -> None:
    """A job is billed once its work is done, and answered where the whole reply came as it was meant."""
    await control.strike("prodia", fault)
    picture = await control.picture("desk")
    asking = asyncio.ensure_future(prodia.segment(picture, "pen"))
    await asyncio.wait((asking,), timeout=0.3)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    calls = [call["answered"] for call in await control.books()]
    assert ([] if answered is None else [answered]) == calls
