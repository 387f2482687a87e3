"""An answer that is paid for waits for a worker."""

from __future__ import annotations

import asyncio
import errno
import time
from dataclasses import replace
from typing import NoReturn, cast

import pytest

from providers.contract import Deadline, Decoders, DecodersBusy, DecodingLate, Means, OwnShortage, Resource
from providers.decoding import decoded, decoded_apart
from providers.fetch import GuardedFetcher
from providers.transport import HttpUpstream
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders


def means_with(workers: ThreadWorkers) -> Means:
    """Return means with those workers."""
    upstream, fetcher = HttpUpstream(time.monotonic), GuardedFetcher(time.monotonic)
    return Means(upstream, fetcher, workers, shared_decoders(), time.monotonic, asyncio.sleep)


async def test_waits_for_a_place() -> None:
    """Work that finds the workers full is done as soon as one is free."""
    workers = ThreadWorkers(threads=1, queue=0, inline_pixels=0)
    means = means_with(workers)
    free = asyncio.Event()
    loop = asyncio.get_running_loop()

    def occupy() -> str:
        asyncio.run_coroutine_threadsafe(free.wait(), loop).result()
        return "first"

    deadline = Deadline.after(30, time.monotonic)
    first = asyncio.create_task(workers.run(occupy, pixels=1))
    await asyncio.sleep(0)
    second = asyncio.create_task(decoded(means, lambda: "second", pixels=1, deadline=deadline))
    await asyncio.sleep(0)
    assert not second.done()
    free.set()
    assert [await first, await second] == ["first", "second"]
    workers.close()


async def test_gives_up_at_the_deadline() -> None:
    """Work that finds no place until the deadline fails as an answer that may be billed, and is tried nowhere else."""
    workers = ThreadWorkers(threads=1, queue=0, inline_pixels=0)
    means = means_with(workers)
    free = asyncio.Event()
    loop = asyncio.get_running_loop()
    first = asyncio.create_task(
        workers.run(lambda: asyncio.run_coroutine_threadsafe(free.wait(), loop).result(), pixels=1)
    )
    await asyncio.sleep(0)
    with pytest.raises(OwnShortage, match="no worker was free") as failure:
        await decoded(means, lambda: "never", pixels=1, deadline=Deadline.after(0.05, time.monotonic))
    assert (failure.value.may_have_charged, failure.value.elsewhere) == (True, False)
    free.set()
    await first
    workers.close()


class Failing:
    """Decoders that raise one error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def run(self, *_given: object, **_options: object) -> NoReturn:
        """Raise it."""
        raise self._error


def not_started() -> DecodersBusy:
    """Return what is raised where no process can be started for want of descriptors."""
    busy = DecodersBusy("no decoder process could be started")
    busy.__cause__ = OSError(errno.EMFILE, "Too many open files")
    return busy


@pytest.mark.parametrize(
    ("error", "resource"),
    [
        (DecodingLate("late"), Resource.WORKERS),
        (DecodersBusy("busy"), Resource.WORKERS),
        (not_started(), Resource.DESCRIPTORS),
    ],
    ids=["late", "busy", "not started"],
)
async def test_what_keeps_an_answer_from_being_decoded_is_ours(error: Exception, resource: Resource) -> None:
    """It is a shortage of our own, behind an answer that may be billed, and is tried nowhere else."""
    workers = ThreadWorkers(threads=1, queue=0)
    means = replace(means_with(workers), decoders=cast("Decoders", Failing(error)))
    with pytest.raises(OwnShortage) as failure:
        await decoded_apart(means, len, b"", pixels=1, deadline=Deadline.after(0, time.monotonic), tenant="a")
    assert (resource, True, False) == (failure.value.shortage, failure.value.may_have_charged, failure.value.elsewhere)
    workers.close()
