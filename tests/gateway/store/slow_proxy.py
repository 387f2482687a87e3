"""A TCP proxy on this machine that passes bytes on as late as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self


class SlowProxy:
    """Listens on 127.0.0.1 before a server on this machine."""

    def __init__(self, upstream_port: int) -> None:
        """Stand before a server."""
        self._upstream_port = upstream_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        self.seconds = 0.0
        """By how much each answer comes late."""

    @property
    def url(self) -> str:
        """Its address, where the server is a Redis."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all connections."""
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        ways = [
            asyncio.create_task(self._pass_on(reader, upstream, late=False)),
            asyncio.create_task(self._pass_on(upstream_reader, writer, late=True)),
        ]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        for end in (writer, upstream):
            end.transport.abort()
        self._connections.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if late:
                    await asyncio.sleep(self.seconds)
                writer.write(data)
