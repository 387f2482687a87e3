"""`/admin/v1/deployments/{name}`: see how a deployment does, drain it, and resume it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter
from pydantic import AfterValidator, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from gateway.accounting.budget_words import moment
from gateway.api.admin import admitted, describe_admin, read_body
from gateway.api.routes import PRIVATE, PlainRoute, house_of
from gateway.api.schema import Shape
from gateway.intake.body import Body
from gateway.problems import NotFound
from gateway.routing.health import BreakerState, Cause, HealthView
from gateway.store.drained import Drained

PATH = "/admin/v1/deployments/{name}"

_MICROS = 1_000_000


def _is_printable(text: str) -> str:
    """Refuse words that would break a table or a log line."""
    if not text.isprintable():
        raise ValueError("a reason of printable characters; take the others out")
    return text


class DrainBody(Body):
    """Why a deployment is drained."""

    reason: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_is_printable)
    ] = Field(description="for whoever asks why; every tenant can read it", examples=["maintenance until noon"])


class DrainedShape(Shape):
    """Who drained a deployment, and why."""

    reason: str
    key_id: str
    at: str


class DeploymentHealthShape(Shape):
    """How a deployment does, as the gateway that was asked sees it. Its figures are of this one gateway."""

    object: Literal["deployment_health"]
    name: str
    state: BreakerState = Field(description="whether it is asked: closed is yes, half_open for one call")
    cause: Cause | None = Field(description="why it is not closed")
    reason: str | None = Field(description="the same in words")
    not_closed_since: str | None = Field(description="UTC")
    retry_after_seconds: float = Field(description="until it may be asked again")
    openings: int = Field(description="how often its breaker has opened since the gateway was started")
    in_flight: int
    calls: int = Field(description="that ended within the last minute")
    error_rate: float = Field(description="the share of these that failed, 0 to 1")
    slow_rate: float = Field(description="the share of these that were slow, 0 to 1")
    hinted: bool = Field(description="another gateway found it bad lately, so it is asked last")
    drained: DrainedShape | None


#: What the document of the API needs to know of these routes.
SHAPES = (DrainBody, DrainedShape, DeploymentHealthShape)

router = APIRouter(route_class=PlainRoute)


@router.get(PATH, **describe_admin("Show how a deployment does", DeploymentHealthShape))
async def show_deployment(request: Request) -> Response:
    """Say whether a deployment is asked, why not, since when, and how its calls of the last minute went."""
    await admitted(request)
    return _shown(request, _known(request))


@router.post(PATH + "/drain", **describe_admin("Drain a deployment", DeploymentHealthShape, body=DrainBody))
async def drain_deployment(request: Request) -> Response:
    """
    Let no new call go to a deployment; those under way end. Drained again, it has the new reason.

    It holds on the gateway that was asked at once, on every other one on the database within a second or two, and until
    it is resumed, however often they are started anew.
    """
    caller = await admitted(request)
    name, body = _known(request), await read_body(request, DrainBody)
    await house_of(request).drains.drain(name, reason=body.reason, key_id=caller.key_id)
    return _shown(request, name)


@router.post(PATH + "/resume", **describe_admin("Resume a deployment", DeploymentHealthShape))
async def resume_deployment(request: Request) -> Response:
    """Let a deployment take traffic again; where it was not drained, nothing changes."""
    await admitted(request)
    name = _known(request)
    await house_of(request).drains.resume(name)
    return _shown(request, name)


def _known(request: Request) -> str:
    """
    Return the deployment that the path names.

    Raises:
        NotFound: there is none.
    """
    name: str = request.path_params["name"]
    health = house_of(request).services.health
    if name not in health:
        known = ", ".join(health.names) or "none"
        raise NotFound(f"there is no deployment {name[:100]!r}; there are {known}")
    return name


def _shown(request: Request, name: str) -> Response:
    house = house_of(request)
    view = house.services.health[name].view()
    body = health_json(name, view, house.drains.current.get(name), now=house.services.wall())
    return Response(orjson.dumps(body), media_type="application/json", headers=PRIVATE)


def health_json(name: str, view: HealthView, drained: Drained | None, *, now: float) -> dict[str, Any]:
    """Return how a deployment does as JSON; see `DeploymentHealthShape`. *now* is in seconds since 1970."""
    since = None if view.state is BreakerState.CLOSED else round((now - view.open_seconds) * _MICROS)
    if view.cause is Cause.DRAINED and drained is not None:
        since = drained.at
    return {
        "object": "deployment_health",
        "name": name,
        "state": view.state.value,
        "cause": None if view.cause is None else view.cause.value,
        "reason": view.reason,
        "not_closed_since": None if since is None else moment(since),
        "retry_after_seconds": round(view.retry_after_seconds, 3),
        "openings": view.openings,
        "in_flight": view.in_flight,
        "calls": view.calls,
        "error_rate": round(view.error_rate, 4),
        "slow_rate": round(view.slow_rate, 4),
        "hinted": view.hinted,
        "drained": None
        if drained is None
        else {"reason": drained.reason, "key_id": drained.key_id, "at": moment(drained.at)},
    }
