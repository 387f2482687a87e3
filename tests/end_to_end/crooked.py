"""
A crooked way to an upstream of the sandbox: calls go through it whole, and one kind of call gets another answer.

The upstream behind it does its work and keeps its books as ever, so that what a bent answer costs is really billed.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from http.client import responses
from typing import Any

import aiohttp

#: Header fields that belong to one connection, and are not passed on.
_OWN_FIELDS = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"}


@dataclass(frozen=True, slots=True)
class Genuine:
    """An upstream's true answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name."""
    body: bytes = b""
    target: str = ""
    """What was asked for: path and query."""

    @property
    def kind(self) -> str:
        """Its media type with the parameters."""
        return self.headers.get("content-type", "")

    def head(self, *, version: str = "HTTP/1.1", length: int | None = None, extra: Iterable[str] = ()) -> bytes:
        """Return the head of a message; without a length the body ends with the connection."""
        lines = [f"{version} {self.status} {responses.get(self.status, 'Unknown')}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [] if length is None else [f"Content-Length: {length}"]
        return "\r\n".join([*lines, *extra, "", ""]).encode("latin-1")

    def message(self) -> bytes:
        """Return the whole answer as it goes over the wire."""
        return self.head(length=len(self.body)) + self.body


class End(Enum):
    """What becomes of the connection after an answer."""

    CLOSE = "close"
    RESET = "reset"
    SILENCE = "silence"


Bend = Callable[[Genuine], bytes]
"""Returns the bytes that are sent in the place of the true answer."""


@dataclass(frozen=True, slots=True)
class Twist:
    """What is done to the answers of one kind of call."""

    on: str
    """`create`, `poll`, `run`, `upload`, `download` or `job`."""
    bend: Bend
    processed: bool = True
    """Whether the upstream hears of the call at all; where it does not, there is no true answer."""
    then: End = End.CLOSE
    bytes_per_second: int | None = None
    times: int | None = None
    """How many calls are struck; None for all of them."""


def step_of(method: str, path: str) -> str:
    """Return what kind of call it is."""
    plain = path.partition("?")[0]
    if method == "POST":
        if plain.endswith("/v2/job"):
            return "job"
        return "create" if plain.endswith("/runs") else "run"
    if method == "PUT":
        return "upload"
    if plain.startswith("/outputs/"):
        return "download"
    return "poll" if plain.startswith("/v1/runs/") else "other"


class Crooked:
    """The way to one upstream."""

    def __init__(self, upstream: str, twist: Twist | None) -> None:
        """Lead to the upstream at the origin *upstream*, by way of *twist*."""
        self._upstream = upstream
        self._twist = twist
        self._left = twist.times if twist is not None else 0
        self._tasks: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """Listen on a free port while the block lasts, and give the port."""
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as self._session:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            try:
                yield server.sockets[0].getsockname()[1]
            finally:
                server.close()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                await self._pass(reader, writer)
            except aiohttp.ClientError:  # the upstream broke off, and so does the way to it
                _reset(writer)
        writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one call on, and its answer back."""
        line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        method, path, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        twist = self._striking(step_of(method, path))
        if twist is None:
            await _send(writer, (await self._ask(method, path, headers, body)).message())
            await _close(writer)
            return
        genuine = await self._ask(method, path, headers, body) if twist.processed else Genuine()
        await _send(writer, twist.bend(replace(genuine, target=path)), twist.bytes_per_second)
        if twist.then is End.SILENCE:
            await reader.read()  # until the other side leaves
        elif twist.then is End.RESET:
            _reset(writer)
        else:
            await _close(writer)

    def _striking(self, step: str) -> Twist | None:
        """Return the twist if it strikes this call."""
        if self._twist is None or self._twist.on != step or self._left == 0:
            return None
        if self._left is not None:
            self._left -= 1
        return self._twist

    async def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Genuine:
        """Return the upstream's true answer; it sees the host that the caller named, and builds its addresses of it."""
        passed = {name: value for name, value in headers.items() if name not in _OWN_FIELDS}
        passed["host"] = headers["host"]
        async with self._session.request(
            method, self._upstream + path, headers=passed, data=body, allow_redirects=False
        ) as answer:
            kept = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in _OWN_FIELDS}
            return Genuine(answer.status, kept, await answer.read())


def _reset(writer: asyncio.StreamWriter) -> None:
    """Have the connection end with a RST."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _send(writer: asyncio.StreamWriter, data: bytes, bytes_per_second: int | None = None) -> None:
    """Send all at once, or drip by drip: ten drops a second."""
    drop = len(data) if bytes_per_second is None else max(1, bytes_per_second // 10)
    for start in range(0, len(data), drop or 1):
        writer.write(data[start : start + drop])
        await writer.drain()
        if bytes_per_second is not None:
            await asyncio.sleep(0.1)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close once everything is sent."""
    writer.close()
    await writer.wait_closed()
