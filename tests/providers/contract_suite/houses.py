"""A provider built as in service, with real means, and asked as the gateway asks it."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from providers.contract import (
    Capabilities,
    Deadline,
    Deployment,
    Means,
    Provider,
    ProviderError,
    Question,
    Segmentation,
    Usage,
    Workers,
)
from providers.fetch import GuardedFetcher
from providers.registry import build_providers
from providers.transport import HttpUpstream
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders
from tests.providers.contract_suite.sandboxes import RunningSandbox
from tests.providers.contract_suite.subjects import CANARY, Subject

LATE_SECONDS = 5.0
"""How long after its deadline a call may end: a second is the promise, the others are for a busy machine."""
_MOST_MESSAGE_CHARACTERS = 600
_TURNS = 50


@dataclass
class House:
    """One provider, the sandbox that plays its upstream, and what it was built with."""

    subject: Subject
    sandbox: RunningSandbox
    provider: Provider
    workers: Workers
    deployment: Deployment

    @property
    def capabilities(self) -> Capabilities:
        """What the subject can be asked."""
        return self.provider.models[self.subject.model].capabilities

    async def ask(
        self,
        question: Question,
        *,
        seconds: float = 30,
        deployment: Deployment | None = None,
        attempt_id: str | None = None,
    ) -> tuple[Segmentation, Usage]:
        """Make one attempt, and hold it to its deadline."""
        deadline = Deadline.after(seconds, time.monotonic)
        try:
            return await self.provider.segment(
                question,
                deployment or self.deployment,
                attempt_id=attempt_id or f"att_{uuid.uuid4().hex}",
                deadline=deadline,
            )
        finally:
            late = time.monotonic() - deadline.at
            assert late <= LATE_SECONDS, f"the call ended {late:.2f} s after its deadline"

    async def failure(self, question: Question, *, seconds: float = 30) -> ProviderError:
        """Make one attempt that has to fail as a `ProviderError`, with a message that may be shown."""
        with pytest.raises(ProviderError) as caught:
            await self.ask(question, seconds=seconds)
        check_message(caught.value)
        return caught.value

    def strike(self, **fault: object) -> None:
        """Switch a fault on."""
        assert self.subject.upstream is not None
        self.sandbox.strike(self.subject.upstream, fault)

    def heal(self) -> None:
        """Switch all faults off."""
        assert self.subject.upstream is not None
        self.sandbox.heal(self.subject.upstream)

    def billed(self) -> list[dict[str, object]]:
        """Return the calls in the upstream's books; none for a model in this process."""
        return [] if self.subject.upstream is None else self.sandbox.books(self.subject.upstream)

    def billed_beyond(self, *usages: Usage) -> list[dict[str, object]]:
        """Return the billed calls that are none of *usages*; where the upstream names none, the last are theirs."""
        calls = self.billed()
        if not self.subject.names_calls:
            return calls[: max(0, len(calls) - len(usages))]
        named = {usage.upstream_ref for usage in usages}
        return [call for call in calls if call["id"] not in named]


@asynccontextmanager
async def open_house(
    subject: Subject,
    sandbox: RunningSandbox,
    *,
    tls: ssl.SSLContext,
    workers: ThreadWorkers | None = None,
    watched: Callable[[Means], Means] = lambda means: means,
) -> AsyncIterator[House]:
    """
    Build a provider from the registry, and close all of it after the block.

    Args:
        subject: whom to build.
        sandbox: what plays its upstream; masks may be fetched from it although it is on loopback.
        tls: one context for all houses, since making one takes tens of milliseconds.
        workers: other threads than the usual ones.
        watched: wraps the means.
    """
    upstream = HttpUpstream(time.monotonic, tls=tls)
    fetcher = GuardedFetcher(time.monotonic, allow=sandbox.addresses, tls=tls)
    threads = workers or ThreadWorkers(threads=2, queue=256)
    means = watched(Means(upstream, fetcher, threads, shared_decoders(), time.monotonic, asyncio.sleep))
    provider = build_providers(means, [subject.provider])[subject.provider]
    endpoint = sandbox.upstreams[subject.upstream] if subject.upstream is not None else ""
    try:
        yield House(subject, sandbox, provider, threads, subject.deployment(endpoint))
    finally:
        await provider.close()
        await upstream.close()
        await fetcher.close()
        threads.close()


def check_message(error: ProviderError) -> None:
    """Refuse a message that is empty, long or on several lines, or that shows a credential or the query of a URL."""
    assert error.message.strip()
    assert len(error.message) <= _MOST_MESSAGE_CHARACTERS
    assert error.message.isprintable(), error.message
    assert "X-Amz-Signature" not in error.message
    for text in (str(error), repr(error), "".join(traceback.format_exception(error))):
        assert CANARY not in text


def connections_to(ports: set[int]) -> int:
    """Return how many connections this process holds open as a client of *ports* on loopback."""
    found = 0
    for thing in gc.get_objects():
        if not issubclass(type(thing), socket.socket) or thing.fileno() < 0 or thing.family != socket.AF_INET:
            continue
        with suppress(OSError):  # a listening socket has no other end
            found += thing.getpeername()[1] in ports
    return found


async def settled(holds: Callable[[], bool]) -> bool:
    """Let the loop turn until *holds*: a transport lets go of its socket some turns after it was closed."""
    for _ in range(_TURNS):
        if holds():
            return True
        await asyncio.sleep(0.01)
    return holds()
