"""
What surrounds every request: its id, its place in the house, its one log line, its metrics, and the last net.

Written as plain ASGI, since it stands on the hot path of every answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.accounting import LedgerUnavailable
from gateway.admission import Gate
from gateway.api.bodies import REFUSED
from gateway.api.ports import misplaced
from gateway.api.problems import MEDIA_TYPE, foreseen, problem_body, problem_headers, status_of
from gateway.problems import GatewayError, InternalError, NotFound, Stopping
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.shortages import Shortages
from providers.contract import Clock, OwnShortage, shortage_of

#: A caller's own id is taken over when it can stand in a log line.
OWN_ID = re.compile(r"^[A-Za-z0-9._:-]{1,64}$")

STOPPING = (
    "the gateway is being stopped, and this was not answered in time; ask again. A call that was under way is looked "
    "up, and charged only where its provider bills it"
)

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(slots=True)
class Trace:
    """What is noted of one request on its way, for the log line."""

    request_id: str
    started: float | None = None
    """When it came in, before it waited for anything, by the gateway's monotonic clock."""
    answer_id: str | None = None
    """The id of the answer: the ledger's name for the request."""
    outcome: str = "ok"
    tenant: str | None = None
    key_id: str | None = None
    charged_microusd: int = 0
    deployments: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    """What the answer carries beside its own headers, whether it is a good one or a problem."""
    gate: Gate | None = None
    """Bounds how much is worked on at once."""
    inside: bool = False
    """Whether it has a place at the gate; `Surroundings` gives that back."""

    async def enter(self, sender: str) -> None:
        """
        Take a place among the requests that are worked on, unless this one has its place already.

        Only who is known, or brought a whole body, comes in: whoever opens connections and sends nothing, or has no
        key, takes no place from anybody. So the routes call this, each where it has what it needs.

        Args:
            sender: whose turn it is, where there are no places.

        Raises:
            Overloaded: there is none in time.
        """
        if self.inside or self.gate is None:
            return
        await self.gate.enter(sender)
        self.inside = True


def trace_of(request: Request) -> Trace:
    """Return the trace that `Surroundings` made for this request."""
    trace: Trace = request.scope["maskgate.trace"]
    return trace


def problem_message(problem: GatewayError, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Return a problem as status, headers and body."""
    headers = {"content-type": MEDIA_TYPE, **problem_headers(problem)}
    return status_of(problem), headers, orjson.dumps(problem_body(problem, request_id))


class Surroundings:
    """ASGI middleware around the whole app."""

    def __init__(  # noqa: PLR0913 - the framework hands them on one by one
        self,
        app: ASGIApp,
        *,
        gate: Gate,
        metrics: Metrics,
        log: Any,
        clock: Clock,
        new_id: Callable[[str], str],
        admin_port: int | None,
        direct: Mapping[tuple[str, str], Endpoint],
        shortages: Shortages,
    ) -> None:
        """
        Stand around *app*.

        Args:
            app: what answers.
            gate: bounds how much is worked on at once.
            metrics: counts every answer.
            log: gets one line for each.
            clock: monotonic seconds.
            new_id: makes an id with that prefix.
            admin_port: where alone the admin routes are answered; None where they are on every port.
            direct: endpoints by method and path that are called from here: matching a path known to the letter in the
                framework's routers and layers costs as much as a tenth of a whole answer.
            shortages: is told of what this machine had none of for a request.
        """
        self._app = app
        self._gate = gate
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._new_id = new_id
        self._admin_port = admin_port
        self._direct = direct
        self._shortages = shortages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock()
        trace = Trace(_own_id(scope) or self._new_id("req"), started, gate=self._gate)
        scope["maskgate.trace"] = trace
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = [(name.lower().encode(), value.encode("latin-1")) for name, value in trace.headers.items()]
                own = (b"x-request-id", trace.request_id.encode())
                message["headers"] = [*message.get("headers", ()), *more, own]
            await send(message)

        try:
            await self._answered(scope, receive, noting)
        except (Exception, asyncio.CancelledError) as error:
            problem = self._problem(error, scope, trace, begun=bool(status))
            if problem is None:  # half an answer is out: the connection has to break, or it would pass for a whole one
                raise
            await _answer(problem, trace, noting)
        finally:
            if trace.inside:
                self._gate.leave()
            self._note(scope, trace, status, self._clock() - started)

    def _problem(
        self, error: Exception | asyncio.CancelledError, scope: Scope, trace: Trace, *, begun: bool
    ) -> GatewayError | None:
        """Return what to answer for an exception; None where an answer has begun. What nobody foresaw is logged."""
        if isinstance(error, asyncio.CancelledError):  # by the server, which is to stop and has waited long enough
            return None if begun else Stopping(STOPPING, retry_after_seconds=1.0)
        resource = shortage_of(error)
        if resource is not None and not isinstance(error, GatewayError):
            self._shortages.met(resource, _could_not(error), detail=f"{type(error).__name__}: {error}")
        problem = foreseen(error)
        if problem is None or begun:
            self._log.exception("request_broke", request_id=trace.request_id, path=scope["path"])
            problem = InternalError("the gateway failed; the log has it under request_id")
        return None if begun else problem

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = scope.get(REFUSED)
        if refused is not None:
            raise refused
        if misplaced(scope, self._admin_port):
            raise NotFound("this path is not answered on this port")
        if scope["method"] == "HEAD":  # answered as GET is; the server leaves the body out, by its own scope
            scope = {**scope, "method": "GET"}
        endpoint = self._direct.get((scope["method"], scope["path"]))
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)

    def _note(self, scope: Scope, trace: Trace, status: int, seconds: float) -> None:
        self._metrics.request(trace.outcome, seconds)
        self._log.info(
            "request",
            request_id=trace.request_id,
            answer_id=trace.answer_id,
            method=scope["method"],
            path=scope["path"],
            status=status,
            outcome=trace.outcome,
            tenant=trace.tenant,
            key_id=trace.key_id,
            deployments=trace.deployments,
            charged_microusd=trace.charged_microusd,
            ms=round(seconds * 1000, 2),
        )


def _could_not(error: Exception) -> str:
    """Say what a shortage kept from being done, for anybody."""
    if isinstance(error, LedgerUnavailable):
        return "the database could not be asked"
    return "a picture could not be fetched" if isinstance(error, OwnShortage) else "a request could not be answered"


def _own_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = str(value.decode("latin-1"))
            return text if OWN_ID.match(text) else None
    return None


async def _answer(problem: GatewayError, trace: Trace, send: Send) -> None:
    trace.outcome = problem.code
    status, headers, body = problem_message(problem, trace.request_id)
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    encoded.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
