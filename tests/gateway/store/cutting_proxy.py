"""A TCP proxy before PostgreSQL that can cut a connection around a COMMIT, or be gone altogether."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum


class Cut(Enum):
    """Where the next COMMIT is cut."""

    NEVER = "never"
    BEFORE = "before the server has it"
    AFTER = "after the server has answered it, before the client hears"


class CuttingProxy:
    """Listens on 127.0.0.1 and passes bytes on."""

    def __init__(self, upstream_port: int) -> None:
        """Stand before a server on this machine."""
        self._upstream_port = upstream_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cut = Cut.NEVER
        """What happens to the next COMMIT; then it is `NEVER` again."""
        self.cuts = 0
        self.stays_away = False
        """Whether a cut also ends the proxy, until `start`."""

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse and end all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        others = self._connections - {asyncio.current_task()}
        for connection in others:
            connection.cancel()
        if others:
            await asyncio.wait(others)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        answers = asyncio.create_task(self._pass_on(upstream_reader, writer))
        with contextlib.suppress(asyncio.CancelledError, OSError):
            while data := await reader.read(65536):
                if self.cut is not Cut.NEVER and b"COMMIT;" in data:
                    await self._sever(data, upstream_reader, upstream, answers)
                    break
                upstream.write(data)
        answers.cancel()
        for end in (writer, upstream):
            end.transport.abort()
        self._connections.discard(task)

    async def _sever(
        self,
        data: bytes,
        upstream_reader: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
        answers: asyncio.Task[None],
    ) -> None:
        cut, self.cut = self.cut, Cut.NEVER
        self.cuts += 1
        answers.cancel()
        await asyncio.wait({answers})
        if cut is Cut.AFTER:
            upstream.write(data)
            assert b"COMMIT" in await upstream_reader.read(65536), "the server has not committed"
        if self.stays_away:
            await self.stop()

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.transport.abort()
