"""An app behind the HTTP edge, with one route for each thing that a connection may be in the middle of."""

import asyncio
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from gateway.admission import Gate
from gateway.api.bodies import read_chunks
from gateway.api.trace import Surroundings
from gateway.ids import new_ids
from gateway.serving import running
from gateway.serving.limits import EdgeLimits
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.shortages import Shortages

MEGABYTE = 2**20


def make_app() -> FastAPI:
    """Return it: /hello, /count (bytes of the body), /late (reads it after a while), /large (32 MB)."""
    app = FastAPI(redirect_slashes=False)

    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("world")

    async def count(request: Request) -> PlainTextResponse:
        _, size = await read_chunks(request, most=MEGABYTE, remedy="Send less.")
        return PlainTextResponse(str(size))

    async def late(request: Request) -> PlainTextResponse:
        await asyncio.sleep(2)
        return await count(request)

    async def large(_: Request) -> PlainTextResponse:
        return PlainTextResponse("x" * (32 * MEGABYTE))

    app.add_route("/hello", hello, ["GET", "POST"])
    app.add_route("/count", count, ["POST"])
    app.add_route("/late", late, ["POST"])
    app.add_route("/large", large, ["GET"])
    app.add_middleware(
        Surroundings,
        gate=Gate(10),
        metrics=Metrics(),
        log=make_logger(io.StringIO()),
        clock=time.monotonic,
        new_id=new_ids(time.time),
        admin_port=None,
        shortages=Shortages(time.monotonic, count=lambda _: None, log=None),
        direct={},
    )
    return app


@contextmanager
def edge_running(limits: EdgeLimits | None = None) -> Iterator[str]:
    """Serve it while the block lasts, and give its URL."""
    with running(make_app, limits=limits) as url:
        yield url
