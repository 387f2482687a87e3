"""How faults bring a processed answer to the client, or do not: what HTTP does not allow is written by hand."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NoReturn

from aiohttp import web

from providers.sandbox.answer import Answer
from providers.sandbox.faults import Fault, Kind

_WHOLE = frozenset({Kind.DRIP, Kind.CHUNKED, Kind.GZIP, Kind.HTTP_1_0, Kind.INFORMATIONAL})
"""The deliveries in which the whole answer comes, to a client that reads on."""

_MEGABYTE = 1_000_000


async def deliver(
    request: web.Request, answer: Answer, fault: Fault, *, came: Callable[[], None]
) -> web.StreamResponse:
    """
    Send *answer* as *fault* does; call *came* once the client has got the whole of it.

    Where it stays silent, or has written by hand on the connection, it waits for the end of the connection, which ends
    it by cancellation.
    """
    body = answer.body if isinstance(answer.body, bytes) else b""
    stream = await _DELIVERIES[fault.kind](request, answer, body, fault)
    if fault.kind in _WHOLE:
        came()
    if stream is None:
        await until_gone()
    return stream


async def reset(request: web.Request) -> NoReturn:
    """End the connection with a RST instead of a FIN."""
    transport = request.transport
    if transport is not None:
        wire = transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    await until_gone()


async def until_gone() -> NoReturn:
    """Wait until the client has left, which cancels the call."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets this event")


class _Stream(web.StreamResponse):
    """An answer that is written piece by piece."""

    def __init__(self, answer: Answer, length: int | None = None) -> None:
        """Start with the head of *answer*; the body is of *length* bytes, or in chunks."""
        super().__init__(status=answer.status, headers=answer.headers)
        if length is None:
            self.enable_chunked_encoding()
        else:
            self.content_length = length


def _head(answer: Answer, *, version: str = "1.1", **headers: str) -> bytes:
    """Return status line and headers of *answer*; further ones are named with `_` for `-`."""
    lines = [f"HTTP/{version} {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items() if name.lower() != "content-length"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _write(request: web.Request, *pieces: bytes) -> None:
    """Put bytes on the wire as they are."""
    transport = request.transport
    if transport is not None and not transport.is_closing():
        transport.writelines(pieces)


def _close(request: web.Request) -> None:
    """Close the connection once everything is on the wire."""
    if request.transport is not None:
        request.transport.close()


async def _reset(request: web.Request, _answer: Answer, _body: bytes, _fault: Fault) -> None:
    await reset(request)


async def _lose(_request: web.Request, _answer: Answer, _body: bytes, _fault: Fault) -> None:
    await until_gone()


async def _headers_only(request: web.Request, answer: Answer, body: bytes, _fault: Fault) -> None:
    _write(request, _head(answer, Content_Length=str(len(body))))
    await until_gone()


async def _cut(request: web.Request, answer: Answer, body: bytes, _fault: Fault) -> None:
    _write(request, _head(answer, Content_Length=str(len(body))), body[: len(body) // 2])
    _close(request)
    await until_gone()


async def _drip(request: web.Request, answer: Answer, body: bytes, fault: Fault) -> _Stream:
    stream = _Stream(answer, len(body))
    await stream.prepare(request)
    tenth = max(1, fault["bytes_per_second"] // 10)
    for start in range(0, len(body), tenth):
        if start:
            await asyncio.sleep(tenth / fault["bytes_per_second"])
        await stream.write(body[start : start + tenth])
    await stream.write_eof()
    return stream


async def _content_length(request: web.Request, answer: Answer, body: bytes, fault: Fault) -> None:
    _write(request, _head(answer, Content_Length=str(max(0, len(body) + fault["delta"])), Connection="close"), body)
    _close(request)


async def _chunked(request: web.Request, answer: Answer, body: bytes, fault: Fault) -> _Stream:
    stream = _Stream(answer)
    await stream.prepare(request)
    for start in range(0, len(body), fault["bytes"]):
        await stream.write(body[start : start + fault["bytes"]])
    await stream.write_eof()
    return stream


async def _never_ends(request: web.Request, answer: Answer, body: bytes, _fault: Fault) -> None:
    _write(request, _head(answer, Transfer_Encoding="chunked"), b"%x\r\n" % len(body), body, b"\r\n")
    await until_gone()


async def _bad_chunk(request: web.Request, answer: Answer, body: bytes, _fault: Fault) -> None:
    _write(request, _head(answer, Transfer_Encoding="chunked"), b"many\r\n", body, b"\r\n0\r\n\r\n")
    _close(request)


async def _gzip(request: web.Request, answer: Answer, body: bytes, fault: Fault) -> None:
    packed = body
    for _ in range(fault["times"]):
        packed = gzip.compress(packed, 1)
    encoding = ", ".join(["gzip"] * fault["times"])
    head = _head(answer, Content_Encoding=encoding, Content_Length=str(len(packed)), Connection="close")
    _write(request, head, packed)
    _close(request)


async def _bomb(request: web.Request, answer: Answer, body: bytes, fault: Fault) -> None:
    """
    Send spaces, and the true body after them.

    A million spaces are packed once: after a full flush the packer knows nothing of what was before, so the same
    packed bytes stand for each further million.
    """
    spaces = b" " * _MEGABYTE
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(spaces) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    _write(request, _head(answer, Content_Encoding="gzip", Connection="close"), b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
    for _ in range(fault["megabytes"]):
        checksum = zlib.crc32(spaces, checksum)
        _write(request, block)
        await asyncio.sleep(0)
    length = fault["megabytes"] * _MEGABYTE + len(body)
    end = packer.compress(body) + packer.flush(zlib.Z_FINISH)
    _write(request, end, zlib.crc32(body, checksum).to_bytes(4, "little"), (length % 2**32).to_bytes(4, "little"))
    _close(request)


async def _http_1_0(request: web.Request, answer: Answer, body: bytes, _fault: Fault) -> None:
    _write(request, _head(answer, version="1.0"), body)
    _close(request)


async def _informational(request: web.Request, answer: Answer, body: bytes, fault: Fault) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    _write(request, early * fault["count"], _head(answer, Content_Length=str(len(body)), Connection="close"), body)
    _close(request)


async def _huge_header(request: web.Request, answer: Answer, body: bytes, fault: Fault) -> None:
    head = _head(answer, Content_Length=str(len(body)), Connection="close", X_Padding="x" * fault["bytes"])
    _write(request, head, body)
    _close(request)


_DELIVERIES: Mapping[Kind, Callable[[web.Request, Answer, bytes, Fault], Awaitable[_Stream | None]]] = {
    Kind.RESET_AFTER: _reset,
    Kind.LOST_ANSWER: _lose,
    Kind.HEADERS_THEN_SILENCE: _headers_only,
    Kind.CUT_BODY: _cut,
    Kind.DRIP: _drip,
    Kind.CONTENT_LENGTH: _content_length,
    Kind.CHUNKED: _chunked,
    Kind.CHUNK_NEVER_ENDS: _never_ends,
    Kind.BAD_CHUNK: _bad_chunk,
    Kind.GZIP: _gzip,
    Kind.GZIP_BOMB: _bomb,
    Kind.HTTP_1_0: _http_1_0,
    Kind.INFORMATIONAL: _informational,
    Kind.HUGE_HEADER: _huge_header,
}
