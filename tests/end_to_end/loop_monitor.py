"""
How long the gateway's event loop was kept from its next task: by work on it, or by work that held Python's lock.

Left out is the time in which the loop was ready to go on and had no core to do so: that is the machine's business, and
whoever else runs on it.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import Any

from fastapi import FastAPI

from gateway.sandboxed import RunningSandbox

#: How often the loop is asked whether it is there, in seconds.
TICK_SECONDS = 0.001

#: A sandbox in a process of its own, so that its work is not taken for the gateway's; it ends with its input.
SANDBOX = """
import json, sys
from dataclasses import asdict
from gateway.sandboxed import sandbox_running
with sandbox_running() as sandbox:
    print(json.dumps(asdict(sandbox)), flush=True)
    sys.stdin.read()
"""


class LoopMonitor:
    """Looks in on one event loop."""

    def __init__(self) -> None:
        """Have seen nothing yet."""
        self.longest_ms = 0.0
        """The longest time, in milliseconds, that the loop was late since this was last set to zero."""

    def watched(self, app: FastAPI) -> FastAPI:
        """Have *app* watched while it runs, on the loop that it runs on; it is changed in place, and returned."""
        lifespan = app.router.lifespan_context

        @asynccontextmanager
        async def watched(served: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
            async with lifespan(served) as state:
                watch = asyncio.create_task(self._watch())
                yield state or {}
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch

        app.router.lifespan_context = watched
        return app

    async def _watch(self) -> None:
        """Note by how much each short sleep was too long."""
        with closing(_Queued()) as queued:
            while True:
                waited, before = queued.seconds(), time.perf_counter()
                await asyncio.sleep(TICK_SECONDS)
                late = time.perf_counter() - before - TICK_SECONDS
                if late * 1000 > self.longest_ms:
                    late -= queued.seconds() - waited
                    self.longest_ms = max(self.longest_ms, late * 1000)


class _Queued:
    """How long this thread has been ready to run without a core."""

    def __init__(self) -> None:
        """Find where the kernel counts it; where it does not, nothing is left out."""
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)

    def seconds(self) -> float:
        """Return it, since the thread began. Source: https://docs.kernel.org/scheduler/sched-stats.html."""
        if self._file is None:
            return 0.0
        return int(os.pread(self._file, 100, 0).split()[1]) / 1e9  # one call: each may wait for Python's lock

    def close(self) -> None:
        """Close the kernel's file."""
        if self._file is not None:
            os.close(self._file)


@contextmanager
def sandbox_process() -> Iterator[RunningSandbox]:
    """Run a sandbox as a process of its own while the block lasts."""
    with subprocess.Popen(
        [sys.executable, "-c", SANDBOX], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield RunningSandbox(**json.loads(process.stdout.readline()))
        process.communicate()
