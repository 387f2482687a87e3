"""Threads that take work off the event loop, and say when they have enough of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from providers.contract import WorkersBusy
from providers.workers import ThreadWorkers

LARGE = 1_000_000


@pytest.fixture
def workers() -> Iterator[ThreadWorkers]:
    """One thread, and one place to wait for it."""
    made = ThreadWorkers(threads=1, queue=1)
    yield made
    made.close()


class Gate:
    """Work that begins, says so, and ends when it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def work(self) -> int:
        """Wait to be let go, and return the thread's name as a number that identifies it."""
        self.begun.set()
        assert self.open.wait(30)
        return threading.get_ident()


async def test_small_work_is_done_at_once_on_the_loop(workers: ThreadWorkers) -> None:
    """Below the limit in pixels the work runs in the loop's own thread; from the limit on it does not."""
    assert await workers.run(threading.get_ident, pixels=131_071) == threading.get_ident()
    assert await workers.run(threading.get_ident, pixels=131_072) != threading.get_ident()


async def test_the_event_loop_runs_on_while_a_thread_works(workers: ThreadWorkers) -> None:
    """The loop opens the gate that the work waits for."""
    gate = Gate()
    job = asyncio.create_task(workers.run(gate.work, pixels=LARGE))
    assert await asyncio.to_thread(gate.begun.wait, 30)
    gate.open.set()
    assert await job != threading.get_ident()


@pytest.mark.parametrize("pixels", [1, LARGE])
async def test_an_error_of_the_work_reaches_its_caller(workers: ThreadWorkers, pixels: int) -> None:
    """What the work raises is raised where it was asked for, and takes no place in the queue for good."""
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 // 0, pixels=pixels)


async def test_a_full_queue_refuses_and_takes_work_again_afterwards(workers: ThreadWorkers) -> None:
    """One job works, one waits, the third is refused; once they are done there is room."""
    gate = Gate()
    jobs = [asyncio.create_task(workers.run(gate.work, pixels=LARGE)) for _ in range(2)]
    assert await asyncio.to_thread(gate.begun.wait, 30)
    with pytest.raises(WorkersBusy):
        await workers.run(gate.work, pixels=LARGE)
    assert await workers.run(lambda: "small", pixels=1) == "small"
    gate.open.set()
    await asyncio.gather(*jobs)
    assert await workers.run(lambda: "large", pixels=LARGE) == "large"


async def test_a_cancelled_caller_leaves_the_queue(workers: ThreadWorkers) -> None:
    """The place of a waiting job is free as soon as its caller is gone; a job that works keeps its own."""
    gate = Gate()
    working = asyncio.create_task(workers.run(gate.work, pixels=LARGE))
    assert await asyncio.to_thread(gate.begun.wait, 30)
    never_run = threading.Event()
    waiting = asyncio.create_task(workers.run(never_run.set, pixels=LARGE))
    await asyncio.sleep(0)
    waiting.cancel()
    working.cancel()
    await asyncio.gather(waiting, working, return_exceptions=True)
    next_one = asyncio.create_task(workers.run(lambda: "next", pixels=LARGE))
    await asyncio.sleep(0)
    with pytest.raises(WorkersBusy):
        await workers.run(gate.work, pixels=LARGE)
    gate.open.set()
    assert await next_one == "next"
    assert not never_run.is_set()


async def test_closing_waits_for_work_and_ends_the_threads() -> None:
    """After closing, the running job has its result, the waiting one is cancelled, and no thread is left."""
    before = set(threading.enumerate())
    workers = ThreadWorkers(threads=1, queue=1)
    gate = Gate()
    working = asyncio.create_task(workers.run(gate.work, pixels=LARGE))
    assert await asyncio.to_thread(gate.begun.wait, 30)
    waiting = asyncio.create_task(workers.run(gate.work, pixels=LARGE))
    await asyncio.sleep(0)
    threading.Timer(0.05, gate.open.set).start()
    workers.close()
    assert isinstance(await working, int)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name.startswith("maskgate-work")]
    with pytest.raises(RuntimeError):
        await workers.run(gate.work, pixels=LARGE)


@pytest.mark.parametrize(("threads", "queue", "field"), [(0, 1, "threads"), (-1, 1, "threads"), (1, -1, "queue")])
def test_sizes_that_cannot_work_are_refused_by_name(threads: int, queue: int, field: str) -> None:
    """The error names the field and its value."""
    with pytest.raises(ValueError, match=f"{field} is -?[01]"):
        ThreadWorkers(threads=threads, queue=queue)
