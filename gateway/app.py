"""
The composition root: builds the house once, from the settings. Nothing else builds anything.

It is the only file that knows every room, and the only one here that knows more of `providers` than the contract.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any, TextIO

import cv2
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.accounting import (
    Account,
    Cadence,
    HeldAttempt,
    Ledger,
    LedgerUnavailable,
    Reconciler,
    Result,
)
from gateway.accounting.alerts import Alerts
from gateway.accounting.budgets import Budgets
from gateway.accounting.drift import Drift, DriftWatch
from gateway.accounting.price_book import PriceBook
from gateway.accounting.quote_tokens import QuoteTokens
from gateway.accounting.webhooks import Webhook, signing_keys
from gateway.admission import Gate, Limits
from gateway.admission.leases import SharedLimits
from gateway.api import admin_budgets, admin_deployments, admin_keys, admin_reload, callbacks
from gateway.api import ledger as ledger_pages
from gateway.api.documents import install
from gateway.api.once import Once
from gateway.api.routes import House, router, segment
from gateway.api.schema import (
    DeploymentsShape,
    ProblemShape,
    QuoteShape,
    ReadyShape,
    SegmentationShape,
    UsageShape,
)
from gateway.api.trace import Surroundings
from gateway.cache.flight import Flights
from gateway.cache.store import AnswerCache, SecondLevel
from gateway.ids import new_ids
from gateway.intake.callers import Allowance, Allowances, Callers, new_key
from gateway.intake.picture import PictureLimits
from gateway.problems import InvalidRequest, MethodNotAllowed, NotFound
from gateway.purchase import Services
from gateway.reloading import ConfigSource, NotNow, Part, Reloader
from gateway.reloading import Result as ReloadResult
from gateway.request import Answer, Scope
from gateway.routing.concurrency import Bounds, Limiters
from gateway.routing.deployments import Offer
from gateway.routing.doubt import DoubtLimits, DoubtWatch
from gateway.routing.drain import Drains
from gateway.routing.health import Cause, Change, HealthTable
from gateway.routing.hedging import HedgeBudget
from gateway.routing.hints import Hints
from gateway.routing.retry_budget import RetryBudget
from gateway.routing.router import Router
from gateway.settings import ConfigProblem, DeploymentSettings, PriceSettings, Settings, SettingsError
from gateway.settings.book import price_book
from gateway.store import KeyExists, fingerprint
from gateway.store.drained import DrainedDeployments
from gateway.store.hints import HintBoard
from gateway.store.key_bell import KeyBell, open_bell
from gateway.store.keys import SHOWN_CHARACTERS, Grant
from gateway.store.leases import Lease
from gateway.store.remembered import Remembered
from gateway.store.secrets import secret
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.uses import Uses
from providers.contract import (
    Clock,
    Deployment,
    ListPrice,
    Means,
    Money,
    Notified,
    Provider,
    Secret,
    Workers,
)
from providers.fetch import GuardedFetcher
from providers.guard import guarded_socket_factory, parse_allowed
from providers.registry import build_providers
from providers.sandbox import Sandbox, gateway_config
from providers.transport import HttpUpstream, trusted
from providers.workers import ThreadWorkers

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
SWEEP_SECONDS = 10.0
#: Requests in flight get this long to end when the gateway is told to stop; then what they hold is put on hold.
LANDING_SECONDS = 25.0
WORKER_QUEUE = 1024
FIRST_TENANT = "default"
FIRST_KEY_ID = "key_first"

SHAPES: tuple[type[BaseModel], ...] = (
    SegmentationShape,
    QuoteShape,
    DeploymentsShape,
    UsageShape,
    ReadyShape,
    ProblemShape,
    ledger_pages.LedgerShape,
    *admin_keys.SHAPES,
    *admin_budgets.SHAPES,
    *admin_deployments.SHAPES,
    *admin_reload.SHAPES,
)


@dataclass(frozen=True, slots=True)
class Ground:
    """What stands before the house does, and outlives each of its openings."""

    gate: Gate
    metrics: Metrics
    log: Any
    clock: Clock
    wall: Callable[[], float]
    new_id: Callable[[str], str]
    show: Callable[[str], None]

    def counted(self, result: str) -> None:
        """Count a reading of the configuration."""
        self.metrics.reloaded(result)
        if result in {ReloadResult.APPLIED.value, ReloadResult.UNCHANGED.value}:
            self.metrics.configured(self.wall())


def show_key(key: str) -> None:
    """Show the first API key, this once, on standard error: standard output is the log's."""
    sys.stderr.write(f"API key (shown once): {key}\n")
    sys.stderr.flush()


def create_app(
    settings: Settings,
    *,
    source: ConfigSource | None = None,
    clock: Clock = time.monotonic,
    wall: Callable[[], float] = time.time,
    log_to: TextIO | None = None,
    show: Callable[[str], None] = show_key,
) -> FastAPI:
    """
    Build the gateway. It opens its ledger and its connections when it is started, and closes them when it is stopped.

    Args:
        settings: checked; see `settings.load_settings`.
        source: where they were read, to read them again when that changes or on SIGHUP; None: they hold to the end.
        clock: monotonic seconds.
        wall: seconds since 1970, UTC: what the ledger is dated by.
        log_to: where the log lines go; standard output when None.
        show: shows the API key that is made at the first start.
    """
    ground = Ground(
        gate=Gate(settings.limits.max_in_flight),
        metrics=Metrics(),
        log=make_logger(log_to),
        clock=clock,
        wall=wall,
        new_id=new_ids(wall),
        show=show,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            lasting = await _open(settings, ground, stack)
            houses = _Houses(lasting, ground, lambda house: setattr(app.state, "house", house))
            await houses.open(settings, stack)
            app.state.reload = None
            if source is not None:
                reloader = Reloader(source, settings, swap=houses.renew, count=ground.counted, log=ground.log)
                app.state.reload = reloader.reload
                await _run_beside(stack, reloader.watch())
                stack.callback(_on_hangup(reloader.ask))
            yield

    app = FastAPI(
        title="Maskgate",
        version=version("maskgate"),
        summary="One API for image segmentation over every provider that can do it.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.include_router(router)
    for more in (ledger_pages, callbacks, admin_keys, admin_budgets, admin_deployments, admin_reload):
        app.include_router(more.router)
    app.add_exception_handler(HTTPException, _framework_problem)
    app.add_middleware(
        Surroundings,
        gate=ground.gate,
        metrics=ground.metrics,
        log=ground.log,
        clock=ground.clock,
        new_id=ground.new_id,
        admin_port=settings.admin.port,
        direct={("POST", "/v1/segmentations"): segment},
    )
    install(app, SHAPES)
    return app


async def open_sandbox(*, host: str = "127.0.0.1", port: int = 0) -> Sandbox:
    """Start the fake upstreams on sockets of their own."""
    return await Sandbox.start(host=host, port=port, workers=ThreadWorkers(threads=2, queue=4096))


def sandbox_config(host: str, port: int) -> str:
    """Return the gateway's YAML for a sandbox on that host and port."""
    return gateway_config(host, port)


def check_settings(settings: Settings) -> list[ConfigProblem]:
    """Return what is wrong in settings that only the providers can tell: unknown models, endpoints, options."""
    providers = build_providers(_offline_means())
    problems: list[ConfigProblem] = []
    for index, wanted in enumerate(settings.deployments or ()):
        try:
            _offer(wanted, providers)
        except ValueError as error:
            problems.append(ConfigProblem(f"deployments[{index}] ({wanted.name})", None, None, str(error)))
    for tenant, rules in settings.tenants.items():
        problems += [
            ConfigProblem(f"tenants.{tenant}.providers", None, None, f"there is no {name!r}; there are {known}")
            for known in [", ".join(sorted(providers))]
            for name in rules.providers or ()
            if name not in providers
        ]
    return problems


@dataclass(slots=True)
class _Now:
    """What holds at the moment, for what runs beside the requests."""

    grace_seconds: float
    """How long after a request's deadline an open reservation is taken for abandoned."""
    health: HealthTable

    def drain(self, reasons: Mapping[str, str]) -> None:
        """Have these deployments be drained, and no others."""
        self.health.drain(reasons)


@dataclass(frozen=True, slots=True)
class _Lasting:
    """What is opened once, and stays however often the configuration changes."""

    gateway_id: str
    workers: ThreadWorkers
    tls: ssl.SSLContext
    ledger: Ledger
    limits: Limits
    once: Once
    quotes: QuoteTokens
    budgets: Budgets
    cache: AnswerCache
    flights: Flights[Answer]
    bell: KeyBell
    drains: Drains
    now: _Now


@dataclass(frozen=True, slots=True)
class _Supplies:
    """What calls go out with."""

    fetcher: GuardedFetcher
    guarded: HttpUpstream
    """For addresses that the operator names: where they lead may change under their names."""
    providers: Mapping[str, Provider]


@dataclass(frozen=True, slots=True)
class _Standing:
    """A house, what it was built from, and what the next one may share with it."""

    settings: Settings
    house: House
    supplies: Part[_Supplies]
    alerts: Part[Alerts]
    callers: Part[Callers]

    async def let_go(self) -> None:
        """Close what no other house shares."""
        await self.callers.let_go()
        await self.alerts.let_go()
        await self.supplies.let_go()


class _Houses:
    """The house that new requests come to, and those before it that some are still at work in."""

    def __init__(self, lasting: _Lasting, ground: Ground, show: Callable[[House], None]) -> None:
        """
        Begin without a house.

        Args:
            lasting: what all of them stand on.
            ground: what stands before that.
            show: told of each house that new requests come to from now on.
        """
        self._lasting = lasting
        self._ground = ground
        self._show = show
        self._standing: _Standing | None = None
        self._reconciling: asyncio.Task[None] | None = None
        self._lease: Lease | None = None
        self._retiring: dict[asyncio.Task[None], Uses] = {}

    async def open(self, settings: Settings, stack: AsyncExitStack) -> None:
        """Build the first house, and have *stack* close the last one once everything in flight has landed."""
        stack.push_async_callback(self.close)
        stack.push_async_callback(self._lasting.flights.land, LANDING_SECONDS)
        stack.push_async_callback(self._lasting.once.land, LANDING_SECONDS)
        await self.renew(settings)
        self._ground.metrics.configured(self._ground.wall())

    async def renew(self, settings: Settings) -> None:
        """
        Have new requests come to a house of these settings; those under way go on in theirs.

        Raises:
            SettingsError: they cannot be used.
            NotNow: they can be used once the database is back.
        """
        before = self._standing
        down = self._lasting.ledger.journal.down_seconds is not None
        if before is not None and down and _kept(before, settings, _access) is None:
            raise NotNow("the ledger's database gives no answer: keys could not be read anew for this; try again later")
        standing = _stand(settings, self._lasting, self._ground, before)
        for part in (standing.supplies, standing.alerts, standing.callers):
            part.held()
        self._standing = standing
        now, house = self._lasting.now, standing.house
        now.grace_seconds, now.health = settings.limits.grace_seconds, house.services.health
        self._ground.gate.resize(settings.limits.max_in_flight)
        self._show(house)
        if before is not None:
            task = asyncio.create_task(self._retire(before))
            self._retiring[task] = before.house.services.uses
            task.add_done_callback(self._retiring.pop)
        if _kept(before, settings, _held_at) is None:
            await self._reconcile(standing)

    async def close(self) -> None:
        """Close every house, whoever is at work in it."""
        await self._end_reconciling()
        for uses in self._retiring.values():
            uses.give_up()
        await asyncio.gather(*self._retiring)
        if self._standing is not None:
            await self._standing.let_go()

    async def _retire(self, standing: _Standing) -> None:
        """Close a house when nobody is at work in it any more."""
        await standing.house.services.uses.ended()
        try:
            await standing.let_go()
        except Exception:  # a provider's own defect
            self._ground.log.exception("closing_broke")

    async def _reconcile(self, standing: _Standing) -> None:
        """Ask about what is on hold as these settings say, from now on: this gateway or another, who has the lease."""
        await self._end_reconciling()
        services, ground = standing.house.services, self._ground
        seconds = max(60.0, 3 * standing.settings.reconcile.every_seconds)
        lease = Lease(
            services.ledger.database, "reconcile", holder=self._lasting.gateway_id, seconds=seconds, wall=ground.wall
        )

        def count(held: HeldAttempt, result: Result, charged: Money) -> None:
            ground.metrics.reconciled(held.deployment, held.provider, result.value, charged=charged.microusd)

        asking = _reconciler(
            standing.settings,
            services.ledger,
            _accounts(services.providers, services.offers, services.prices, ground.wall),
            wall=ground.wall,
            clock=ground.clock,
            count=count,
            log=ground.log,
        )
        self._lease = lease
        self._reconciling = asyncio.create_task(asking.run(partial(_is_mine, lease)))

    async def _end_reconciling(self) -> None:
        task, self._reconciling = self._reconciling, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        if self._lease is not None:
            await _give_back(self._lease)
            self._lease = None


async def clear_up(settings: Settings, count: Callable[[HeldAttempt, Result, Money], None]) -> int:
    """
    Ask the providers about everything on hold, once and at once, without serving.

    Args:
        settings: whose database and whose providers.
        count: is told of every attempt what came of the question, and what was charged.

    Returns:
        How many attempts were cleared up.

    Raises:
        LedgerUnavailable: the database is out of reach.
    """
    clock = time.monotonic
    async with AsyncExitStack() as stack:
        workers = ThreadWorkers(threads=settings.limits.worker_threads, queue=WORKER_QUEUE)
        stack.callback(workers.close)
        supplies = _supplies(settings, trusted(), workers, clock)
        supplies.held()
        stack.push_async_callback(supplies.let_go)
        providers = supplies.value.providers
        wanted = settings.deployments
        if wanted is None:
            wanted = tuple(_defaults(providers.values(), settings.environ))
        offers = _offers(wanted, providers, {}, public_url=settings.public_url)
        prices = price_book(settings, wanted, {offer.name: offer.model.list_price for offer in offers})
        ledger = await Ledger.open(settings.ledger_url, wall=time.time, clock=clock)
        stack.push_async_callback(ledger.close)
        asking = _reconciler(
            settings,
            ledger,
            _accounts(providers, offers, prices, time.time),
            wall=time.time,
            clock=clock,
            count=count,
            log=make_logger(sys.stderr),
        )
        return await asking.round(force=True)


def effective(settings: Settings) -> Settings:
    """
    Return the settings with what the providers fill in: deployments that the environment makes, and list prices.

    Raises:
        SettingsError: a deployment cannot work.
    """
    providers = build_providers(_offline_means())
    wanted = settings.deployments
    if wanted is None:
        wanted = tuple(_defaults(providers.values(), settings.environ))
    offers = _offers(wanted, providers, {}, public_url=settings.public_url)
    priced = tuple(_priced(each, offer.model.list_price) for each, offer in zip(wanted, offers, strict=True))
    return settings.model_copy(update={"deployments": priced})


def _priced(wanted: DeploymentSettings, listed: ListPrice | None) -> DeploymentSettings:
    """Return a deployment with its provider's list price where it names none of its own."""
    if wanted.dated_prices or listed is None:
        return wanted
    price = PriceSettings(usd=listed.usd, unit=listed.unit, valid_from=listed.valid_from, source=listed.source)
    return wanted.model_copy(update={"price": price})


async def _open(settings: Settings, ground: Ground, stack: AsyncExitStack) -> _Lasting:
    """Open what has to be opened, and have *stack* close it in the opposite order."""
    clock = ground.clock
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a bad body is its sender's news, not ours
    cv2.setNumThreads(1)  # the worker threads fill the cores already; OpenCV's own would only wait for each other
    workers = ThreadWorkers(threads=settings.limits.worker_threads, queue=WORKER_QUEUE)
    stack.callback(workers.close)
    if not settings.database_url:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    ledger = await Ledger.open(settings.ledger_url, wall=ground.wall, clock=clock)
    stack.push_async_callback(ledger.close)
    await _first_key(ledger, ground.show)
    gateway_id = ground.new_id("gw")
    lease = Lease(ledger.database, "sweep", holder=gateway_id, seconds=3 * SWEEP_SECONDS, wall=ground.wall)
    stack.push_async_callback(_give_back, lease)
    shared = await _shared(settings.redis_url, ground, workers, stack)
    now = await _now(settings, shared.hints, gateway_id, ground, stack)
    await _run_beside(stack, _sweep(ledger, lease, now, ground.log))
    drained = DrainedDeployments(ledger.database, ground.wall)
    drains = Drains(drained, tell=now.drain, log=ground.log)
    await drains.refresh()
    await _run_beside(stack, drains.run())
    await _run_beside(stack, ground.gate.watch(clock, asyncio.sleep))
    limits = Limits(clock=clock, shared=await _shared_limits(settings.redis_url, gateway_id, ground, stack))
    remembered = Remembered(ledger.database, ground.wall, ttl_seconds=settings.idempotency.ttl_seconds)
    once = Once(
        remembered,
        ledger_up=lambda: ledger.journal.answers,
        new_id=ground.new_id,
        sleep=asyncio.sleep,
        log=ground.log,
    )
    await _run_beside(stack, once.prune_forever())
    bell = await open_bell(settings.ledger_url, settle=ledger.keys.settle, clock=clock, log=ground.log)
    stack.push_async_callback(bell.close)
    return _Lasting(
        gateway_id=gateway_id,
        workers=workers,
        tls=trusted(),
        ledger=ledger,
        limits=limits,
        once=once,
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
        drains=drains,
        now=now,
    )


def _stand(settings: Settings, lasting: _Lasting, ground: Ground, before: _Standing | None) -> _Standing:
    """
    Build a house, and share with the one before what its settings leave as it is.

    Nothing is opened here: a connection is opened by the first call that needs one. So a refusal leaves nothing behind.

    Raises:
        SettingsError: a deployment cannot work, or a secret is none.
    """
    kept = _kept(before, settings, lambda each: each.fetch.allow)
    supplies = _supplies(settings, lasting.tls, lasting.workers, ground.clock) if kept is None else kept.supplies
    kept = _kept(before, settings, lambda each: (each.fetch.allow, each.budgets))
    alerts = _alerts(settings, lasting, supplies.value.guarded, ground) if kept is None else kept.alerts
    kept = _kept(before, settings, _access)
    callers = _callers(settings, lasting, ground) if kept is None else kept.callers
    house = House(
        services=_services(settings, supplies.value.providers, alerts.value, lasting, ground, before),
        callers=callers.value,
        gate=ground.gate,
        limits=lasting.limits,
        once=lasting.once,
        quotes=lasting.quotes,
        quote_seconds=settings.quotes.ttl_seconds,
        budgets=lasting.budgets,
        fetcher=supplies.value.fetcher,
        fetch_seconds=settings.fetch.seconds,
        picture_limits=PictureLimits(max_bytes=settings.fetch.max_bytes, max_pixels=settings.limits.max_pixels),
        drains=lasting.drains,
    )
    return _Standing(settings, house, supplies, alerts, callers)


def _kept(before: _Standing | None, settings: Settings, of: Callable[[Settings], object]) -> _Standing | None:
    """Return the house before where the settings leave that of them as it is; None where something is to be built."""
    return before if before is not None and of(before.settings) == of(settings) else None


def _access(settings: Settings) -> object:
    """Return what decides who may do what."""
    return settings.tenant_rules, settings.default_rules, settings.access


def _held_at(settings: Settings) -> object:
    """Return what decides who is asked about attempts on hold, and when."""
    return settings.deployments, settings.environ, settings.public_url, settings.fetch.allow, settings.reconcile


def _supplies(settings: Settings, tls: ssl.SSLContext, workers: Workers, clock: Clock) -> Part[_Supplies]:
    """Return the providers and the ways out that they share."""
    stack = AsyncExitStack()
    upstream = HttpUpstream(clock, tls=tls)
    stack.push_async_callback(upstream.close)
    fetcher = GuardedFetcher(clock, allow=settings.fetch.allow, tls=tls)
    stack.push_async_callback(fetcher.close)
    sockets = guarded_socket_factory(parse_allowed(settings.fetch.allow))
    guarded = HttpUpstream(clock, socket_factory=sockets, tls=tls)
    stack.push_async_callback(guarded.close)
    means = Means(upstream=upstream, fetcher=fetcher, workers=workers, clock=clock, sleep=asyncio.sleep)
    providers = build_providers(means)
    for provider in providers.values():
        stack.push_async_callback(provider.close)
    return Part(_Supplies(fetcher, guarded, providers), stack.aclose)


def _services(
    settings: Settings,
    providers: Mapping[str, Provider],
    alerts: Alerts,
    lasting: _Lasting,
    ground: Ground,
    before: _Standing | None,
) -> Services:
    """
    Return what the flow works with. What a deployment that stays as it was has shown of itself is kept.

    Raises:
        SettingsError: a deployment cannot work.
    """
    clock = ground.clock
    wanted = settings.deployments
    if wanted is None:
        wanted = tuple(_defaults(providers.values(), settings.environ))
    known = {} if before is None else {offer.name: offer for offer in before.house.services.offers}
    offers = _offers(wanted, providers, known, public_url=settings.public_url)
    names = [offer.name for offer in offers]
    afresh = {
        name for name in names if name in known and offers[names.index(name)].deployment is not known[name].deployment
    }
    slow = {each.name: each.slow_seconds for each in wanted if each.slow_seconds is not None}
    bounds = {each.name: Bounds(each.max_concurrency, each.max_queue) for each in wanted}
    places = Limiters({}, clock) if before is None else before.house.services.places
    return Services(
        ledger=lasting.ledger,
        providers=providers,
        offers=offers,
        prices=price_book(settings, wanted, {offer.name: offer.model.list_price for offer in offers}),
        catalogue={name: provider.models for name, provider in providers.items()},
        health=lasting.now.health.renewed(names, afresh=afresh, slow_seconds=slow),
        router=_router(names, afresh, ground, before),
        places=places.renewed(bounds, afresh=afresh),
        retries=_retries(settings, ground, before),
        doubt=_doubt(settings, ground, before),
        hedges=_hedges(settings, before),
        cache=lasting.cache,
        flights=lasting.flights,
        workers=lasting.workers,
        metrics=ground.metrics,
        alerts=alerts,
        drift=_drift_watch(settings, names, ground, before),
        log=ground.log,
        clock=clock,
        wall=ground.wall,
        new_id=ground.new_id,
        uses=Uses(),
    )


def _router(names: Collection[str], afresh: Collection[str], ground: Ground, before: _Standing | None) -> Router:
    """Return what remembers how fast the deployments are."""
    if before is not None:
        return before.house.services.router.renewed(names, afresh=afresh)
    return Router(names, ground.clock, random.Random())  # noqa: S311 - what breaks ties is no secret


def _retries(settings: Settings, ground: Ground, before: _Standing | None) -> RetryBudget:
    """Return what may be spent on further calls."""
    routing = settings.routing
    kept = _kept(before, settings, lambda each: (each.routing.retry_percent, each.routing.retry_at_least))
    if kept is not None:
        return kept.house.services.retries
    return RetryBudget(ground.clock, percent=routing.retry_percent, at_least=routing.retry_at_least)


def _doubt(settings: Settings, ground: Ground, before: _Standing | None) -> DoubtWatch:
    """Return what bounds the money in doubt."""
    kept = _kept(before, settings, lambda each: each.routing.doubt)
    if kept is not None:
        return kept.house.services.doubt
    doubt = settings.routing.doubt
    return DoubtWatch(DoubtLimits(doubt.per_request(), doubt.per_minute()), ground.clock)


def _hedges(settings: Settings, before: _Standing | None) -> HedgeBudget:
    """Return what may be spent on second calls."""
    kept = _kept(before, settings, lambda each: each.routing.hedge_percent)
    return HedgeBudget(percent=settings.routing.hedge_percent) if kept is None else kept.house.services.hedges


def _callers(settings: Settings, lasting: _Lasting, ground: Ground) -> Part[Callers]:
    """Return who says who asks, and what the operator allows whom."""
    keyless = settings.access.keyless_on_loopback and settings.host in LOOPBACK
    tenants = {name: Allowance(policy, limit) for name, (policy, limit) in settings.tenant_rules.items()}
    allowances = Allowances(tenants, Allowance(*settings.default_rules))
    keys = lasting.ledger.keys
    callers = Callers(
        keys,
        keyless=keyless,
        clock=ground.clock,
        bell=lasting.bell,
        allowances=allowances,
        answers=lambda: lasting.ledger.journal.answers,
    )
    return Part(callers, callers.close)


def _alerts(settings: Settings, lasting: _Lasting, upstream: HttpUpstream, ground: Ground) -> Part[Alerts]:
    """
    Return who tells of budgets.

    Raises:
        SettingsError: the webhook's secret is none.
    """
    wanted, webhook = settings.budgets, None
    if wanted.webhook_url:
        try:
            keys = signing_keys([wanted.webhook_secret])
        except ValueError as error:
            problem = ConfigProblem("budgets.webhook_secret", None, None, str(error))
            raise SettingsError([problem], source="configuration") from error
        webhook = Webhook(
            wanted.webhook_url, keys, upstream=upstream, clock=ground.clock, wall=ground.wall, sleep=asyncio.sleep
        )
    alerts = Alerts(
        lasting.ledger.database,
        webhook,
        count=ground.metrics.budget,
        wall=ground.wall,
        holder=lasting.gateway_id,
    )
    return Part(alerts, alerts.close)


def _drift_watch(settings: Settings, names: Collection[str], ground: Ground, before: _Standing | None) -> DriftWatch:
    """Return who compares what providers report with what they publish."""
    kept = _kept(before, settings, lambda each: each.pricing.drift_alarm_percent)
    known = [] if before is None else [offer.name for offer in before.house.services.offers]
    for name in {*names, *known} - (set(names) & set(known) if kept is not None else set()):
        ground.metrics.drift_alarm(name, on=False)  # of those that are new, and of those that are gone
    if kept is not None:
        return kept.house.services.drift

    def told(drift: Drift) -> None:
        ground.metrics.drift_alarm(drift.deployment, on=drift.alarmed)
        note = ground.log.warning if drift.alarmed else ground.log.info
        note(
            "price_drift",
            deployment=drift.deployment,
            alarmed=drift.alarmed,
            percent=drift.percent,
            calls=drift.calls,
            reported_microusd=drift.reported.microusd,
            listed_microusd=drift.listed.microusd,
        )

    return DriftWatch(settings.pricing.drift_alarm_percent, clock=ground.clock, told=told)


async def _shared_limits(url: str, replica: str, ground: Ground, stack: AsyncExitStack) -> SharedLimits | None:
    """Return the limits that are shared through Redis; None where no Redis is named."""
    if not url:
        return None
    from gateway.store.redis_leases import RedisLeases  # redis takes a while to import, and most gateways have none

    leases = RedisLeases(url, replica=replica, clock=ground.clock, log=ground.log)
    shared = SharedLimits(leases, clock=ground.clock, new_id=ground.new_id)
    stack.push_async_callback(shared.close)
    await shared.open()
    return shared


@dataclass(frozen=True, slots=True)
class _Shared:
    """What gateways share through Redis, and can do without."""

    answers: SecondLevel | None = None
    hints: HintBoard | None = None


async def _shared(url: str, ground: Ground, workers: Workers, stack: AsyncExitStack) -> _Shared:
    """
    Return what is shared through Redis; nothing where no Redis is named.

    Raises:
        SettingsError: the address is none.
    """
    if not url:
        return _Shared()
    from gateway.cache.sharing import SharedAnswers  # redis takes a while to import, and most gateways have none
    from gateway.store.redis_cache import RedisCache
    from gateway.store.redis_hints import RedisHints

    try:
        redis = RedisCache(url, clock=ground.clock, log=ground.log)
    except ValueError as error:  # its text is not shown: it may quote a part of the password
        problem = ConfigProblem("", None, None, "no address of Redis; write redis://[user:password@]host:port/database")
        raise SettingsError([problem], source="MASKGATE_REDIS_URL") from error
    stack.push_async_callback(redis.close)
    await redis.open()
    answers = SharedAnswers(redis, workers=workers, count=lambda result: ground.metrics.shared_cache(result.value))
    stack.push_async_callback(answers.close)
    return _Shared(answers, RedisHints(redis))


async def _now(
    settings: Settings, board: HintBoard | None, gateway_id: str, ground: Ground, stack: AsyncExitStack
) -> _Now:
    """Return what holds before there is a house: no deployment; its breakers tell, from the first one on."""
    hints: Hints | None = None

    def told(change: Change) -> None:
        _tell_of_breaker(change, ground)
        if hints is not None:
            hints.note(change)

    chance = random.Random()  # noqa: S311 - jitter is no secret
    now = _Now(settings.limits.grace_seconds, HealthTable((), ground.clock, chance, tell=told))
    if board is not None:
        hints = Hints(board, replica=gateway_id, table=lambda: now.health)
        await _run_beside(stack, hints.run())
    return now


def _tell_of_breaker(change: Change, ground: Ground) -> None:
    """Log and count that a breaker has opened or closed."""
    if change.cause is None:
        ground.log.info("deployment_closed", deployment=change.deployment)
        return
    ground.metrics.opened(change.deployment, change.cause.value)
    note = ground.log.info if change.cause is Cause.OVERLOADED else ground.log.warning
    note(
        "deployment_opened",
        deployment=change.deployment,
        cause=change.cause.value,
        seconds=round(change.seconds, 3),
    )


def _offers(
    wanted: Iterable[DeploymentSettings],
    providers: Mapping[str, Provider],
    known: Mapping[str, Offer],
    *,
    public_url: str,
) -> list[Offer]:
    """
    Return the deployments as the router sees them; one that is as it was is the same object, as adapters count on.

    Raises:
        SettingsError: one of them cannot work.
    """
    offers: list[Offer] = []
    problems: list[ConfigProblem] = []
    for index, deployment in enumerate(wanted):
        try:
            offer, before = _offer(deployment, providers, public_url=public_url), known.get(deployment.name)
            same = before is not None and before.deployment == offer.deployment
            offers.append(replace(offer, deployment=before.deployment) if before is not None and same else offer)
        except ValueError as error:
            problems.append(ConfigProblem(f"deployments[{index}] ({deployment.name})", None, None, str(error)))
    if problems:
        raise SettingsError(problems, source="configuration")
    return offers


def _defaults(providers: Iterable[Provider], environ: Mapping[str, str]) -> Iterable[DeploymentSettings]:
    """Return what each provider offers without a file."""
    for provider in providers:
        for deployment in provider.defaults(environ):
            yield DeploymentSettings(
                name=deployment.name,
                provider=deployment.provider,
                model=deployment.model,
                region=deployment.region,
                endpoint=deployment.endpoint,
                credential=deployment.credential.reveal(),
                options=dict(deployment.options),
                callback_secrets=tuple(secret.reveal() for secret in deployment.callback_secrets),
            )


def _offer(wanted: DeploymentSettings, providers: Mapping[str, Provider], *, public_url: str = "") -> Offer:
    """
    Return a deployment as the router sees it.

    Raises:
        ValueError: naming the field, its value and the remedy.
    """
    provider = providers.get(wanted.provider)
    if provider is None:
        raise ValueError(f"provider: there is no {wanted.provider!r}; there are {', '.join(sorted(providers))}")
    model = provider.models.get(wanted.model)
    if model is None:
        raise ValueError(
            f"model: {wanted.provider} has no {wanted.model!r}; it has {', '.join(sorted(provider.models))}"
        )
    deployment = Deployment(
        name=wanted.name,
        provider=wanted.provider,
        model=wanted.model,
        region=wanted.region,
        endpoint=wanted.endpoint,
        credential=Secret(wanted.credential),
        options=wanted.options,
        callback_url=_callback_url(wanted.name, provider, public_url),
        callback_secrets=tuple(Secret(text) for text in wanted.callback_secrets),
    )
    provider.check(deployment)
    return Offer(deployment, model, wanted.priority, wanted.weight, wanted.labels)


def _callback_url(deployment: str, provider: Provider, public_url: str) -> str:
    """Return where a provider that calls back reaches this gateway; empty for any other, and for a private gateway."""
    if not public_url or not isinstance(provider, Notified):
        return ""
    return public_url + callbacks.PATH.format(deployment=deployment)


async def _first_key(ledger: Ledger, show: Callable[[str], None]) -> None:
    """Make the first API key, and show it this once. Of several processes that start at once, one makes it."""
    if await ledger.keys.any_key():
        return
    key = new_key()
    with suppress(KeyExists):
        await ledger.keys.add_key(
            FIRST_KEY_ID,
            tenant=FIRST_TENANT,
            sha256=fingerprint(key),
            prefix=key[:SHOWN_CHARACTERS],
            name="made at the first start",
            grant=Grant(frozenset(Scope)),
        )
        show(key)


async def _sweep(ledger: Ledger, lease: Lease, now: _Now, log: Any) -> None:
    """
    Put what a crash left open on hold: at start, and then every now and again.

    At the start every gateway looks once, since the one that crashed may still have the lease; then one of them does it
    for all.
    """
    mine = True
    while True:
        try:
            held = await ledger.sweep(grace_seconds=now.grace_seconds) if mine else 0
        except LedgerUnavailable as error:
            log.warning("sweep_failed", reason=str(error))
        else:
            if held:
                log.warning("reservations_abandoned", held=held)
        await asyncio.sleep(SWEEP_SECONDS)
        mine = await _is_mine(lease)


async def _is_mine(lease: Lease) -> bool:
    """Whether this gateway does the work that one alone should do; not while the database is gone."""
    try:
        return await lease.hold()
    except LedgerUnavailable:
        return False


async def _give_back(lease: Lease) -> None:
    """Let another gateway go on at once."""
    with suppress(LedgerUnavailable):
        await lease.give_back()


def _accounts(
    providers: Mapping[str, Provider], offers: Iterable[Offer], prices: PriceBook, wall: Callable[[], float]
) -> dict[str, Account]:
    """Return where attempts may have been charged."""
    now = round(wall() * 1_000_000)
    units = {offer.name: price.unit for offer in offers if (price := prices.price_at(offer.name, now)) is not None}
    return {
        offer.name: Account(offer.deployment, providers[offer.deployment.provider], units.get(offer.name))
        for offer in offers
    }


def _reconciler(
    settings: Settings,
    ledger: Ledger,
    accounts: Mapping[str, Account],
    *,
    wall: Callable[[], float],
    clock: Clock,
    count: Callable[[HeldAttempt, Result, Money], None],
    log: Any,
) -> Reconciler:
    """Return who clears up what is on hold."""
    wanted = settings.reconcile
    cadence = Cadence(every=wanted.every_seconds, first=wanted.first_seconds, absent=wanted.absent_seconds)
    return Reconciler(ledger, accounts, cadence, wall=wall, clock=clock, sleep=asyncio.sleep, count=count, log=log)


async def _run_beside(stack: AsyncExitStack, work: Any) -> None:
    """Run *work* until the house is closed."""
    task = asyncio.create_task(work)

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)


def _on_hangup(act: Callable[[], None]) -> Callable[[], None]:
    """
    Have SIGHUP do that, and return what undoes it.

    Only the main thread can; a gateway on another one has a program around it that signals are for.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, act)

    def undo() -> None:
        loop.remove_signal_handler(signal.SIGHUP)

    return undo


async def _framework_problem(request: Request, error: Exception) -> Any:
    """Say what the framework found in our own words; `Surroundings` writes it."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        raise NotFound(f"there is no {request.url.path}; /openapi.json lists what there is") from error
    if status == 405:
        raise MethodNotAllowed(f"{request.url.path} does not take {request.method}") from error
    raise InvalidRequest(str(error)) from error


def _offline_means() -> Means:
    """Return means for checking a configuration: nothing is called with them."""
    clock = time.monotonic
    return Means(
        upstream=HttpUpstream(clock),
        fetcher=GuardedFetcher(clock),
        workers=ThreadWorkers(threads=1, queue=0),
        clock=clock,
        sleep=asyncio.sleep,
    )
