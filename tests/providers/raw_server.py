"""A loopback server that answers in raw bytes: whole, cut, late, slow or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A loopback server that does what a script says, and notes what it was sent."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = 0
        self.requests: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen on a free port and return it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """End the server and every conversation."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request to its end and note it."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        request = head + await reader.readexactly(length)
        self.requests.append(request)
        return request

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._script(reader, writer)
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(script: Callable[[Server], Script]) -> AsyncIterator[tuple[Server, str]]:
    """Serve while the block runs, and give the server and its base URL."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script(server)(reader, writer)

    server = Server(play)
    port = await server.start()
    try:
        yield server, f"http://127.0.0.1:{port}"
    finally:
        await server.stop()


def answering(*parts: bytes, then: str = "wait", seconds_between: float = 0.0) -> Callable[[Server], Script]:
    """Read a request, send the parts, then `wait` for ever, close (`fin`), reset (`rst`) or read on (`again`)."""

    def make(server: Server) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await server.read_request(reader)
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(seconds_between)
                if then == "again":
                    continue
                if then == "wait":
                    await asyncio.Event().wait()
                if then == "rst":
                    connection = writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                writer.close()
                await writer.wait_closed()
                return

        return script

    return make


def whole(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> bytes:
    """Return the bytes of one whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
