"""Every route: read, call the flow, write."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from gateway.admission import Gate
from gateway.api.answers import Answered, attempts_of, charged, deployment_body, quote_body, segmentation_body
from gateway.api.documents import USAGE_PARAMETERS, describe
from gateway.api.reading import read_request
from gateway.api.schema import DeploymentsShape, QuoteShape, ReadyShape, SegmentationShape, UsageShape
from gateway.api.trace import Trace, trace_of
from gateway.api.usage import read_usage_query, usage_body, usage_csv, wants_csv
from gateway.flow import Services, answer_all, open_deployments
from gateway.intake.callers import Callers, Peer
from gateway.intake.normalize import normalize
from gateway.intake.picture import PictureLimits, bring_picture
from gateway.problems import GatewayError
from gateway.quoting import quote
from gateway.request import Answer, Caller, SegmentationRequest
from providers.contract import Deadline, Fetcher


@dataclass(frozen=True, slots=True)
class House:
    """What the routes work with; built once, in app.py."""

    services: Services
    callers: Callers
    gate: Gate
    fetcher: Fetcher
    fetch_seconds: float
    picture_limits: PictureLimits


class PlainRoute(APIRoute):
    """A route whose endpoint takes the request and gives the response: no parameters to solve, on every hot path."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint as it is; `documents.py` describes it."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


router = APIRouter(route_class=PlainRoute)

#: No shared cache on the way may keep what one tenant paid for.
PRIVATE = {"Cache-Control": "private, no-store"}


def house_of(request: Request) -> House:
    """Return the house that this app was built with."""
    house: House = request.app.state.house
    return house


@router.post("/v1/segmentations", **describe("Segment one picture", SegmentationShape, takes_picture=True))
async def segment(request: Request) -> Response:
    """Answer every prompt about one picture, from the cache or from the best deployment, until the deadline."""
    house, trace = house_of(request), trace_of(request)
    clock = house.services.clock
    started = clock()
    asked, fetch_ms = await _asked(request, house, trace)
    answers = await answer_all(asked, house.services)
    trace.charged_microusd = charged(answers)
    trace.deployments = [attempt.deployment for attempt in attempts_of(answers)]
    problem = _failed(answers)
    if problem is not None:
        trace.outcome = problem.code
        raise problem
    body = await segmentation_body(
        asked,
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
    asked, _ = await _asked(request, house, trace)
    return _json(quote_body(asked, await quote(asked, house.services), request_id=trace.request_id))


@router.get("/v1/deployments", **describe("List the deployments", DeploymentsShape))
async def list_deployments(request: Request) -> Response:
    """List every deployment with its capabilities, limits, price and health."""
    house = house_of(request)
    await _caller(request, house, trace_of(request))
    views = house.services.health.views()
    listed = [deployment_body(offer, views[offer.name]) for offer in house.services.offers]
    return _json({"object": "list", "deployments": listed})


@router.get("/v1/usage", **describe("Add up what was spent", UsageShape, query=USAGE_PARAMETERS))
async def report_usage(request: Request) -> Response:
    """Add up the caller's own spending: attempts and micro-dollars, settled, held, open and released."""
    house = house_of(request)
    caller = await _caller(request, house, trace_of(request))
    query = read_usage_query(request.query_params, caller)
    as_csv = wants_csv(request.query_params, request.headers.get("accept", ""))
    report = await house.services.ledger.usage(query)
    if as_csv:
        return Response(usage_csv(report), media_type="text/csv; charset=utf-8", headers=PRIVATE)
    return _json(usage_body(report))


@router.get("/healthz", **describe("Say that the process lives", None))
async def live(_request: Request) -> Response:
    """Answer: that is all it proves."""
    return _json({"status": "ok"})


@router.get("/readyz", **describe("Say whether traffic may come", ReadyShape))
async def ready(request: Request) -> Response:
    """Say whether the ledger can record spending and any deployment takes traffic; 503 when not."""
    services = house_of(request).services
    ledger = await services.ledger.ready()
    closed = set(open_deployments(services))
    able = sum(offer.price is not None and offer.name not in closed for offer in services.offers)
    status = "ready" if ledger and able else "not_ready"
    shared = services.cache.shared
    body = {
        "status": status,
        "ledger": ledger,
        "deployments": able,
        "shared_cache": None if shared is None else shared.in_use,
    }
    return _json(body, status=200 if status == "ready" else 503)


@router.get("/metrics", **describe("Prometheus metrics", None))
async def metrics(request: Request) -> Response:
    """Return every series in Prometheus' text format."""
    house = house_of(request)
    services, ledger = house.services, house.services.ledger
    text = services.metrics.text(
        open_deployments=open_deployments(services),
        in_flight=house.gate.taken,
        cache_bytes=services.cache.bytes,
        ledger={
            "operations": ledger.journal.operations,
            "transactions": ledger.journal.transactions,
            "parked": ledger.parked,
        },
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def _asked(request: Request, house: House, trace: Trace) -> tuple[SegmentationRequest, int]:
    """Bring a request in: who asks, what, about which picture. Nothing is spent before this is done."""
    clock = house.services.clock
    caller = await _caller(request, house, trace)
    body, source = await read_request(
        request, max_picture_bytes=house.picture_limits.max_bytes, workers=house.services.workers
    )
    deadline = Deadline.after(body.route.deadline_seconds, clock)
    started = clock()
    picture = await bring_picture(
        source,
        fetcher=house.fetcher,
        workers=house.services.workers,
        limits=house.picture_limits,
        deadline=deadline.sooner(house.fetch_seconds),
    )
    fetch_ms = round((clock() - started) * 1000)
    trace.answer_id = house.services.new_id("seg")
    return normalize(body, picture, request_id=trace.answer_id, caller=caller, deadline=deadline), fetch_ms


async def _caller(request: Request, house: House, trace: Trace) -> Caller:
    address = request.client.host if request.client is not None else None
    caller = await house.callers.identify(Peer(address, request.headers))
    trace.tenant, trace.key_id = caller.tenant, caller.key_id
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
