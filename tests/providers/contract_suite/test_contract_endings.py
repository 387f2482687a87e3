"""How a call ends early: at its deadline, by cancellation, without a worker; and what is left when all is closed."""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import pytest

from providers.contract import (
    Deadline,
    Decoders,
    Fetched,
    Fetcher,
    Means,
    ProviderError,
    Reply,
    Room,
    Sleep,
    Upstream,
    Workers,
)
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders
from tests.providers.contract_suite.houses import House, connections_to, open_house, settled
from tests.providers.contract_suite.questions import Known
from tests.providers.contract_suite.sandboxes import RunningSandbox
from tests.providers.contract_suite.subjects import Subject

T = TypeVar("T")
Args = TypeVarTuple("Args")

MOST_STEPS = 60
"""More than any call takes."""


@dataclass
class Steps:
    """Counts a call's steps outside, and says when the wanted one has been taken."""

    wanted: int
    taken: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def step(self) -> None:
        """Count one."""
        self.taken += 1
        if self.taken == self.wanted:
            self.reached.set()

    def watching(self, means: Means) -> Means:
        """Return the same means, which tell of every step."""
        return Means(
            _WatchedUpstream(means.upstream, self.step),
            _WatchedFetcher(means.fetcher, self.step),
            _WatchedWorkers(means.workers, self.step),
            _WatchedDecoders(means.decoders, self.step),
            means.clock,
            _WatchedSleep(means.sleep, self.step),
        )


@dataclass
class _WatchedUpstream(Upstream):
    inner: Upstream
    step: Callable[[], None]

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        deadline: Deadline,
        max_bytes: int,
    ) -> Reply:
        self.step()
        return await self.inner.send(
            method, url, headers=headers, content=content, deadline=deadline, max_bytes=max_bytes
        )


@dataclass
class _WatchedFetcher(Fetcher):
    inner: Fetcher
    step: Callable[[], None]

    async def fetch(self, url: str, *, deadline: Deadline, max_bytes: int, room: Room | None = None) -> Fetched:
        self.step()
        return await self.inner.fetch(url, deadline=deadline, max_bytes=max_bytes, room=room)


@dataclass
class _WatchedWorkers(Workers):
    inner: Workers
    step: Callable[[], None]

    async def run(self, work: Callable[[], T], *, pixels: int) -> T:
        self.step()
        return await self.inner.run(work, pixels=pixels)


@dataclass
class _WatchedDecoders(Decoders):
    inner: Decoders
    step: Callable[[], None]

    async def run(
        self, function: Callable[[*Args], T], *args: *Args, pixels: int, deadline: Deadline, tenant: str
    ) -> T:
        self.step()
        return await self.inner.run(function, *args, pixels=pixels, deadline=deadline, tenant=tenant)


@dataclass
class _WatchedSleep(Sleep):
    inner: Sleep
    step: Callable[[], None]

    async def __call__(self, seconds: float, /) -> None:
        self.step()
        await self.inner(seconds)


async def _first(event: asyncio.Event, task: asyncio.Task[Any]) -> None:
    """Wait until *event* is set or *task* has ended."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


def _nothing_runs_beside(before: set[asyncio.Task[Any]]) -> bool:
    return asyncio.all_tasks() <= before


def _no_more_is_open(sandbox: RunningSandbox, before: int) -> bool:
    return connections_to(sandbox.ports) <= before


async def test_a_call_can_be_cancelled_at_every_step(
    subject: Subject, sandbox: RunningSandbox, tls: ssl.SSLContext, installed: None, house: House, known: Known
) -> None:
    """Cancelled at any step, a call ends by CancelledError, and leaves neither task nor connection behind."""
    cancelled = 0
    for wanted in range(1, MOST_STEPS):
        steps = Steps(wanted)
        async with open_house(subject, sandbox, tls=tls, watched=steps.watching) as watched:
            whole, _ = await watched.ask(known.question())  # so that connections are there to be left behind
            kept = connections_to(sandbox.ports)
            steps.taken = 0
            steps.reached.clear()
            before = asyncio.all_tasks()
            task = asyncio.get_running_loop().create_task(watched.ask(known.question()))
            await _first(steps.reached, task)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await settled(partial(_nothing_runs_beside, before))
            assert await settled(partial(_no_more_is_open, sandbox, kept))
            if not task.cancelled():
                assert whole == task.result()[0]
                if steps.taken < wanted:
                    break
            cancelled += task.cancelled()
            assert whole == (await watched.ask(known.question()))[0]
    else:
        pytest.fail("the call takes more steps than this test looks at")
    # The outsider's work is so small that it can be done before anybody can cancel it.
    assert cancelled > 0 or subject.provider == "outsider"


async def test_nothing_is_open_after_close(
    subject: Subject, sandbox: RunningSandbox, tls: ssl.SSLContext, installed: None, house: House, known: Known
) -> None:
    """Once provider and means are closed there is no connection and no thread of theirs."""
    threads = set(threading.enumerate())
    connections = connections_to(sandbox.ports)
    async with open_house(subject, sandbox, tls=tls) as other:
        await asyncio.gather(*(other.ask(known.question()) for _ in range(4)))
    gc.collect()
    assert await settled(lambda: connections_to(sandbox.ports) == connections)
    assert await settled(lambda: {thread for thread in threading.enumerate() if is_of_means(thread)} <= threads)


def is_of_means(thread: threading.Thread) -> bool:
    """Whether it belongs to a house's means; the decoders of the tests are shared by all houses."""
    return "maskgate" in thread.name and "decoder" not in thread.name


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_deadline_that_has_passed_sends_nothing(house: House, known: Known, seconds: float) -> None:
    """Asked too late, a provider does nothing and says so, also where it holds connections that are ready to send."""
    await house.ask(known.question())
    error = await house.failure(known.question(), seconds=seconds)
    assert ("unreachable", True, False) == (error.outcome, error.elsewhere, error.may_have_charged)
    await house.ask(known.question())
    assert len(house.billed()) == (0 if house.subject.upstream is None else 2)


@pytest.mark.parametrize("milliseconds", [1, 4, 16, 64])
async def test_a_short_deadline_is_kept(house: House, known: Known, milliseconds: int) -> None:
    """However short its time is, a call ends by then, with masks or with an error that says truly what it may cost."""
    outcomes = await asyncio.gather(
        *(house.ask(known.question(), seconds=milliseconds / 1000) for _ in range(4)), return_exceptions=True
    )
    answered = [outcome[1] for outcome in outcomes if isinstance(outcome, tuple)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, ProviderError)]
    assert len(outcomes) == len(errors) + sum(isinstance(outcome, tuple) for outcome in outcomes), outcomes
    _, usage = await house.ask(known.question())
    unanswered = house.billed_beyond(usage, *answered)
    assert len(unanswered) <= sum(error.may_have_charged for error in errors)


async def test_no_free_worker_is_said_in_time(
    subject: Subject, sandbox: RunningSandbox, tls: ssl.SSLContext, installed: None, house: House, known: Known
) -> None:
    """With all workers and decoders busy a call waits until its deadline; an answer that was paid for is said to be."""
    workers, done = ThreadWorkers(threads=1, queue=0), threading.Event()
    async with open_house(subject, sandbox, tls=tls, workers=workers) as busy:
        work = asyncio.ensure_future(workers.run(done.wait, pixels=10**9))
        decoding = asyncio.ensure_future(
            shared_decoders().run(time.sleep, 4, pixels=10**9, deadline=Deadline.after(60, time.monotonic), tenant="")
        )
        await asyncio.sleep(0)  # they take the one thread and the tenant's one process in their first turn
        try:
            error = await busy.failure(known.question(), seconds=1)
            assert error.may_have_charged == bool(busy.billed())
        finally:
            done.set()
            await work
            decoding.cancel()
            await asyncio.gather(decoding, return_exceptions=True)
        answer, _ = await busy.ask(known.question())
        assert "" == known.wrong(answer, least_iou=subject.least_iou)
