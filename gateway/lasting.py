"""
What is opened once when the gateway starts, and stays however often its configuration changes.

That is the ledger, what is shared with other gateways, and what runs beside the requests. All of it is closed in the
opposite order: whoever asks the ledger ends before the ledger does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import cv2

from gateway.accounting import Ledger
from gateway.accounting.abandoned import SWEEP_SECONDS, sweep_forever
from gateway.accounting.budgets import Budgets
from gateway.accounting.quote_tokens import QuoteTokens
from gateway.admission import BytesInFlight, Gate, Limits
from gateway.api.once import Once
from gateway.cache.flight import Flights
from gateway.cache.store import AnswerCache
from gateway.intake.first_key import issue_first_key
from gateway.reloading import Result
from gateway.request import Answer
from gateway.routing.drain import Drains
from gateway.routing.health import Change, HealthTable
from gateway.routing.hints import Hints
from gateway.settings import Settings
from gateway.sharing import shared_through
from gateway.store.drained import DrainedDeployments
from gateway.store.hints import HintBoard
from gateway.store.key_bell import KeyBell, open_bell
from gateway.store.leases import Lease
from gateway.store.remembered import Remembered
from gateway.store.secrets import secret
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.shortages import Shortages
from gateway.telling import Telling
from providers.contract import Clock, Decoders, Workers


@dataclass(frozen=True, slots=True)
class Ground:
    """What stands before anything is opened."""

    gate: Gate
    bytes: BytesInFlight
    shortages: Shortages
    metrics: Metrics
    log: Any
    telling: Telling
    clock: Clock
    """Monotonic seconds."""
    wall: Callable[[], float]
    """Seconds since 1970, UTC."""
    chance: random.Random
    new_id: Callable[[str], str]
    """Makes an id with that prefix."""
    show: Callable[[str], None]
    """Shows the API key that is made at the first start."""

    def reloaded(self, result: str) -> None:
        """Count a reading of the configuration."""
        self.metrics.reloaded(result)
        if result in {Result.APPLIED.value, Result.UNCHANGED.value}:
            self.metrics.configured(self.wall())


@dataclass(slots=True)
class Now:
    """What holds at the moment, for what runs beside the requests; each house that is entered sets it."""

    grace_seconds: float
    """How long after a request's deadline an open reservation is taken for abandoned."""
    health: HealthTable

    def drain(self, reasons: Mapping[str, str]) -> None:
        """Have these deployments be drained, and no others."""
        self.health.drain(reasons)


@dataclass(frozen=True, slots=True)
class Lasting:
    """What is open."""

    gateway_id: str
    """Unlike any other gateway's, those of earlier starts included."""
    workers: Workers
    decoders: Decoders
    ledger: Ledger
    limits: Limits
    once: Once
    quotes: QuoteTokens
    budgets: Budgets
    cache: AnswerCache
    flights: Flights[Answer]
    bell: KeyBell
    drains: Drains
    now: Now


async def open_lasting(
    settings: Settings, ground: Ground, workers: Workers, decoders: Decoders, stack: AsyncExitStack
) -> Lasting:
    """
    Open what has to be opened, and have *stack* close it in the opposite order.

    Args:
        settings: those of the start; what of them is used here needs a restart to change.
        ground: what stands already.
        workers: do what would block the event loop; they are closed by whoever has made them.
        decoders: as those, for bytes that nobody has looked into.
        stack: closes what is open by then, also where something cannot be opened.

    Raises:
        SettingsError: the address of Redis is none.
        ValueError: the address of the ledger is none.
        LedgerUnavailable: the database cannot be opened.
    """
    clock, log = ground.clock, ground.log
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a bad body is its sender's news, not ours
    cv2.setNumThreads(1)  # the worker threads fill the cores already; OpenCV's own would only wait for each other
    ledger = await _ledger(settings, ground, stack)
    gateway_id = ground.new_id("gw")
    lease = Lease(
        ledger.database,
        "sweep",
        holder=gateway_id,
        seconds=3 * SWEEP_SECONDS,
        wall=ground.wall,
        longest_seconds=6 * SWEEP_SECONDS,
    )
    stack.push_async_callback(lease.leave)
    sharing = shared_through(
        settings.redis_url,
        replica=gateway_id,
        clock=clock,
        new_id=ground.new_id,
        workers=workers,
        count=ground.metrics.shared_cache,
        log=log,
        short=lambda resource: ground.shortages.met(resource, "Redis could not be asked"),
    )
    shared = await stack.enter_async_context(sharing)
    now = await _now(settings, shared.hints, gateway_id, ground, stack)
    sweep = sweep_forever(ledger, lease, grace_seconds=lambda: now.grace_seconds, sleep=asyncio.sleep, log=log)
    await run_beside(stack, sweep)
    await run_beside(stack, ground.gate.watch(clock, asyncio.sleep))
    bell = await open_bell(settings.ledger_url, settle=ledger.keys.settle, clock=clock, log=log)
    stack.push_async_callback(bell.close)
    return Lasting(
        gateway_id=gateway_id,
        workers=workers,
        decoders=decoders,
        ledger=ledger,
        limits=Limits(clock=clock, shared=shared.limits),
        once=await _once(settings, ledger, ground, stack),
        quotes=QuoteTokens(await secret(ledger.database, "quotes")),
        budgets=Budgets(ledger.database, wall=ground.wall, new_id=ground.new_id),
        cache=AnswerCache(
            max_bytes=settings.cache.max_bytes,
            ttl_seconds=settings.cache.ttl_seconds,
            empty_ttl_seconds=settings.cache.empty_ttl_seconds,
            clock=clock,
            shared=shared.answers,
        ),
        flights=Flights(),
        bell=bell,
        drains=await _drains(ledger, now, ground, stack),
        now=now,
    )


async def run_beside(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Run *work* beside the requests until *stack* is closed."""
    task = asyncio.create_task(work)

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)


async def _ledger(settings: Settings, ground: Ground, stack: AsyncExitStack) -> Ledger:
    """Open the ledger; at the first start there is a first key from then on."""
    if not settings.database_url:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    ledger = await Ledger.open(settings.ledger_url, wall=ground.wall, clock=ground.clock)
    stack.push_async_callback(ledger.close)
    await issue_first_key(ledger.keys, settings.state_dir, ground.show, ground.log)
    return ledger


async def _now(
    settings: Settings, board: HintBoard | None, gateway_id: str, ground: Ground, stack: AsyncExitStack
) -> Now:
    """Return what holds before there is a house: no deployment; its breakers tell, from the first one on."""
    hints: Hints | None = None

    def told(change: Change) -> None:
        ground.telling.breaker(change)
        if hints is not None:
            hints.note(change)

    now = Now(settings.limits.grace_seconds, HealthTable((), ground.clock, ground.chance, tell=told))
    if board is not None:
        hints = Hints(board, replica=gateway_id, table=lambda: now.health)
        await run_beside(stack, hints.run())
    return now


async def _drains(ledger: Ledger, now: Now, ground: Ground, stack: AsyncExitStack) -> Drains:
    """Return what is drained, as it stands in the database from now on."""
    drains = Drains(DrainedDeployments(ledger.database, ground.wall), tell=now.drain, log=ground.log)
    await drains.refresh()
    await run_beside(stack, drains.run())
    return drains


async def _once(settings: Settings, ledger: Ledger, ground: Ground, stack: AsyncExitStack) -> Once:
    """Return what remembers answers under their Idempotency-Key, and forgets them after their time."""
    once = Once(
        Remembered(ledger.database, ground.wall, ttl_seconds=settings.idempotency.ttl_seconds),
        ledger_up=lambda: ledger.journal.answers,
        new_id=ground.new_id,
        sleep=asyncio.sleep,
        log=ground.log,
    )
    await run_beside(stack, once.prune_forever())
    return once
