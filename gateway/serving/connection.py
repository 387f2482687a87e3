"""
One connection: uvicorn's protocol, with bounds on what it takes and for how long, and with its refusals as problems.

What the parser or a bound refuses goes through the app like any request, with the problem in its scope: so it is
logged, counted, answered in its turn and in the same form. Afterwards nothing on the connection is a request any more;
what is still sent is thrown away for a while before it is closed, since closing at once would reset it, and the caller
might never read the answer.
"""

from __future__ import annotations

import asyncio
import enum
import urllib.parse
from typing import Any, NoReturn, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.api.bodies import REFUSED
from gateway.problems import (
    GatewayError,
    HeadersTooLarge,
    MalformedBody,
    MalformedRequest,
    Overloaded,
    RequestTimeout,
    TargetTooLong,
)
from gateway.serving.draining import Draining
from gateway.serving.exchange import SMALL_BYTES, Exchange
from gateway.serving.heads import framing_of, parser_problem
from gateway.serving.limits import EdgeLimits
from gateway.serving.pace import Pace
from gateway.serving.transport import GentleTransport
from gateway.stop import Stop


class Reading(enum.Enum):
    """What is to be read next."""

    HEAD = 1
    BODY = 2
    NOTHING = 3
    """A request is whole; the next may follow."""


class Refused(Exception):
    """Stops the parser in the middle of what it was given."""


class Connection(HttpToolsProtocol):
    """
    A caller's connection.

    Attributes:
        reading: what is to be read next.
        since: when that began, by the loop's clock.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: EdgeLimits,
        draining: Draining,
        full: bool,
    ) -> None:
        """
        Begin.

        Args:
            config: as uvicorn gives it, like the next three.
            server_state: of the process.
            app_state: of the app.
            _loop: the running one.
            limits: what it may take.
            draining: gives turns to read what nobody wants.
            full: whether there are too many connections, so that this one is only told so.
        """
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._draining = draining
        self._full = full
        self.reading = Reading.HEAD
        self.since = self.loop.time()
        self._way: GentleTransport = None  # type: ignore[assignment]  # known when the connection is made
        self._head_bytes = 0
        self._refusal: GatewayError | None = None
        self._body_head = b""  # what a parser that has left off at an Upgrade is replaced for
        self._replaying = False
        self._given_up = False  # nothing that comes is a request any more
        self._half_closed = False
        self._wire_bytes = 0
        self._body_bytes = 0
        self._pace = Pace(limits)

    # What the loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to read."""
        self._way = GentleTransport(transport, self.loop.time, self._draining)
        super().connection_made(cast("asyncio.Transport", self._way))

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._given_up or self._way.closing:
            self._throw_away(len(data))
            return
        if self.reading is Reading.NOTHING:
            self.reading, self.since, self._head_bytes = Reading.HEAD, self.loop.time(), 0
        if self.reading is Reading.HEAD:
            room = self._limits.head_bytes - self._head_bytes
            self._head_bytes += len(data)
            if len(data) > room:
                self._feed(data[:room])
                self._refuse_longer_head()
                data = data[room:]
        if data and not self._given_up:
            self._feed(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # the base says None, which the loop takes for False
        """Say whether the connection stays: a caller that only ends its sending still waits for its answer."""
        if self._given_up or self._way.closing:
            return not self._answered
        self._half_closed, self._way.lingers = True, False
        if self.reading is Reading.BODY:
            self._refuse_body(MalformedBody("the body ended early"))
        elif self.reading is Reading.HEAD and self._head_bytes:
            self._refuse_head(MalformedRequest("the request ended before its head was whole"))
        return not self._answered

    # What the parser calls

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._replaying:
            return
        if self.reading is not Reading.HEAD:
            self.reading, self.since, self._head_bytes = Reading.HEAD, self.loop.time(), 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        if self._replaying:
            return
        self.url += url
        if len(self.url) > self._limits.target_bytes:
            self._stop(TargetTooLong(f"the address has more than {self._limits.target_bytes} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is read and left alone, since the request is under way without it."""
        if self.reading is not Reading.HEAD:
            return
        if len(self.headers) >= self._limits.head_lines:
            self._stop(HeadersTooLarge(f"the request has more than {self._limits.head_lines} headers"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        if self._replaying:
            return
        scope, version = self.scope, self.parser.get_http_version()
        scope["method"] = self.parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        try:
            self._locate()
            framing = framing_of(self.headers, method=scope["method"], version=version)
            self._check_room()
        except GatewayError as problem:
            self._stop(problem)
        self.reading = Reading.BODY
        self._way.lingers = True
        self._wire_bytes = self._body_bytes = 0
        if framing.length != 0:
            self._pace = Pace(self._limits)
            if self.parser.should_upgrade():
                self._body_head = framing.as_head()
        self._begin(
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            skips=framing.length is not None and framing.length <= SMALL_BYTES,
            expects=self.expect_100_continue and version != "1.0",
        )
        if framing.length is None or framing.length > SMALL_BYTES:
            self.flow.pause_reading()  # until the app asks for it: while that waits for room, it stays with the caller

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """End a request."""
        if self._body_head:  # the parser takes what follows an Upgrade for another protocol
            return
        self.reading, self.since = Reading.NOTHING, self.loop.time()
        self._way.lingers = False
        self.cycle.more_body = False
        if not self.cycle.response_complete:
            self.cycle.message_event.set()

    # What an exchange calls

    def on_response_complete(self) -> None:
        """End an answer, and begin the next."""
        self.server_state.total_requests += 1
        self.since = self.loop.time()
        self.flow.resume_reading()
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._half_closed:
            self.transport.close()

    # What the server calls

    def shutdown(self) -> None:
        """Note that the server is told to stop; close the connection, now or behind the answer that is under way."""
        stop = self.app_state.get(Stop.NAME)
        if stop is not None:
            stop.begin()
        super().shutdown()

    # What the edge calls

    @property
    def idle(self) -> bool:
        """Whether nothing is under way: it can be closed without harm to anybody who has asked something."""
        return self._answered and self.reading is not Reading.BODY and not self._way.closing

    @property
    def _answered(self) -> bool:
        """Whether all that was asked so far is answered; the cycle is that of the last request, if there was one."""
        cycle: object = self.cycle
        return cycle is None or self.cycle.response_complete

    def drop(self) -> None:
        """Close it at once."""
        self._way.abort()

    def check(self, now: float, seconds: float) -> None:
        """
        End what takes too long.

        Args:
            now: by the loop's clock.
            seconds: since the last look.
        """
        limits = self._limits
        if self._way.stalled(now, limits):
            self._way.abort()
        elif self._given_up or self._way.closing:
            return
        elif self.reading is Reading.BODY:
            waits = cast("Exchange", self.cycle).body_waits or self._way.has_unread()
            slow = self._pace.problem(self._body_bytes, seconds=seconds, waits_for_us=waits)
            if slow is not None:
                self._refuse_body(slow)
        elif self.reading is Reading.HEAD:
            if now - self.since > limits.head_seconds:
                self._refuse_head(RequestTimeout(f"the head was not whole after {limits.head_seconds:g} s"))
        elif self.idle and now - self.since > limits.idle_seconds:
            self.transport.close()

    def _feed(self, data: bytes) -> None:
        """Have the parser read that."""
        self._wire_bytes += len(data)
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:  # not taken up: what follows is HTTP/1.1 as before
                data = data[upgrade.args[0] :]
                self._read_body_after_upgrade()
                continue
            except httptools.HttpParserError as error:
                self._broken(error, data)
            break
        if self.reading is Reading.BODY and self._wire_bytes > self._limits.framing_bytes + 9 * self._body_bytes:
            self._refuse_body(MalformedRequest("the body has more framing than content; send larger chunks"))

    def _read_body_after_upgrade(self) -> None:
        """
        Go on with a request's body where the parser has left off at its Upgrade header.

        Java's client asks to change to HTTP/2 in that way with every request, bodies and all; the bindings of the
        parser skip the body then, and would take it for the next request.
        """
        if not self._body_head:
            return
        self.parser, head, self._body_head = httptools.HttpRequestParser(self), self._body_head, b""
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as the base has it
        self._replaying = True
        self.parser.feed_data(head)
        self._replaying = False

    def _broken(self, error: httptools.HttpParserError, data: bytes) -> None:
        """Answer what could not be parsed, or was refused on the way."""
        problem = self._refusal or parser_problem(type(error).__name__, str(error), data[:200])
        if self.reading is Reading.BODY:
            self._refuse_body(problem)
        else:
            self._refuse_head(problem)

    def _stop(self, problem: GatewayError) -> NoReturn:
        """Stop the parser, and answer with that problem."""
        self._refusal = problem
        raise Refused

    def _locate(self) -> None:
        """Write into the scope what is asked for."""
        scope = self.scope
        if self.url == b"*":
            scope["path"], scope["raw_path"], scope["query_string"] = "*", b"*", b""
            return
        try:
            url = httptools.parse_url(self.url)
            raw = url.path or b"/"
            path = raw.decode("ascii")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            if scope["method"] == "CONNECT":
                return
            raise MalformedRequest("the address in the request line cannot be read") from None
        scope["path"] = self.root_path + (urllib.parse.unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + raw
        scope["query_string"] = url.query or b""

    def _check_room(self) -> None:
        """
        Make sure that there is room for one more request.

        Raises:
            Overloaded: there is none.
        """
        if self._full:
            raise Overloaded("there are as many connections as this gateway takes at once", retry_after_seconds=1.0)
        if len(self.pipeline) >= self._limits.pipelined:
            raise Overloaded(f"{len(self.pipeline)} requests wait on this connection for the answers to those before")

    def _begin(self, *, keep_alive: bool, skips: bool, expects: bool) -> None:
        """Begin to answer, or wait for the answers to earlier requests."""
        first = self._answered and not self.pipeline
        self.cycle = Exchange(
            skips=skips,
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=expects,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        if first:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _refuse_longer_head(self) -> None:
        """Refuse a head that is not whole, unless it is refused already."""
        if self.reading is Reading.HEAD and not self._given_up:
            self._refuse_head(HeadersTooLarge(f"the request's head has more than {self._limits.head_bytes} bytes"))

    def _refuse_head(self, problem: GatewayError) -> None:
        """Answer a request whose head is refused, behind those before it; it is the last one."""
        self._give_up()
        scope, cycle = cast("dict[str, Any] | None", self.scope), cast("Exchange | None", self.cycle)
        if scope is None or (cycle is not None and cycle.scope is self.scope):  # the request has not even begun
            super().on_message_begin()
            scope = cast("dict[str, Any]", self.scope)
        scope.setdefault("method", self.parser.get_method().decode("ascii") if self.url else "")
        scope.setdefault("path", self.url[:200].decode("latin-1"))
        scope.setdefault("raw_path", self.url[:200])
        scope.setdefault("query_string", b"")
        scope[REFUSED] = problem
        self._begin(keep_alive=False, skips=False, expects=False)

    def _refuse_body(self, problem: GatewayError) -> None:
        """Have the request whose body is refused answered so; it is the last one."""
        self._give_up()
        exchange = cast("Exchange", self.cycle)
        if exchange.response_complete:
            self.transport.close()
        else:
            exchange.refuse(problem)

    def _give_up(self) -> None:
        self._given_up, self._way.lingers = True, not self._half_closed
        self.flow.resume_reading()

    def _throw_away(self, size: int) -> None:
        if self._way.throw_away(size) > self._limits.linger_bytes:
            self._way.abort()
