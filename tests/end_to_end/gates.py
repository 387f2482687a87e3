"""TCP proxies that stop a conversation at a chosen point, so that whoever speaks can be killed exactly there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

HOST = "127.0.0.1"
_HEAD_END = b"\r\n\r\n"


class Point(Enum):
    """Where an exchange over HTTP can be stopped."""

    CONNECTED = "the connection is accepted, and nothing is read from it"
    REQUEST = "the whole request has arrived, and is not passed on"
    ANSWER = "the whole answer has arrived, and is not passed on"
    MIDDLE = "half of the answer is passed on"
    PASSED = "the whole answer is passed on"


@dataclass(slots=True)
class Trap:
    """Stops the first exchange that it is meant for."""

    point: Point
    meant_for: Callable[[bytes], bool]
    """Told the request's first line; of a new connection, nothing."""
    sprung: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)


class Door:
    """Listens on a port of its own and serves each connection in a task; subclasses say how."""

    def __init__(self) -> None:
        """Prepare; `open` listens."""
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0

    async def open(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, HOST, self.port, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse and end all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.drop()

    async def drop(self) -> None:
        """End all connections."""
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            with contextlib.suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.transport.abort()
            del self._connections[task]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class HttpGate(Door):
    """Stands before a server of HTTP/1.1, and passes one whole message after the other on."""

    def __init__(self, upstream_port: int) -> None:
        """Stand before a server on this machine."""
        super().__init__()
        self._upstream_port = upstream_port
        self._traps: list[Trap] = []
        self._clog: list[socket.socket] = []

    def trap(self, point: Point, meant_for: Callable[[bytes], bool] = lambda _: True) -> Trap:
        """Stop the first exchange of that kind at that point."""
        trap = Trap(point, meant_for)
        self._traps.append(trap)
        return trap

    async def reset(self) -> None:
        """Forget the traps, end all connections, and accept new ones."""
        self._traps.clear()
        await self.drop()
        if self._clog:
            for each in self._clog:
                each.close()
            self._clog.clear()
            await self.open()

    async def clog(self) -> None:
        """Accept no connection any more: whoever wants one waits for it, as before a server that is too busy."""
        await self.close()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self.port))
        listener.listen(0)
        self._clog.append(listener)
        for _ in range(4):  # one has its place in the queue; those behind it fill what the kernel allows beyond that
            waiting = socket.socket()
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect((HOST, self.port))
            self._clog.append(waiting)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._reached(Point.CONNECTED, b"")
        upstream_reader, upstream = await asyncio.open_connection(HOST, self._upstream_port, limit=2**24)
        try:
            while True:
                first = await reader.readexactly(1)
                await self._reached(Point.CONNECTED, b"")  # a kept connection is as good as one that was just accepted
                request = first + await read_message(reader)
                line = request.partition(b"\r\n")[0]
                await self._reached(Point.REQUEST, line)
                upstream.write(request)
                answer = await read_message(upstream_reader)
                await self._reached(Point.ANSWER, line)
                middle = len(answer) // 2
                writer.write(answer[:middle])
                await writer.drain()
                await self._reached(Point.MIDDLE, line)
                writer.write(answer[middle:])
                await writer.drain()
                await self._reached(Point.PASSED, line)
        finally:
            upstream.transport.abort()

    async def _reached(self, point: Point, line: bytes) -> None:
        """Stop here if a trap says so."""
        for trap in self._traps:
            if trap.point is point and trap.meant_for(line):
                self._traps.remove(trap)
                trap.sprung.set()
                await trap.released.wait()
                return


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """
    Return a whole request or answer of HTTP/1.1, to the byte.

    Raises:
        asyncio.IncompleteReadError: the other side has gone before its end.
    """
    head = await reader.readuntil(_HEAD_END)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n"))
    }
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return head + await _read_chunks(reader)
    return head + await reader.readexactly(int(headers.get(b"content-length", b"0")))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(size, 16) + 2)
        chunks += size + chunk
        if int(size, 16) == 0:
            return chunks


class CommitGate(Door):
    """Stands before PostgreSQL, and can stop the COMMIT of a transaction in which a marker was sent."""

    def __init__(self, upstream_port: int) -> None:
        """Stand before a server on this machine."""
        super().__init__()
        self._upstream_port = upstream_port
        self._marker: bytes | None = None
        self._keeps_answer = False
        self._sprung = asyncio.Event()

    def hold(self, marker: str, *, after: bool = False) -> asyncio.Event:
        """
        Stop the next COMMIT of that kind.

        Args:
            marker: what the client sends in the transaction.
            after: let the server have it, and keep its answer from the client.

        Returns:
            Set as soon as it is stopped; with *after*, when the server has committed.
        """
        self._marker, self._keeps_answer, self._sprung = marker.encode(), after, asyncio.Event()
        return self._sprung

    async def reset(self) -> None:
        """Stop nothing any more, and end all connections."""
        self._marker = None
        await self.drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection(HOST, self._upstream_port)
        answers = asyncio.create_task(_pass_on(upstream_reader, writer))
        marked = False
        try:
            while data := await reader.read(65_536):
                marked = marked or (self._marker is not None and self._marker in data)
                if b"COMMIT;" in data and marked:
                    self._marker = None
                    if self._keeps_answer:
                        await _stop(answers)
                        upstream.write(data)
                        assert b"COMMIT" in await upstream_reader.read(65_536), "the server has not committed"
                    self._sprung.set()
                    await asyncio.Event().wait()  # until the connection is ended
                marked = marked and b"ROLLBACK;" not in data
                upstream.write(data)
        finally:
            upstream.transport.abort()  # first, since whoever ends all connections may cancel an end that is under way
            answers.cancel()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.transport.abort()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
