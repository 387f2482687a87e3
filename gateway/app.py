"""
The composition root: puts the gateway together from its settings, at the start and whenever they change.

It is the only file that knows every room, and the only one here that knows more of `providers` than the contract. What
is opened once is listed in `lasting.py`; how one house takes the place of another is `houses.py`'s; and what the next
one remembers is `memory.py`'s.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TextIO

from fastapi import FastAPI

from gateway.accounting import Ledger
from gateway.accounting.alerts import Alerts
from gateway.accounting.webhooks import Message, Webhook, signing_keys
from gateway.admission import BytesInFlight, Gate
from gateway.admission.descriptors import DescriptorBudget, own_budget, raise_limit
from gateway.admission.machine_memory import usual_bytes_in_flight
from gateway.api.application import build_api
from gateway.api.callbacks import READ_AT_ONCE, callback_url
from gateway.api.routes import House
from gateway.hangup import on_hangup
from gateway.houses import Houses, Part, kept
from gateway.ids import new_ids
from gateway.intake.callers import Allowance, Allowances, Callers
from gateway.intake.picture import PictureLimits
from gateway.lasting import Ground, Lasting, open_lasting, run_beside
from gateway.memory import Memory, remembered
from gateway.purchase import Services
from gateway.reconciliation import Count, Reconciliation, accounts_of, reconciler
from gateway.reloading import ConfigSource, NotNow, Reloader
from gateway.routing.deployments import Offer
from gateway.routing.probing import Prober, answering_free, ask_free
from gateway.settings import ConfigProblem, Settings
from gateway.settings.offers import Offered, found_problems, offered
from gateway.stop import Stop
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.shortages import Shortages
from gateway.telling import Telling
from gateway.uses import Uses
from providers.contract import Clock, Deadline, Decoders, Fetcher, Means, Provider, Workers
from providers.decoders import DecoderProcesses, usable_cores
from providers.fetch import GuardedFetcher, StandIns
from providers.guard import guarded_socket_factory, parse_allowed
from providers.registry import build_providers
from providers.sandbox import Sandbox, gateway_config
from providers.transport import HttpUpstream, trusted
from providers.workers import ThreadWorkers

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
WORKER_QUEUE = 1024
#: Connections to where news of budgets goes.
WEBHOOKS = 8


def show_key(key: str) -> None:
    """Show the first API key, this once, to whoever sits at a terminal: elsewhere it would end up in a log."""
    if sys.stderr.isatty():
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
    processes: int = 1,
    upstreams_here: bool = False,
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
        processes: how many gateways share this machine's cores with it, itself included.
        upstreams_here: whether the sandbox runs in this process, and so needs descriptors as well.
    """
    metrics = Metrics()
    log = make_logger(log_to, dropped=metrics.log_line_dropped)
    ground = Ground(
        gate=Gate(settings.limits.max_in_flight),
        bytes=BytesInFlight(_bytes_in_flight(settings)),
        shortages=Shortages(clock, count=metrics.shortage, log=log),
        metrics=metrics,
        log=log,
        telling=Telling(metrics, log),
        clock=clock,
        wall=wall,
        chance=random.Random(),  # noqa: S311 - what breaks ties and spreads retries is no secret
        new_id=new_ids(wall),
        show=show,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Stop]]:
        stop = Stop(clock)
        async with AsyncExitStack() as stack:
            workers = ThreadWorkers(threads=settings.limits.worker_threads, queue=WORKER_QUEUE)
            stack.callback(workers.close)
            decoders = _decoders(settings, clock, beside=processes)
            stack.callback(decoders.close)
            lasting = await open_lasting(settings, ground, workers, decoders, stack)
            descriptors = own_budget(upstreams_here=upstreams_here)
            log.info("descriptors", **asdict(descriptors))
            enter = partial(setattr, app.state, "house")
            houses = _houses(lasting, ground, descriptors, stop, stack, enter)
            await houses.renew(settings)
            ground.metrics.configured(wall())
            await run_beside(stack, _prober(lasting, ground, lambda: app.state.house.services).run())
            app.state.reload = None
            if source is not None:
                reloader = Reloader(source, settings, swap=houses.renew, count=ground.reloaded, log=ground.log)
                app.state.reload = reloader.reload
                await run_beside(stack, reloader.watch())
                stack.callback(on_hangup(reloader.ask))
            yield {Stop.NAME: stop}

    return build_api(
        lifespan,
        gate=ground.gate,
        metrics=ground.metrics,
        log=ground.log,
        clock=clock,
        new_id=ground.new_id,
        admin_port=settings.admin.port,
        shortages=ground.shortages,
    )


async def open_sandbox(*, host: str = "127.0.0.1", port: int = 0, strict: bool = False) -> Sandbox:
    """Start the fake upstreams on sockets of their own; *strict* ones refuse fields that no document names."""
    raise_limit()
    workers = ThreadWorkers(threads=2, queue=4096)
    return await Sandbox.start(host=host, port=port, workers=workers, strict=strict)


def sandbox_config(host: str, port: int) -> str:
    """Return the gateway's YAML for a sandbox on that host and port."""
    return gateway_config(host, port)


def check_settings(settings: Settings) -> list[ConfigProblem]:
    """Return what is wrong in settings that only the providers can tell: unknown models, endpoints, options."""
    return found_problems(settings, build_providers(_offline_means()))


def effective(settings: Settings) -> Settings:
    """
    Return the settings with what the providers fill in: deployments that the environment makes, and list prices.

    Raises:
        SettingsError: a deployment cannot work.
    """
    filled = _offered(settings, build_providers(_offline_means()))
    return settings.model_copy(update={"deployments": filled.priced()})


async def clear_up(settings: Settings, count: Count) -> int:
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
    clock, wall = time.monotonic, time.time
    async with AsyncExitStack() as stack:
        workers = ThreadWorkers(threads=settings.limits.worker_threads, queue=WORKER_QUEUE)
        stack.callback(workers.close)
        decoders = _decoders(settings, clock)
        stack.callback(decoders.close)
        supply = partial(_supplies, descriptors=own_budget(), tls=trusted(), clock=clock)
        supplies = supply(settings, workers=workers, decoders=decoders)
        supplies.held()
        stack.push_async_callback(supplies.let_go)
        providers = supplies.value.providers
        there = _offered(settings, providers)
        ledger = await Ledger.open(settings.ledger_url, wall=wall, clock=clock)
        stack.push_async_callback(ledger.close)
        accounts = accounts_of(there.offers, providers, there.prices(settings), at=wall())
        log = make_logger(sys.stderr)
        asking = reconciler(settings.reconcile, ledger, accounts, wall=wall, clock=clock, count=count, log=log)
        return await asking.round(force=True)


@dataclass(frozen=True, slots=True)
class _Supplies:
    """What calls go out with."""

    fetcher: Fetcher
    """For addresses that callers name; providers have one of their own."""
    guarded: HttpUpstream
    """For addresses that the operator names: where they lead may change under their names."""
    providers: Mapping[str, Provider]


@dataclass(frozen=True, slots=True)
class _Standing:
    """A house, what it was built from, and what the next one may share with it."""

    settings: Settings
    house: House
    memory: Memory
    supplies: Part[_Supplies]
    alerts: Part[Alerts]
    callers: Part[Callers]

    @property
    def uses(self) -> Uses:
        """Who is at work in it."""
        return self.house.services.uses

    @property
    def parts(self) -> tuple[Part[Any], ...]:
        """What is to be let go of, the last one first."""
        return self.supplies, self.alerts, self.callers


def _houses(
    lasting: Lasting,
    ground: Ground,
    descriptors: DescriptorBudget,
    stop: Stop,
    stack: AsyncExitStack,
    show: Callable[[House], None],
) -> Houses[_Standing]:
    """Return what swaps houses, and have *stack* close the last one once everything in flight has landed."""
    supply = partial(
        _supplies,
        descriptors=descriptors,
        tls=trusted(),
        workers=lasting.workers,
        decoders=lasting.decoders,
        clock=ground.clock,
    )
    reconciliation = Reconciliation(
        lasting.ledger,
        holder=lasting.gateway_id,
        wall=ground.wall,
        clock=ground.clock,
        count=ground.telling.reconciled,
        log=ground.log,
    )

    def enter(standing: _Standing) -> None:
        now, limits, services = lasting.now, standing.settings.limits, standing.house.services
        services.health.offer_free_probes(answering_free(services.offers, services.providers))
        now.grace_seconds, now.health = limits.grace_seconds, standing.memory.health
        ground.gate.resize(min(limits.max_in_flight, descriptors.requests))
        ground.bytes.resize(_bytes_in_flight(standing.settings))
        show(standing.house)

    async def follow(standing: _Standing, before: _Standing | None) -> None:
        if kept(before, standing.settings, _held_at) is None:
            services = standing.house.services
            accounts = accounts_of(services.offers, services.providers, services.prices, at=ground.wall())
            await reconciliation.begin(standing.settings.reconcile, accounts)

    async def land() -> None:
        await lasting.once.land(stop.left)
        await lasting.flights.land(stop.left())

    houses = Houses(stand=partial(_stand, lasting, ground, supply), enter=enter, follow=follow, log=ground.log)
    stack.push_async_callback(houses.close)
    stack.push_async_callback(reconciliation.end)
    stack.push_async_callback(land)
    return houses


def _prober(lasting: Lasting, ground: Ground, services: Callable[[], Services]) -> Prober:
    """Return who asks deployments something free; what it asks with is not closed meanwhile."""

    async def ask(name: str, deadline: Deadline) -> None:
        now = services()
        with now.uses:
            await ask_free(name, deadline, offers=now.offers, providers=now.providers)

    return Prober(lambda: lasting.now.health, ask, clock=ground.clock, tell=ground.telling.free_probe, log=ground.log)


def _stand(
    lasting: Lasting,
    ground: Ground,
    supply: Callable[[Settings], Part[_Supplies]],
    settings: Settings,
    before: _Standing | None,
) -> _Standing:
    """
    Build a house, and share with the one before what its settings leave as it is.

    Nothing is opened here: a connection is opened by the first call that needs one. So a refusal leaves nothing behind.

    Raises:
        SettingsError: a deployment cannot work.
        NotNow: they can be used once the database is back.
    """
    same = kept(before, settings, _access)
    if same is None and before is not None and lasting.ledger.journal.down_seconds is not None:
        raise NotNow("the ledger's database gives no answer: keys could not be read anew for this; try again later")
    callers = _callers(settings, lasting, ground) if same is None else same.callers
    same = kept(before, settings, lambda each: each.fetch)
    supplies = supply(settings) if same is None else same.supplies
    same = kept(before, settings, lambda each: (each.fetch, each.budgets))
    alerts = _alerts(settings, lasting, supplies.value.guarded, ground) if same is None else same.alerts
    providers, past = supplies.value.providers, None if before is None else before.memory
    there = _offered(settings, providers, None if past is None else past.offers)
    memory = remembered(
        settings,
        there,
        past,
        health=lasting.now.health,
        telling=ground.telling,
        clock=ground.clock,
        chance=ground.chance,
    )
    house = House(
        services=_services(settings, there, memory, providers, alerts.value, lasting, ground),
        callers=callers.value,
        gate=ground.gate,
        bytes=ground.bytes,
        limits=lasting.limits,
        once=lasting.once,
        quotes=lasting.quotes,
        quote_seconds=settings.quotes.ttl_seconds,
        budgets=lasting.budgets,
        fetcher=supplies.value.fetcher,
        fetch_seconds=settings.fetch.seconds,
        picture_limits=PictureLimits(max_bytes=settings.fetch.max_bytes, max_pixels=settings.limits.max_pixels),
        drains=lasting.drains,
        callback_readers=asyncio.Semaphore(READ_AT_ONCE),
    )
    return _Standing(settings, house, memory, supplies, alerts, callers)


def _services(
    settings: Settings,
    there: Offered,
    memory: Memory,
    providers: Mapping[str, Provider],
    alerts: Alerts,
    lasting: Lasting,
    ground: Ground,
) -> Services:
    """Return what the flow works with."""
    return Services(
        ledger=lasting.ledger,
        providers=providers,
        offers=there.offers,
        prices=there.prices(settings),
        catalogue={name: provider.models for name, provider in providers.items()},
        health=memory.health,
        router=memory.router,
        places=memory.places,
        retries=memory.retries,
        doubt=memory.doubt,
        hedges=memory.hedges,
        cache=lasting.cache,
        flights=lasting.flights,
        workers=lasting.workers,
        decoders=lasting.decoders,
        metrics=ground.metrics,
        alerts=alerts,
        drift=memory.drift,
        uncharged=ground.telling.uncharged,
        shortages=ground.shortages,
        log=ground.log,
        chance=ground.chance,
        clock=ground.clock,
        wall=ground.wall,
        new_id=ground.new_id,
        uses=Uses(),
    )


def _access(settings: Settings) -> object:
    """Return what decides who may do what."""
    return settings.tenant_rules, settings.default_rules, settings.access


def _held_at(settings: Settings) -> object:
    """Return what decides who is asked about attempts on hold, and when."""
    return settings.deployments, settings.environ, settings.public_url, settings.fetch, settings.reconcile


def _offered(
    settings: Settings, providers: Mapping[str, Provider], known: Mapping[str, Offer] | None = None
) -> Offered:
    """
    Return the deployments of a configuration, beside those *known* before it.

    Raises:
        SettingsError: a deployment cannot work.
    """
    return offered(settings, providers, callback_url=partial(callback_url, settings.public_url), known=known)


def _decoders(settings: Settings, clock: Clock, *, beside: int = 1) -> DecoderProcesses:
    """Return the decoder processes of one of *beside* gateways on this machine; none is started yet."""
    limits = settings.limits
    processes = limits.decoder_processes or max(1, usable_cores() // beside)
    return DecoderProcesses(processes=processes, memory_bytes=limits.decoder_memory_mb * 2**20, clock=clock)


def _bytes_in_flight(settings: Settings) -> int:
    """Return how many bytes of requests are held at once."""
    return settings.limits.bytes_in_flight or usual_bytes_in_flight()


def _supplies(
    settings: Settings,
    *,
    descriptors: DescriptorBudget,
    tls: ssl.SSLContext,
    workers: Workers,
    decoders: Decoders,
    clock: Clock,
) -> Part[_Supplies]:
    """Return the providers and the ways out that they share."""
    stack = AsyncExitStack()
    upstream = HttpUpstream(clock, tls=tls, connections=descriptors.calls)
    stack.push_async_callback(upstream.close)
    wishes, fetches = settings.fetch, max(1, descriptors.fetches // 2)
    bring = partial(GuardedFetcher, clock, max_redirects=wishes.max_redirects, tls=tls, connections=fetches)
    guard = bring(allow=wishes.pictures)
    stack.push_async_callback(guard.close)
    fetcher = StandIns(guard, wishes.instead) if wishes.instead else guard
    masks = bring(allow=wishes.masks)
    stack.push_async_callback(masks.close)
    sockets = guarded_socket_factory(parse_allowed(wishes.webhooks))
    guarded = HttpUpstream(clock, socket_factory=sockets, tls=tls, connections=WEBHOOKS)
    stack.push_async_callback(guarded.close)
    means = Means(
        upstream=upstream, fetcher=masks, workers=workers, decoders=decoders, clock=clock, sleep=asyncio.sleep
    )
    providers = build_providers(means)
    for provider in providers.values():
        stack.push_async_callback(provider.close)
    return Part(_Supplies(fetcher, guarded, providers), stack.aclose)


def _alerts(settings: Settings, lasting: Lasting, upstream: HttpUpstream, ground: Ground) -> Part[Alerts]:
    """Return who tells of budgets."""
    budgets, webhook = settings.budgets, None
    if budgets.webhook_url:

        def attempted(message: Message, reason: str | None) -> None:
            ground.metrics.webhook(taken=reason is None)
            if reason is not None:
                ground.log.warning("budget_webhook_failed", webhook_id=message.id, reason=reason)

        webhook = Webhook(
            budgets.webhook_url,
            signing_keys([budgets.webhook_secret]),
            upstream=upstream,
            clock=ground.clock,
            wall=ground.wall,
            sleep=asyncio.sleep,
            attempted=attempted,
        )
    alerts = Alerts(
        lasting.ledger.database,
        webhook,
        count=ground.metrics.budget,
        wall=ground.wall,
        holder=lasting.gateway_id,
    )
    return Part(alerts, alerts.close)


def _callers(settings: Settings, lasting: Lasting, ground: Ground) -> Part[Callers]:
    """Return who says who asks, and what the operator allows whom."""
    tenants = {name: Allowance(policy, limit) for name, (policy, limit) in settings.tenant_rules.items()}
    callers = Callers(
        lasting.ledger.keys,
        keyless=settings.access.keyless_on_loopback and settings.host in LOOPBACK,
        clock=ground.clock,
        bell=lasting.bell,
        allowances=Allowances(tenants, Allowance(*settings.default_rules)),
        answers=lambda: lasting.ledger.journal.answers,
    )
    return Part(callers, callers.close)


def _offline_means() -> Means:
    """Return means for checking a configuration: nothing is called with them."""
    clock = time.monotonic
    return Means(
        upstream=HttpUpstream(clock),
        fetcher=GuardedFetcher(clock),
        workers=ThreadWorkers(threads=1, queue=0),
        decoders=DecoderProcesses(processes=1, memory_bytes=0, clock=clock),
        clock=clock,
        sleep=asyncio.sleep,
    )
