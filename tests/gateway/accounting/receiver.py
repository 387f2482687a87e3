"""A server that webhooks are sent to, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes


@dataclass(slots=True)
class Receiver:
    """Answers with the statuses that it was given, and with the last one ever after."""

    statuses: list[int] = field(default_factory=lambda: [200])
    received: list[Received] = field(default_factory=list)
    extra: bytes = b""
    """The body of each answer."""
    url: str = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Receiver]:
        """Listen on a free port of loopback while the block lasts."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/alerts?team=ops"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append(Received(method, path, headers, body))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        writer.write(
            f"HTTP/1.1 {status} Told\r\nlocation: /elsewhere\r\nconnection: close\r\n"
            f"content-length: {len(self.extra)}\r\n\r\n".encode()
            + self.extra
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
