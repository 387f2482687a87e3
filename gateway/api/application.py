"""The HTTP face in one piece: every route, what OpenAPI says of it, and what surrounds every request."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any, NoReturn

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.admission import Gate
from gateway.api import admin_budgets, admin_deployments, admin_keys, admin_reload, callbacks, ledger, routes
from gateway.api.documents import install
from gateway.api.schema import (
    DeploymentsShape,
    ProblemShape,
    QuoteShape,
    ReadyShape,
    SegmentationShape,
    UsageShape,
)
from gateway.api.trace import Surroundings
from gateway.problems import InvalidRequest, MethodNotAllowed, NotFound
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.shortages import Shortages
from providers.contract import Clock

SHAPES: tuple[type[BaseModel], ...] = (
    SegmentationShape,
    QuoteShape,
    DeploymentsShape,
    UsageShape,
    ReadyShape,
    ProblemShape,
    ledger.LedgerShape,
    *admin_keys.SHAPES,
    *admin_budgets.SHAPES,
    *admin_deployments.SHAPES,
    *admin_reload.SHAPES,
)

#: How much of an unknown path is repeated to whoever asked for it, in characters.
_MOST_PATH = 200

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]
"""Sets `app.state.house` and `app.state.reload`, which the routes read; gives the server what its connections see."""


def build_api(
    lifespan: Lifespan,
    *,
    gate: Gate,
    metrics: Metrics,
    log: Any,
    clock: Clock,
    new_id: Callable[[str], str],
    admin_port: int | None,
    shortages: Shortages,
) -> FastAPI:
    """
    Build the app that answers on HTTP.

    Args:
        lifespan: opens what the routes work with when the app is started, and closes it when that is stopped.
        gate: bounds how much is worked on at once.
        metrics: counts every answer.
        log: gets one line for each.
        clock: monotonic seconds.
        new_id: makes an id with that prefix.
        admin_port: where alone the admin routes are answered; None where they are on every port.
        shortages: is told of what this machine had none of for a request.
    """
    app = FastAPI(
        title="Maskgate",
        version=version("maskgate"),
        summary="One API for image segmentation over every provider that can do it.",
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # the address that it would lead to is not the one behind a proxy that ends TLS
    )
    served: list[APIRoute] = []
    for each in (routes, ledger, callbacks, admin_keys, admin_budgets, admin_deployments, admin_reload):
        app.include_router(each.router)
        served += [route for route in each.router.routes if isinstance(route, APIRoute)]
    app.add_exception_handler(HTTPException, _refuser(served))
    app.add_middleware(
        Surroundings,
        gate=gate,
        metrics=metrics,
        log=log,
        clock=clock,
        new_id=new_id,
        admin_port=admin_port,
        shortages=shortages,
        direct={("POST", "/v1/segmentations"): routes.segment},
    )
    app.state.admin_port = admin_port
    install(app, SHAPES)
    return app


def _refuser(served: Sequence[APIRoute]) -> Callable[[Request, Exception], Coroutine[Any, Any, NoReturn]]:
    """Return what says in our own words what the framework found; `Surroundings` writes it."""

    async def refuse(request: Request, error: Exception) -> NoReturn:
        status, path = error.status_code if isinstance(error, HTTPException) else 500, request.url.path[:_MOST_PATH]
        if status == 404:
            raise NotFound(f"there is no {path}; /openapi.json lists what there is") from error
        if status == 405:
            problem = MethodNotAllowed(f"{path} does not take {request.method}")
            problem.allowed = _methods(served, request.scope["path"])
            raise problem from error
        raise InvalidRequest(str(error)) from error

    return refuse


def _methods(served: Sequence[APIRoute], path: str) -> list[str]:
    """Return the methods that a path takes; HEAD wherever GET is, as `Surroundings` has it."""
    methods = {method for route in served if route.path_regex.match(path) for method in route.methods or ()}
    return sorted(methods | {"GET", "HEAD"} if "GET" in methods or not methods else methods)
