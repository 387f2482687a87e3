"""Uploads from processes of their own, so that it is not the client that is slow."""

import asyncio
import multiprocessing
import re
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import orjson

#: How much is handed to the socket at a time.
PIECE = 65_536


@dataclass(frozen=True, slots=True)
class Ending:
    """How one upload ended."""

    status: int
    """0 where the connection broke before the answer was read."""
    code: str | None
    seconds: float


def uploads(url: str, body: Path, content_type: str, *, count: int, processes: int) -> Iterator[Ending]:
    """
    Send *body* so many times at once; each client looks at its answer when it has sent all of it, and not before.

    Args:
        url: of the gateway.
        body: a file with the request's body.
        content_type: of it.
        count: in all, a multiple of *processes*.
        processes: that send them.
    """
    address = url.removeprefix("http://")
    head = (
        f"POST /v1/segmentations HTTP/1.1\r\nHost: {address}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {body.stat().st_size}\r\n\r\n"
    )
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        work = [pool.submit(_in_one_process, address, head, body, count // processes) for _ in range(processes)]
        for each in work:
            yield from each.result()


def _in_one_process(address: str, head: str, body: Path, count: int) -> list[Ending]:
    data = memoryview(body.read_bytes())

    async def all_of_them() -> list[Ending]:
        return await asyncio.gather(*(_upload(address, head.encode("ascii"), data) for _ in range(count)))

    return asyncio.run(all_of_them())


async def _upload(address: str, head: bytes, data: memoryview) -> Ending:
    host, _, port = address.rpartition(":")
    started = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head)
        for start in range(0, len(data), PIECE):
            writer.write(data[start : start + PIECE])
            await writer.drain()
        said = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", said)
        answer = await reader.readexactly(int(length[1]) if length else 0)
        writer.close()
    except (OSError, asyncio.IncompleteReadError):
        return Ending(0, None, time.monotonic() - started)
    return Ending(int(said[9:12]), orjson.loads(answer).get("code"), time.monotonic() - started)
