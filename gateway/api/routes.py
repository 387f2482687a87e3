"""Every route: read, call the flow, write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.accounting.budget_words import WARNING_HEADER
from gateway.accounting.budgets import Budgets
from gateway.accounting.quote_tokens import QuoteTokens
from gateway.admission import BytesInFlight, Gate, Hold, Limits
from gateway.admission.idempotency import HEADER, idempotency_key
from gateway.api.answers import Answered, attempts_of, charged, deployment_body, quote_body, segmentation_body
from gateway.api.documents import describe
from gateway.api.once import Keyed, Once, fingerprint_of
from gateway.api.paging import pages_of
from gateway.api.ports import on_admin_port
from gateway.api.reading import read_request
from gateway.api.schema import DeploymentsShape, QuoteShape, ReadyShape, SegmentationShape, UsageShape
from gateway.api.trace import Trace, trace_of
from gateway.api.usage import PARAMETERS, read_usage_query, usage_body, usage_csv, wants_csv
from gateway.flow import answer_all, open_deployments
from gateway.intake.access import require
from gateway.intake.body import SegmentationBody
from gateway.intake.callers import Callers, Peer
from gateway.intake.normalize import normalize
from gateway.intake.picture import PictureLimits, PictureMeans, PictureSource, bring_picture
from gateway.problems import GatewayError
from gateway.purchase import Services
from gateway.quoting import digest_of, quote, terms_of
from gateway.request import Answer, Caller, Scope, SegmentationRequest
from gateway.routing.drain import Drains
from gateway.routing.screening import costs_nothing
from providers.contract import Deadline, Fetcher


@dataclass(frozen=True, slots=True)
class House:
    """What the routes work with; built once, in app.py."""

    services: Services
    callers: Callers
    gate: Gate
    bytes: BytesInFlight
    limits: Limits
    once: Once
    quotes: QuoteTokens
    quote_seconds: float
    """How long a quote binds."""
    budgets: Budgets
    fetcher: Fetcher
    fetch_seconds: float
    picture_limits: PictureLimits
    drains: Drains
    callback_readers: asyncio.Semaphore
    """A turn for each callback that is being read."""


class PlainRoute(APIRoute):
    """A route whose endpoint takes the request and gives the response: no parameters to solve, on every hot path."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint as it is; `documents.py` describes it."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


router = APIRouter(route_class=PlainRoute)

MICROS = 1_000_000

#: No shared cache on the way may keep what one tenant paid for.
PRIVATE = {"Cache-Control": "private, no-store"}


def house_of(request: Request) -> House:
    """Return the house that this app was built with."""
    house: House = request.app.state.house
    return house


IDEMPOTENT = {
    HEADER: "1 to 255 visible ASCII characters, quoted or bare: of all requests of a tenant with one key, one is worked"
    " on, and the others get its answer to the byte, for 24 hours unless the operator says otherwise"
}


@router.post(
    "/v1/segmentations", **describe("Segment one picture", SegmentationShape, takes_picture=True, headers=IDEMPOTENT)
)
async def segment(request: Request) -> Response:
    """Answer every prompt about one picture, from the cache or from the best deployment, until the deadline."""
    house, trace = house_of(request), trace_of(request)
    started = house.services.clock() if trace.started is None else trace.started
    with house.services.uses:
        return await _segment(request, house, trace, started)


async def _segment(request: Request, house: House, trace: Trace, started: float) -> Response:
    caller = await known_caller(request, Scope.SEGMENT)
    async with house.limits.admit(caller, trace.headers):
        with house.bytes.hold(caller.tenant) as held:
            return await _admitted(request, caller, held, house, trace, started)


async def _admitted(
    request: Request, caller: Caller, held: Hold, house: House, trace: Trace, started: float
) -> Response:
    key = idempotency_key(request.headers.getlist(HEADER))
    asked = await _read(request, caller, held, house, trace)
    await trace.enter(caller.key_id)
    if key is None:
        return await _segmented(asked, house, trace, started)
    body, source, workers = asked.body, asked.source, house.services.workers
    print_ = await fingerprint_of(request.method, request.url.path, body, source, workers)
    keyed = Keyed(caller.tenant, key, print_, asked.answer_id, asked.deadline)
    return await house.once.answer(keyed, trace, lambda: _segmented(asked, house, trace, started))


async def _segmented(asked: _Asked, house: House, trace: Trace, started: float) -> Response:
    """Bring the picture, answer, and write the answer; under an Idempotency-Key that is a task of its own."""
    with house.services.uses, asked.held:
        return await _answered(asked, house, trace, started)


async def _answered(asked: _Asked, house: House, trace: Trace, started: float) -> Response:
    clock = house.services.clock
    request, fetch_ms = await _with_picture(asked, house)
    promised = None
    if asked.body.quote_id is not None:
        now = round(house.services.wall() * MICROS)
        caller = asked.caller
        promised = house.quotes.open(asked.body.quote_id, tenant=caller.tenant, digest=digest_of(request), now=now)
        ceiling = request.route.max_charge
        ceiling = promised.most if ceiling is None else min(ceiling, promised.most)
        request = replace(request, route=replace(request.route, max_charge=ceiling))
    answers = await answer_all(request, house.services, promised)
    attempts = attempts_of(answers)
    trace.charged_microusd = charged(answers)
    trace.deployments = [attempt.deployment for attempt in attempts]
    warnings = dict.fromkeys(each for attempt in attempts for each in attempt.budget_warnings)
    if warnings:
        trace.headers[WARNING_HEADER] = ", ".join(warnings)
    problem = _failed(answers)
    if problem is not None:
        trace.outcome = problem.code
        raise problem
    body = await segmentation_body(
        request,
        answers,
        house.services,
        request_id=trace.request_id,
        fetch_ms=fetch_ms,
        total_ms=lambda: round((clock() - started) * 1000),
    )
    return _json(body, headers=_cost_headers(answers, body["timing_ms"]))


@router.post("/v1/quotes", **describe("Say what a request would cost", QuoteShape, takes_picture=True))
async def quote_request(request: Request) -> Response:
    """Say what a request would cost, by which deployments, in which order, and why the others are out."""
    house, trace = house_of(request), trace_of(request)
    with house.services.uses:
        return await _quoted(request, house, trace)


async def _quoted(request: Request, house: House, trace: Trace) -> Response:
    caller = await known_caller(request, Scope.SEGMENT)
    async with house.limits.admit(caller, trace.headers):
        with house.bytes.hold(caller.tenant) as held:
            read = await _read(request, caller, held, house, trace)
            await trace.enter(caller.key_id)
            asked, _ = await _with_picture(read, house)
            budgets = await house.budgets.of_caller(caller.tenant, caller.key_id, asked.tags)
            quoted = await quote(asked, house.services, budgets)
            expires_at = round((house.services.wall() + house.quote_seconds) * MICROS)
            terms = terms_of(asked, quoted, expires_at=expires_at)
            return _json(
                quote_body(asked, quoted, terms, quote_id=house.quotes.seal(terms), request_id=trace.request_id)
            )


@router.get("/v1/deployments", **describe("List the deployments", DeploymentsShape))
async def list_deployments(request: Request) -> Response:
    """List every deployment that the caller may ask with its capabilities, limits, price and health."""
    house = house_of(request)
    services = house.services
    caller = await caller_of(request)
    views, places, now = services.health.views(), services.places.views(), round(services.wall() * MICROS)
    listed = [
        deployment_body(offer, services.prices.price_at(offer.name, now), views[offer.name], places[offer.name])
        for offer in services.offers
        if not caller.keyless or costs_nothing(offer, services.prices.terms(caller.tenant, offer.name, now))
    ]
    return _json({"object": "list", "deployments": listed})


@router.get("/v1/usage", **describe("Add up what was spent", UsageShape, query=PARAMETERS))
async def report_usage(request: Request) -> Response:
    """Add up the caller's own spending: attempts and micro-dollars, settled, held, open and released."""
    house = house_of(request)
    caller = await caller_of(request)
    query = read_usage_query(request.query_params, caller)
    as_csv = wants_csv(request.query_params, request.headers.get("accept", ""))
    report = await house.services.ledger.usage(query)
    if as_csv:
        usage = house.services.ledger.usage
        pages = pages_of(request.query_params, report, lambda place: usage(replace(query, after=place)))
        lines = usage_csv(pages, query)
        return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=PRIVATE)
    return _json(usage_body(report))


@router.get("/healthz", **describe("Say that the process lives", None))
async def live(_request: Request) -> Response:
    """Answer: that is all it proves."""
    return _json({"status": "ok"})


@router.get("/readyz", **describe("Say whether traffic may come", ReadyShape))
async def ready(request: Request) -> Response:
    """Say whether the ledger can record spending, any deployment takes traffic and nothing has run out; 503 if not."""
    services = house_of(request).services
    ledger = await services.ledger.ready()
    closed = set(open_deployments(services))
    now = round(services.wall() * MICROS)
    able = sum(
        services.prices.price_at(offer.name, now) is not None and offer.name not in closed for offer in services.offers
    )
    short = dict(services.shortages.now())
    if (resource := services.ledger.journal.shortage) is not None:
        short.setdefault(resource.value, "spending cannot be recorded")
    status = "ready" if ledger and able and not short else "not_ready"
    shared = services.cache.shared
    body = {
        "status": status,
        "ledger": ledger,
        "deployments": able,
        "shared_cache": None if shared is None else shared.in_use,
        "shortages": short,
    }
    return _json(body, status=200 if status == "ready" else 503)


@router.get("/metrics", **describe("Prometheus metrics", None))
async def metrics(request: Request) -> Response:
    """Return every series in Prometheus' text format: to a key with the scope `metrics`, or on the admin port."""
    if not on_admin_port(request.scope, request.app.state.admin_port):
        await known_caller(request, Scope.METRICS)  # without a place: it tells how busy a full gateway is
    house = house_of(request)
    services, ledger = house.services, house.services.ledger
    text = services.metrics.text(
        open_deployments=open_deployments(services),
        in_flight=house.gate.taken,
        gate=(house.gate.limit, house.gate.waiting),
        held_bytes=(house.bytes.most, house.bytes.taken, house.bytes.waiting),
        places={name: (view.limit, view.waiting) for name, view in services.places.views().items()},
        cache_bytes=services.cache.bytes,
        ledger={
            "operations": ledger.journal.operations,
            "transactions": ledger.journal.transactions,
            "parked": ledger.parked,
        },
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was read and checked, but for its picture."""

    caller: Caller
    held: Hold
    body: SegmentationBody
    source: PictureSource
    deadline: Deadline
    answer_id: str


async def _read(request: Request, caller: Caller, held: Hold, house: House, trace: Trace) -> _Asked:
    """Read what is asked. Nothing is fetched or spent yet."""
    body, source = await read_request(
        request,
        max_picture_bytes=house.picture_limits.max_bytes,
        workers=house.services.workers,
        room=held.take,
    )
    trace.answer_id = house.services.new_id("seg")
    started = house.services.clock() if trace.started is None else trace.started
    deadline = Deadline(started + body.route.deadline_seconds, house.services.clock)
    return _Asked(caller, held, body, source, deadline, trace.answer_id)


async def _with_picture(asked: _Asked, house: House) -> tuple[SegmentationRequest, int]:
    """Bring the picture, and check what is asked about it; return how many milliseconds bringing it took, too."""
    clock = house.services.clock
    started = clock()
    picture = await bring_picture(
        asked.source,
        means=PictureMeans(
            house.fetcher,
            house.services.workers,
            house.services.decoders,
            fetch_seconds=house.fetch_seconds,
            room=asked.held.take,
        ),
        limits=house.picture_limits,
        deadline=asked.deadline,
        tenant=asked.caller.tenant,
    )
    fetch_ms = round((clock() - started) * 1000)
    request = normalize(asked.body, picture, request_id=asked.answer_id, caller=asked.caller, deadline=asked.deadline)
    return replace(request, held=asked.held), fetch_ms


async def caller_of(request: Request, scope: Scope | None = None) -> Caller:
    """
    Return who asks, as `known_caller` does, and take a place among the requests that are worked on.

    Raises:
        Overloaded: there is none.
    """
    caller = await known_caller(request, scope)
    await trace_of(request).enter(caller.key_id)
    return caller


async def known_caller(request: Request, scope: Scope | None = None) -> Caller:
    """
    Return who asks, by the head alone, and note it for the log.

    Args:
        request: any.
        scope: what the key has to allow; None where any good key will do.

    Raises:
        Unauthenticated: no key where one is needed, or one that is good for nothing.
        Forbidden: a key without the scope.
    """
    address = request.client.host if request.client is not None else None
    caller = await house_of(request).callers.identify(Peer(address, request.headers))
    trace = trace_of(request)
    trace.tenant, trace.key_id = caller.tenant, caller.key_id
    if scope is not None:
        require(caller, scope)
    return caller


def _failed(answers: Answered) -> GatewayError | None:
    """Return the problem of a request none of whose prompts was answered, with every attempt that was made."""
    problems = [answer for answer in answers if isinstance(answer, GatewayError)]
    if len(problems) < len(answers):
        return None
    problems[0].attempts = tuple(attempts_of(answers))
    return problems[0]


def _cost_headers(answers: Sequence[Answer | GatewayError], timing: dict[str, int]) -> dict[str, str]:
    """Return what an answer cost, as headers; lists are in the order of the prompts."""
    good = [answer for answer in answers if isinstance(answer, Answer)]
    return {
        "Maskgate-Charge-Microusd": str(charged(answers)),
        "Maskgate-Deployment": ", ".join(answer.origin.deployment for answer in good),
        "Maskgate-Cache": ", ".join(answer.cache.value for answer in good),
        "Server-Timing": ", ".join(f"{name};dur={value}" for name, value in timing.items()),
    }


def _json(body: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(body),
        status_code=status,
        media_type="application/json",
        headers={**PRIVATE, **(headers or {})},
    )
