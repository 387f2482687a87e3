"""Real means for tests of adapters: our transport, our fetcher and our threads, and a server on loopback to talk to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import cv2
import numpy as np
from aiohttp import web

from providers.contract import Bitmap, Means, Picture
from providers.fetch import GuardedFetcher
from providers.transport import HttpUpstream
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Serve *app* on a free port of loopback while the block runs, and give its base URL."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def real_means(base_url: str) -> AsyncIterator[Means]:
    """Give means that may fetch from *base_url* although it is on loopback, and close them after the block."""
    upstream = HttpUpstream(time.monotonic)
    fetcher = GuardedFetcher(time.monotonic, allow=[base_url.removeprefix("http://")])
    workers = ThreadWorkers(threads=2, queue=64)
    try:
        yield Means(upstream, fetcher, workers, shared_decoders(), time.monotonic, asyncio.sleep)
    finally:
        await upstream.close()
        await fetcher.close()
        workers.close()


def disc(size: tuple[int, int], *, x: int, y: int, radius: int) -> Bitmap:
    """Return a `(height, width)` array with a disc of 1."""
    bitmap = np.zeros(size, np.uint8)
    cv2.circle(bitmap, (x, y), radius, 1, -1)
    return bitmap


def file_of(bitmap: Bitmap, kind: str = ".png") -> bytes:
    """Return a bitmap as a file of 0 and 255."""
    return bytes(cv2.imencode(kind, bitmap * np.uint8(255))[1])


def picture_of(size: tuple[int, int], *, url: str | None = None) -> Picture:
    """Return a grey PNG picture of that `(height, width)`."""
    data = file_of(np.ones(size, np.uint8))
    return Picture(data, "image/png", size[1], size[0], "blake3:test", url)
