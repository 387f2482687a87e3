"""The HTTP face in one piece: every route, what OpenAPI says of it, and what surrounds every request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any, NoReturn

from fastapi import FastAPI
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

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
"""Sets `app.state.house` and `app.state.reload`, which the routes read, for as long as it lasts."""


def build_api(
    lifespan: Lifespan,
    *,
    gate: Gate,
    metrics: Metrics,
    log: Any,
    clock: Clock,
    new_id: Callable[[str], str],
    admin_port: int | None,
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
    """
    app = FastAPI(
        title="Maskgate",
        version=version("maskgate"),
        summary="One API for image segmentation over every provider that can do it.",
        lifespan=lifespan,
        redoc_url=None,
    )
    for each in (routes, ledger, callbacks, admin_keys, admin_budgets, admin_deployments, admin_reload):
        app.include_router(each.router)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_middleware(
        Surroundings,
        gate=gate,
        metrics=metrics,
        log=log,
        clock=clock,
        new_id=new_id,
        admin_port=admin_port,
        direct={("POST", "/v1/segmentations"): routes.segment},
    )
    install(app, SHAPES)
    return app


async def _refuse(request: Request, error: Exception) -> NoReturn:
    """Say what the framework found in our own words; `Surroundings` writes it."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        raise NotFound(f"there is no {request.url.path}; /openapi.json lists what there is") from error
    if status == 405:
        raise MethodNotAllowed(f"{request.url.path} does not take {request.method}") from error
    raise InvalidRequest(str(error)) from error
