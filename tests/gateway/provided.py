"""The providers of this tree, as a gateway builds them, for tests that call none of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from providers.contract import Means, Provider
from providers.fetch import GuardedFetcher
from providers.registry import build_providers
from providers.transport import HttpUpstream
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders


@asynccontextmanager
async def providers_built() -> AsyncIterator[Mapping[str, Provider]]:
    """Build every provider, and close them with the block."""
    async with AsyncExitStack() as stack:
        workers = ThreadWorkers(threads=1, queue=0)
        stack.callback(workers.close)
        upstream, fetcher = HttpUpstream(time.monotonic), GuardedFetcher(time.monotonic)
        stack.push_async_callback(upstream.close)
        stack.push_async_callback(fetcher.close)
        means = Means(
            upstream=upstream,
            fetcher=fetcher,
            workers=workers,
            decoders=shared_decoders(),
            clock=time.monotonic,
            sleep=asyncio.sleep,
        )
        providers = build_providers(means)
        for provider in providers.values():
            stack.push_async_callback(provider.close)
        yield providers
