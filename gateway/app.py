"""
The composition root: builds the house once, from the settings. Nothing else builds anything.

It is the only file that knows every room, and the only one here that knows more of `providers` than the contract.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
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
from gateway.api import admin_budgets, admin_keys, callbacks
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
from gateway.flow import Services
from gateway.ids import new_ids
from gateway.intake.callers import Allowance, Allowances, Callers, new_key
from gateway.intake.picture import PictureLimits
from gateway.problems import InvalidRequest, MethodNotAllowed, NotFound
from gateway.request import Answer, Scope
from gateway.routing.deployments import Offer
from gateway.routing.health import HealthTable
from gateway.settings import ConfigProblem, DeploymentSettings, Settings, SettingsError
from gateway.settings.book import price_book
from gateway.store import KeyExists, fingerprint
from gateway.store.key_bell import open_bell
from gateway.store.keys import SHOWN_CHARACTERS, Grant
from gateway.store.leases import Lease
from gateway.store.remembered import Remembered
from gateway.store.secrets import secret
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from providers.contract import (
    Clock,
    Deployment,
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


def show_key(key: str) -> None:
    """Show the first API key, this once, on standard error: standard output is the log's."""
    sys.stderr.write(f"API key (shown once): {key}\n")
    sys.stderr.flush()


def create_app(
    settings: Settings,
    *,
    clock: Clock = time.monotonic,
    wall: Callable[[], float] = time.time,
    log_to: TextIO | None = None,
    show: Callable[[str], None] = show_key,
) -> FastAPI:
    """
    Build the gateway. It opens its ledger and its connections when it is started, and closes them when it is stopped.

    Args:
        settings: checked; see `settings.load_settings`.
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
            app.state.house = await _build(settings, ground, stack)
            yield

    app = FastAPI(
        title="Maskgate",
        version=version("maskgate"),
        summary="One API for image segmentation over every provider that can do it.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.include_router(router)
    for more in (ledger_pages, callbacks, admin_keys, admin_budgets):
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


@dataclass(frozen=True, slots=True)
class _Outside:
    """What leads to the providers."""

    workers: ThreadWorkers
    fetcher: GuardedFetcher
    tls: ssl.SSLContext
    providers: Mapping[str, Provider]
    offers: list[Offer]
    prices: PriceBook


def _open_outside(settings: Settings, clock: Clock, stack: AsyncExitStack) -> _Outside:
    """Open the ways to the providers, and have *stack* close them."""
    workers = ThreadWorkers(threads=settings.limits.worker_threads, queue=WORKER_QUEUE)
    stack.callback(workers.close)
    tls = trusted()
    upstream = HttpUpstream(clock, tls=tls)
    stack.push_async_callback(upstream.close)
    fetcher = GuardedFetcher(clock, allow=settings.fetch.allow, tls=tls)
    stack.push_async_callback(fetcher.close)
    providers = build_providers(
        Means(upstream=upstream, fetcher=fetcher, workers=workers, clock=clock, sleep=asyncio.sleep)
    )
    for provider in providers.values():
        stack.push_async_callback(provider.close)
    wanted = settings.deployments
    if wanted is None:
        wanted = tuple(_defaults(providers.values(), settings.environ))
    offers = _offers(wanted, providers, public_url=settings.public_url)
    prices = price_book(settings, wanted, {offer.name: offer.model.list_price for offer in offers})
    return _Outside(workers, fetcher, tls, providers, offers, prices)


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
    async with AsyncExitStack() as stack:
        outside = _open_outside(settings, time.monotonic, stack)
        ledger = await Ledger.open(settings.ledger_url, wall=time.time, clock=time.monotonic)
        stack.push_async_callback(ledger.close)
        log = make_logger(sys.stderr)
        asking = _reconciler(settings, ledger, outside, wall=time.time, clock=time.monotonic, count=count, log=log)
        return await asking.round(force=True)


async def _build(settings: Settings, ground: Ground, stack: AsyncExitStack) -> House:
    """Open what has to be opened, and have *stack* close it in the opposite order."""
    clock = ground.clock
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a bad body is its sender's news, not ours
    cv2.setNumThreads(1)  # the worker threads fill the cores already; OpenCV's own would only wait for each other
    outside = _open_outside(settings, clock, stack)
    workers, fetcher, tls = outside.workers, outside.fetcher, outside.tls
    providers, offers = outside.providers, outside.offers
    if not settings.database_url:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    ledger = await Ledger.open(settings.ledger_url, wall=ground.wall, clock=clock)
    stack.push_async_callback(ledger.close)
    await _first_key(ledger, ground.show)
    gateway_id = ground.new_id("gw")
    lease = Lease(ledger.database, "sweep", holder=gateway_id, seconds=3 * SWEEP_SECONDS, wall=ground.wall)
    stack.push_async_callback(_give_back, lease)
    await _run_beside(stack, _sweep(ledger, lease, settings.limits.grace_seconds, ground.log))
    shared = await _second_level(settings.redis_url, ground, workers, stack)
    limits = Limits(clock=clock, shared=await _shared_limits(settings.redis_url, gateway_id, ground, stack))
    # The webhook's address is the operator's, but where it leads may change under its name.
    guarded = HttpUpstream(clock, socket_factory=guarded_socket_factory(parse_allowed(settings.fetch.allow)), tls=tls)
    stack.push_async_callback(guarded.close)
    alerts = _alerts(settings, ledger, guarded, gateway_id, ground)
    stack.push_async_callback(alerts.close)
    remembered = Remembered(ledger.database, ground.wall, ttl_seconds=settings.idempotency.ttl_seconds)
    once = Once(
        remembered,
        ledger_up=lambda: ledger.journal.answers,
        new_id=ground.new_id,
        sleep=asyncio.sleep,
        log=ground.log,
    )
    await _run_beside(stack, once.prune_forever())
    flights: Flights[Answer] = Flights()
    stack.push_async_callback(flights.land, LANDING_SECONDS)
    stack.push_async_callback(once.land, LANDING_SECONDS)
    book = outside.prices
    services = Services(
        ledger=ledger,
        providers=providers,
        offers=offers,
        prices=book,
        catalogue={name: provider.models for name, provider in providers.items()},
        health=HealthTable((offer.name for offer in offers), clock, random.Random()),  # noqa: S311 - jitter is no secret
        cache=AnswerCache(
            max_bytes=settings.cache.max_bytes,
            ttl_seconds=settings.cache.ttl_seconds,
            empty_ttl_seconds=settings.cache.empty_ttl_seconds,
            clock=clock,
            shared=shared,
        ),
        flights=flights,
        workers=workers,
        metrics=ground.metrics,
        alerts=alerts,
        drift=_drift_watch(settings, offers, ground),
        log=ground.log,
        clock=clock,
        wall=ground.wall,
        new_id=ground.new_id,
    )
    await _clear_up_beside(settings, services.ledger, outside, gateway_id, ground, stack)
    keyless = settings.access.keyless_on_loopback and settings.host in LOOPBACK
    bell = await open_bell(settings.ledger_url, settle=ledger.keys.settle, clock=clock, log=ground.log)
    stack.push_async_callback(bell.close)
    callers = Callers(
        ledger.keys,
        keyless=keyless,
        clock=clock,
        bell=bell,
        allowances=_allowances(settings),
        answers=lambda: ledger.journal.answers,
    )
    stack.push_async_callback(callers.close)
    return House(
        services=services,
        callers=callers,
        gate=ground.gate,
        limits=limits,
        once=once,
        quotes=QuoteTokens(await secret(ledger.database, "quotes")),
        quote_seconds=settings.quotes.ttl_seconds,
        budgets=Budgets(ledger.database, wall=ground.wall, new_id=ground.new_id),
        fetcher=fetcher,
        fetch_seconds=settings.fetch.seconds,
        picture_limits=PictureLimits(max_bytes=settings.fetch.max_bytes, max_pixels=settings.limits.max_pixels),
    )


def _allowances(settings: Settings) -> Allowances:
    """Return what the operator allows whom."""
    tenants = {name: Allowance(policy, limit) for name, (policy, limit) in settings.tenant_rules.items()}
    return Allowances(tenants, Allowance(*settings.default_rules))


def _alerts(settings: Settings, ledger: Ledger, upstream: HttpUpstream, holder: str, ground: Ground) -> Alerts:
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
    return Alerts(ledger.database, webhook, count=ground.metrics.budget, wall=ground.wall, holder=holder)


def _drift_watch(settings: Settings, offers: Iterable[Offer], ground: Ground) -> DriftWatch:
    """Return who compares what providers report with what they publish."""
    for offer in offers:
        ground.metrics.drift_alarm(offer.name, on=False)

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


async def _second_level(url: str, ground: Ground, workers: Workers, stack: AsyncExitStack) -> SecondLevel | None:
    """
    Return the answers that are shared through Redis; None where no Redis is named.

    Raises:
        SettingsError: the address is none.
    """
    if not url:
        return None
    from gateway.cache.sharing import SharedAnswers  # redis takes a while to import, and most gateways have none
    from gateway.store.redis_cache import RedisCache

    try:
        redis = RedisCache(url, clock=ground.clock, log=ground.log)
    except ValueError as error:  # its text is not shown: it may quote a part of the password
        problem = ConfigProblem("", None, None, "no address of Redis; write redis://[user:password@]host:port/database")
        raise SettingsError([problem], source="MASKGATE_REDIS_URL") from error
    stack.push_async_callback(redis.close)
    await redis.open()
    shared = SharedAnswers(redis, workers=workers, count=lambda result: ground.metrics.shared_cache(result.value))
    stack.push_async_callback(shared.close)
    return shared


def _offers(wanted: Iterable[DeploymentSettings], providers: Mapping[str, Provider], *, public_url: str) -> list[Offer]:
    """
    Return the deployments as the router sees them.

    Raises:
        SettingsError: one of them cannot work.
    """
    offers: list[Offer] = []
    problems: list[ConfigProblem] = []
    for index, deployment in enumerate(wanted):
        try:
            offers.append(_offer(deployment, providers, public_url=public_url))
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
    return Offer(deployment, model, wanted.priority)


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


async def _sweep(ledger: Ledger, lease: Lease, grace_seconds: float, log: Any) -> None:
    """
    Put what a crash left open on hold: at start, and then every now and again.

    At the start every gateway looks once, since the one that crashed may still have the lease; then one of them does it
    for all.
    """
    mine = True
    while True:
        try:
            held = await ledger.sweep(grace_seconds=grace_seconds) if mine else 0
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


async def _clear_up_beside(
    settings: Settings, ledger: Ledger, outside: _Outside, gateway_id: str, ground: Ground, stack: AsyncExitStack
) -> None:
    """Clear up what is on hold while the house is open: this gateway or another, whichever has the lease."""
    seconds = max(60.0, 3 * settings.reconcile.every_seconds)
    lease = Lease(ledger.database, "reconcile", holder=gateway_id, seconds=seconds, wall=ground.wall)
    stack.push_async_callback(_give_back, lease)

    def count(held: HeldAttempt, result: Result, charged: Money) -> None:
        ground.metrics.reconciled(held.deployment, held.provider, result.value, charged=charged.microusd)

    asking = _reconciler(settings, ledger, outside, wall=ground.wall, clock=ground.clock, count=count, log=ground.log)
    await _run_beside(stack, asking.run(partial(_is_mine, lease)))


def _reconciler(
    settings: Settings,
    ledger: Ledger,
    outside: _Outside,
    *,
    wall: Callable[[], float],
    clock: Clock,
    count: Callable[[HeldAttempt, Result, Money], None],
    log: Any,
) -> Reconciler:
    """Return who clears up what is on hold."""
    wanted, now = settings.reconcile, round(wall() * 1_000_000)
    prices = {offer.name: outside.prices.price_at(offer.name, now) for offer in outside.offers}
    accounts = {
        offer.name: Account(
            offer.deployment,
            outside.providers[offer.deployment.provider],
            price.unit if (price := prices[offer.name]) is not None else None,
        )
        for offer in outside.offers
    }
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
