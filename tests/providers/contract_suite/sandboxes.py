"""A sandbox in a thread and an event loop of its own, so that what a test leaves behind in its own loop can be seen."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from providers.sandbox import Sandbox
from providers.workers import ThreadWorkers

_PATIENCE_SECONDS = 60
_THREADS = 2
_TURNS = 10


class RunningSandbox:
    """A sandbox as its clients see it: addresses, faults and books."""

    def __init__(self, sandbox: Sandbox) -> None:
        """Speak to *sandbox* over its control server."""
        self.control_url = sandbox.control_url
        self.upstreams = dict(sandbox.upstreams)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @property
    def addresses(self) -> list[str]:
        """Every `host:port` of it."""
        return [urlsplit(url).netloc for url in (self.control_url, *self.upstreams.values())]

    @property
    def ports(self) -> set[int]:
        """Every port of it."""
        return {int(address.rpartition(":")[2]) for address in self.addresses}

    def picture_url(self, scene: str) -> str:
        """Return where the picture of a scene is."""
        return f"{self.control_url}/scenes/{scene}.png"

    def strike(self, upstream: str, fault: dict[str, Any]) -> None:
        """Switch one fault on."""
        self._ask("PUT", f"/upstreams/{upstream}/fault", fault)

    def heal(self, upstream: str) -> None:
        """Switch all faults of an upstream off."""
        self._ask("DELETE", f"/upstreams/{upstream}/fault")

    def books(self, upstream: str) -> list[dict[str, Any]]:
        """Return the billed calls of an upstream, oldest first."""
        calls: list[dict[str, Any]] = self._ask("GET", f"/books?upstream={upstream}")["calls"]
        return calls

    def requests(self, upstream: str) -> dict[str, int]:
        """Return how many requests have come to an upstream, by the name of the call."""
        counted: dict[str, int] = self._ask("GET", f"/upstreams/{upstream}/requests")["requests"]
        return counted

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control_url + path, data=data, method=method)
        with self._opener.open(request, timeout=_PATIENCE_SECONDS) as answer:
            return json.load(answer)


async def _stop(sandbox: Sandbox) -> None:
    """Let the loop take what has connected last: a connection that is only half taken would be left open."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    await sandbox.stop()


class SandboxThread:
    """The thread in which sandboxes run, one after another."""

    def __init__(self) -> None:
        """Start the thread and its loop."""
        self._workers = ThreadWorkers(threads=_THREADS, queue=1000)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sandbox", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start_workers(), self._loop).result(_PATIENCE_SECONDS)

    @contextmanager
    def sandbox(self) -> Iterator[RunningSandbox]:
        """Run a new sandbox on free ports while the block runs."""
        started = asyncio.run_coroutine_threadsafe(Sandbox.start(workers=self._workers), self._loop)
        sandbox = started.result(_PATIENCE_SECONDS)
        try:
            yield RunningSandbox(sandbox)
        finally:
            asyncio.run_coroutine_threadsafe(_stop(sandbox), self._loop).result(_PATIENCE_SECONDS)

    async def _start_workers(self) -> None:
        """Start every worker now, so that no thread appears in the middle of a test that counts them."""
        all_there = threading.Barrier(_THREADS)
        await asyncio.gather(*(self._workers.run(all_there.wait, pixels=10**9) for _ in range(_THREADS)))

    def end(self) -> None:
        """End the loop and the threads."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_SECONDS)
        self._loop.close()
        self._workers.close()
