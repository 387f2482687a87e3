"""
Regions of one provider, each on a port of its own, that die as they are told to.

`python -m tests.benchmarks.regions --control PORT --region NAME=PORT ...` serves them.

Why not the sandbox: it reads pictures and draws masks, which takes longer than what is measured here, and its answers
leave through a server that does not say when. Here a call costs tens of microseconds, and since asyncio hands a short
answer to the kernel before `write` returns, the moment after that is the moment at which it has left.

The third port takes one JSON object a line and answers each with one: `{"region": "near", "way": "fail"}` changes a
region, and `{"calls": true}` returns the calls since it was last asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import select
import socket
import time
from collections.abc import Sequence
from enum import StrEnum

import httptools

from tests.benchmarks import question

#: How long a region that is well works on a call.
WORK_SECONDS = 0.02
#: A region that stumbles fails every third call: often enough to be measured, too seldom for a breaker.
STUMBLES_EVERY = 3
#: Connections that fill a backlog of 0, and some more.
FILLING = 8
_NUMBER = re.compile(rb'"prompt": ?"[a-z]+ (\d+)"')


class Way(StrEnum):
    """How a region takes calls."""

    ANSWER = "answer"
    STUMBLE = "stumble"
    """Every third call is answered 500, after as long as the others: what ends in a row has then begun in a row."""
    FAIL = "fail"
    """Every call is answered 500, at once."""
    REFUSE = "refuse"
    """Nothing listens on its port, and connections that were open are cut."""
    SWALLOW = "swallow"
    """As before, and connections that are begun never come to be: their first packet is thrown away."""


class Region:
    """One region."""

    def __init__(self, name: str, port: int) -> None:
        """Begin without a socket; `change` opens one."""
        self.name = name
        self.port = port
        self.way = Way.REFUSE
        self.exchanges: set[Exchange] = set()
        self.calls: list[tuple[str, int, float, float | None, int | None]] = []
        self.taken = 0
        self._server: asyncio.Server | None = None
        self._hole: list[socket.socket] = []

    async def change(self, way: Way) -> None:
        """Take calls in another way from now on."""
        listens = way not in {Way.REFUSE, Way.SWALLOW}
        if self._server is not None and not listens:
            self._server.close()
            self._server = None
            for exchange in tuple(self.exchanges):
                exchange.cut()
        for end in self._hole:
            end.close()
        self._hole = hole(self.port) if way is Way.SWALLOW else []
        if self._server is None and listens:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: Exchange(self), "127.0.0.1", self.port, backlog=1024)
        self.way = way

    def verdict(self) -> int:
        """Return the status with which the call that has just come is answered."""
        self.taken += 1
        stumbles = self.way is Way.STUMBLE and self.taken % STUMBLES_EVERY == 0
        return 500 if stumbles or self.way is Way.FAIL else 200


def hole(port: int) -> list[socket.socket]:
    """
    Return the sockets that make a port a black hole for as long as they are open: its backlog of nought is full.

    Linux throws the first packet of a connection away when the queue of those not yet accepted is full.
    Source: listen(2) and tcp(7), tcp_abort_on_overflow, read 2026-11.

    Raises:
        RuntimeError: every connection comes to be.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(0)
    ends = [listening]
    for _ in range(FILLING):
        end = socket.socket()
        ends.append(end)
        end.setblocking(False)
        end.connect_ex(("127.0.0.1", port))
    _, made, _ = select.select([], ends[1:], [], 0)
    if len(made) == FILLING:
        raise RuntimeError("a backlog of 0 took every connection; this system has no black hole to measure with")
    return ends


class Exchange(asyncio.Protocol):
    """One connection: requests one after another, each with its answer."""

    def __init__(self, region: Region) -> None:
        """Belong to a region."""
        self._region = region
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._transport: asyncio.Transport | None = None
        self._waiting: tuple[int, float, asyncio.TimerHandle] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._region.exchanges.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        """Note a call that will have no answer."""
        self._region.exchanges.discard(self)
        if self._waiting is not None:
            number, arrived, timer = self._waiting
            timer.cancel()
            self._region.calls.append((self._region.name, number, arrived, None, None))

    def cut(self) -> None:
        """Break the connection off."""
        assert self._transport is not None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Collect what the question's number stands in."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer now, or after the time that the work takes."""
        arrived = time.monotonic()
        named = _NUMBER.search(self._body)
        number = int(named.group(1)) if named else -1
        self._body = bytearray()
        status = self._region.verdict()
        if self._region.way is Way.FAIL:
            self._reply(number, arrived, status)
        else:
            timer = asyncio.get_running_loop().call_later(WORK_SECONDS, self._reply, number, arrived, status)
            self._waiting = number, arrived, timer

    def _reply(self, number: int, arrived: float, status: int) -> None:
        assert self._transport is not None
        self._waiting = None
        self._transport.write(_REPLIES[status])
        left = time.monotonic()
        self._region.calls.append((self._region.name, number, arrived, left, status))


def _written(status: int, reason: str, media_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_REPLIES = {
    200: _written(200, "OK", f"multipart/form-data; boundary={question.BOUNDARY}", question.upstream_answer()),
    500: _written(500, "Internal Server Error", "application/json", b'{"message": "this region is down"}'),
}


async def serve(regions: Sequence[Region], *, control_port: int) -> None:
    """Serve until cancelled."""
    by_name = {region.name: region for region in regions}
    for region in regions:
        await region.change(Way.ANSWER)

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            asked = json.loads(line)
            answer: list[object] = []
            if "region" in asked:
                await by_name[asked["region"]].change(Way(asked["way"]))
            else:
                for region in regions:
                    answer += region.calls
                    region.calls.clear()
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(obey, "127.0.0.1", control_port)
    await server.serve_forever()


def main() -> None:
    """Serve the regions that are named."""
    parser = argparse.ArgumentParser(description="Serve regions that die as they are told to.")
    parser.add_argument("--control", type=int, required=True, metavar="PORT")
    parser.add_argument("--region", action="append", required=True, metavar="NAME=PORT")
    asked = parser.parse_args()
    named = [each.partition("=") for each in asked.region]
    asyncio.run(serve([Region(name, int(port)) for name, _, port in named], control_port=asked.control))


if __name__ == "__main__":
    main()
