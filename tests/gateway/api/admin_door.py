"""A gateway with nothing but admin routes of one kind, on a real socket, and what asks them."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

from gateway.accounting import Ledger
from gateway.admission import Gate
from gateway.api.trace import Surroundings
from gateway.ids import new_ids
from gateway.request import Scope
from gateway.serving import running
from gateway.store import fingerprint
from gateway.store.keys import Grant
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.shortages import Shortages

ADMIN, PLAIN = "mg_" + "a" * 32, "mg_" + "p" * 32
Ask = Callable[..., tuple[int, Any]]


@asynccontextmanager
async def two_keys(database_url: str, wall: Callable[[], float]) -> AsyncIterator[Ledger]:
    """Open a ledger with an administrator's key and one of a tenant."""
    ledger = await Ledger.open(database_url, wall=wall, clock=time.monotonic, answer_seconds=10)
    admin = Grant(frozenset({Scope.ADMIN}))
    await ledger.keys.add_key("key_admin", tenant="default", sha256=fingerprint(ADMIN), grant=admin)
    await ledger.keys.add_key("key_plain", tenant="acme", sha256=fingerprint(PLAIN))
    yield ledger
    await ledger.close()


@contextmanager
def asking(router: APIRouter, wing: Callable[[], AbstractAsyncContextManager[object]], path: str) -> Iterator[Ask]:
    """
    Serve the routes with what they use of the house, and give what asks them, as the administrator unless told.

    Args:
        router: of the routes.
        wing: opens what they use of the house.
        path: where they begin; what is asked for is said from there on.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with wing() as app.state.house:
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(router)
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

    with running(lambda: app, host="127.0.0.1") as url:

        def asked(method: str, below: str, body: Any = None, *, key: str | None = ADMIN) -> tuple[int, Any]:
            headers = {"Content-Type": "application/json"}
            if key is not None:
                headers["Authorization"] = f"Bearer {key}"
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(url + path + below, data, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    assert "private, no-store" == answer.headers["Cache-Control"]
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as problem:
                with problem:
                    return problem.code, json.load(problem)

        yield asked
