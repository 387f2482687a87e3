"""
The composition root: builds the house once, from the settings. Nothing else builds anything.

It is the only file that knows every room, and the only one here that knows more of `providers` than the contract.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
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
    Price,
    Reconciler,
    Result,
)
from gateway.admission import Gate
from gateway.api import callbacks
from gateway.api.documents import install
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
from gateway.intake.callers import Callers, new_key
from gateway.intake.picture import PictureLimits
from gateway.problems import InvalidRequest, MethodNotAllowed, NotFound
from gateway.request import Answer
from gateway.routing.deployments import Offer
from gateway.routing.health import HealthTable
from gateway.settings import ConfigProblem, DeploymentSettings, PriceSettings, Settings, SettingsError
from gateway.store import KeyExists, fingerprint
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from providers.contract import (
    Clock,
    Deployment,
    ListPrice,
    Means,
    Model,
    Money,
    Notified,
    Provider,
    Secret,
    Workers,
)
from providers.fetch import GuardedFetcher
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
    app.include_router(callbacks.router)
    app.add_exception_handler(HTTPException, _framework_problem)
    app.add_middleware(
        Surroundings,
        gate=ground.gate,
        metrics=ground.metrics,
        log=ground.log,
        clock=ground.clock,
        new_id=ground.new_id,
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
    return problems


async def _build(settings: Settings, ground: Ground, stack: AsyncExitStack) -> House:
    """Open what has to be opened, and have *stack* close it in the opposite order."""
    clock = ground.clock
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a bad body is its sender's news, not ours
    cv2.setNumThreads(1)  # the worker threads fill the cores already; OpenCV's own would only wait for each other
    workers = ThreadWorkers(threads=settings.limits.worker_threads, queue=WORKER_QUEUE)
    stack.callback(workers.close)
    tls = trusted()
    upstream = HttpUpstream(clock, tls=tls)
    stack.push_async_callback(upstream.close)
    fetcher = GuardedFetcher(clock, allow=settings.fetch.allow, tls=tls)
    stack.push_async_callback(fetcher.close)
    means = Means(upstream=upstream, fetcher=fetcher, workers=workers, clock=clock, sleep=asyncio.sleep)
    providers = build_providers(means)
    for provider in providers.values():
        stack.push_async_callback(provider.close)
    offers = _offers(settings, providers)
    if not settings.database_url:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    ledger = await Ledger.open(settings.ledger_url, wall=ground.wall, clock=clock)
    stack.push_async_callback(ledger.close)
    await _first_key(ledger, ground.show)
    await _run_beside(stack, _sweep(ledger, settings.limits.grace_seconds, ground.log))
    shared = await _second_level(settings.redis_url, ground, workers, stack)
    flights: Flights[Answer] = Flights()
    stack.push_async_callback(flights.land, LANDING_SECONDS)
    services = Services(
        ledger=ledger,
        providers=providers,
        offers=offers,
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
        log=ground.log,
        clock=clock,
        new_id=ground.new_id,
    )
    await _run_beside(stack, _reconciler(settings, services, ground).run())
    keyless = settings.access.keyless_on_loopback and settings.host in LOOPBACK
    return House(
        services=services,
        callers=Callers(ledger.keys, keyless=keyless, clock=clock),
        gate=ground.gate,
        fetcher=fetcher,
        fetch_seconds=settings.fetch.seconds,
        picture_limits=PictureLimits(max_bytes=settings.fetch.max_bytes, max_pixels=settings.limits.max_pixels),
    )


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


def _offers(settings: Settings, providers: Mapping[str, Provider]) -> list[Offer]:
    """
    Return the deployments: the file's, or each provider's own for this environment.

    Raises:
        SettingsError: one of them cannot work.
    """
    wanted = settings.deployments
    if wanted is None:
        wanted = tuple(_defaults(providers.values(), settings.environ))
    offers: list[Offer] = []
    problems: list[ConfigProblem] = []
    for index, deployment in enumerate(wanted):
        try:
            offers.append(_offer(deployment, providers, public_url=settings.public_url))
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
    return Offer(deployment, model, _price(wanted.name, wanted.price, model), wanted.priority)


def _callback_url(deployment: str, provider: Provider, public_url: str) -> str:
    """Return where a provider that calls back reaches this gateway; empty for any other, and for a private gateway."""
    if not public_url or not isinstance(provider, Notified):
        return ""
    return public_url + callbacks.PATH.format(deployment=deployment)


def _price(deployment: str, wanted: PriceSettings | None, model: Model) -> Price | None:
    listed: PriceSettings | ListPrice | None = wanted or model.list_price
    if listed is None:
        return None
    return Price(deployment, Money.from_usd(listed.usd), listed.unit, listed.valid_from, listed.source)


async def _first_key(ledger: Ledger, show: Callable[[str], None]) -> None:
    """Make the first API key, and show it this once. Of several processes that start at once, one makes it."""
    if await ledger.keys.any_key():
        return
    key = new_key()
    with suppress(KeyExists):
        await ledger.keys.add_key(FIRST_KEY_ID, tenant=FIRST_TENANT, sha256=fingerprint(key))
        show(key)


async def _sweep(ledger: Ledger, grace_seconds: float, log: Any) -> None:
    """Put what a crash left open on hold: at start, and then every now and again."""
    while True:
        try:
            held = await ledger.sweep(grace_seconds=grace_seconds)
        except LedgerUnavailable as error:
            log.warning("sweep_failed", reason=str(error))
        else:
            if held:
                log.warning("reservations_abandoned", held=held)
        await asyncio.sleep(SWEEP_SECONDS)


def _reconciler(settings: Settings, services: Services, ground: Ground) -> Reconciler:
    """Return who clears up what is on hold."""
    wanted = settings.reconcile

    def count(held: HeldAttempt, result: Result, charged: Money) -> None:
        ground.metrics.reconciled(held.deployment, held.provider, result.value, charged=charged.microusd)

    return Reconciler(
        services.ledger,
        {
            offer.name: Account(
                offer.deployment,
                services.providers[offer.deployment.provider],
                offer.price.unit if offer.price is not None else None,
            )
            for offer in services.offers
        },
        Cadence(every=wanted.every_seconds, first=wanted.first_seconds, absent=wanted.absent_seconds),
        wall=ground.wall,
        clock=ground.clock,
        sleep=asyncio.sleep,
        count=count,
        log=ground.log,
    )


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
