"""
A bounded pool of threads for what would block the event loop.

Why bounded: decoding takes memory as well as time. A queue that grows without end answers nobody in time and ends in
the kernel's hands; one that says it is full lets the caller come back.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from providers.contract import WorkersBusy

__all__ = ["ThreadWorkers", "WorkersBusy"]

T = TypeVar("T")


class ThreadWorkers:
    """Threads, and a queue before them. Implements `contract.Workers`."""

    def __init__(self, *, threads: int, queue: int, inline_pixels: int = 131_072) -> None:
        """
        Prepare the threads; each is started when it is first needed.

        Args:
            threads: jobs at once; no more than there are cores, since decoding occupies one each.
            queue: jobs that may wait for a thread.
            inline_pixels: work on fewer pixels is done at once, on the event loop: a thread would cost more.

        Raises:
            ValueError: no threads, or a queue below zero.
        """
        if threads < 1:
            raise ValueError(f"threads is {threads}; give the workers at least 1")
        if queue < 0:
            raise ValueError(f"queue is {queue}; give 0 for no waiting jobs at all")
        self._threads = ThreadPoolExecutor(threads, "maskgate-work")
        self._most = threads + queue
        self._inline_pixels = inline_pixels
        self._jobs = 0
        self._counting = threading.Lock()  # a job ends in its thread, or where its caller is cancelled

    async def run(self, work: Callable[[], T], *, pixels: int) -> T:
        """
        Run *work* in a thread, or at once where it is too small to be worth one.

        A caller that is cancelled takes its job out of the queue; one that has a thread already is finished.

        Raises:
            WorkersBusy: the queue is full.
        """
        if pixels < self._inline_pixels:
            return work()
        with self._counting:
            if self._jobs >= self._most:
                raise WorkersBusy(f"{self._jobs} jobs have or wait for a thread already")
            self._jobs += 1
        try:
            job = self._threads.submit(work)
        except BaseException:
            self._end()
            raise
        job.add_done_callback(self._end)
        try:
            return await asyncio.wrap_future(job)
        finally:
            del job  # its exception's traceback leads here, and would keep all that the work held in a circle

    def close(self) -> None:
        """Wait for the jobs that have a thread, cancel those that wait, and end the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _end(self, _: Future[T] | None = None) -> None:
        with self._counting:
            self._jobs -= 1
