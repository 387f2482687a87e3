"""
HTTP as we speak it to anybody, and httpx's errors in the contract's words. The one module that imports httpx.

Why aiohttp under httpx: httpx's own pool collapses at a few hundred connections, and aiohttp's connector is the only
one that shows every address it connects to (`guard.guarded_socket_factory`). Why the transport is called without
`httpx.AsyncClient`: the client's redirects, cookies, proxies, authentication and decoding are what we refuse, and
leaving it out halves the processor time of a small request.

Why nothing is decided by the class of an error: over this transport a connection that was closed after the request
had left comes out as `httpx.ConnectTimeout`, and an answer that is no HTTP as no httpx error at all. What decides
whether a request may have left is whether its connector had handed over a connection; that is noted in a `Passage`.

Why an own class of request: httpx and aiohttp both write an address anew (`%26` becomes `&`), and a presigned one is
then refused. httpx is told the origin alone, and aiohttp is handed the target as `providers.address` cut it out.

Why every pool is bounded: each connection is a descriptor, and to run out of those stops everything else as well. Who
waits for one waits under the caller's deadline, and what is missing is ours: `OwnShortage`, as for all that this
machine runs out of (`contract/shortage.py`).

Why only requests of idempotent methods are ever sent twice: aiohttp repeats GET, HEAD, OPTIONS, TRACE, PUT and DELETE
once when the connection breaks before an answer (RFC 9110 section 9.2.2), and never POST.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from httpx_aiohttp import AiohttpTransport
from yarl import URL

from providers.address import Address, NoAddress, parse_address
from providers.contract import (
    Clock,
    CompressedBody,
    Deadline,
    InflatesTooFar,
    OwnShortage,
    ProviderError,
    ProviderFailed,
    ProviderUnanswered,
    ProviderUnreachable,
    Reply,
    Resource,
    is_gzip,
    shortage_of,
    undo,
)
from providers.guard import SocketFactory, without_query

_PIECE_BYTES = 256 * 1024
#: Connections of a pool where nobody says otherwise.
MOST_CONNECTIONS = 1024
#: So many connections that have not come to be within so many seconds are as good as one in all its time: a lost packet
#: is sent again after one second (RFC 6298), and not that of five in a row is lost twice.
_IN_VAIN_TOGETHER, _IN_VAIN_SECONDS = 5, 2.0
#: Between two looks at who waits.
_LOOK_SECONDS = 0.25
#: Between two waits that are given up since others were in vain.
_GIVE_UP_SECONDS = 0.004
#: `RuntimeError` is how Python says that no thread could be started, to look a name up.
_WIRE_FAULTS = (httpx.TransportError, aiohttp.ClientError, OSError)
_OWN_FAULTS = (MemoryError, RuntimeError)
#: When it is worth trying again to get what this machine has run out of, in seconds.
SHORTAGE_SECONDS = 1.0

#: What broke, the more special first.
_WORDS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "its name has no address"),
    (aiohttp.ClientConnectorCertificateError, "its certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, "TLS could not be agreed on"),
    (aiohttp.ConnectionTimeoutError, "no connection in the time allowed for it"),
    (aiohttp.ClientConnectorError, "no connection ({system})"),
    (aiohttp.ServerDisconnectedError, "the connection was closed before an answer"),
    (aiohttp.ClientPayloadError, "the connection was closed in the middle of the answer"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
    (Exception, "the connection broke ({system})"),
)


class Passage:
    """Whether a request got as far as a connection, after which its bytes may have left."""

    __slots__ = ("connected", "waiting")

    def __init__(self) -> None:
        """Begin without a connection."""
        self.connected = False
        self.waiting = False
        """Whether it waits for one of our own connections to come free."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """What aiohttp's own classes have to know of the request that is under way, and cannot be told otherwise."""

    passage: Passage
    url: URL
    """Where the request goes, spelt as it leaves."""


_exchange: ContextVar[_Exchange] = ContextVar("exchange")


class WireError(Exception):
    """An exchange that broke. The text is one clause, and holds no URL."""

    def __init__(self, message: str, *, shortage: Resource | None = None) -> None:
        """Say what broke, and what of this machine's was missing, if that is why."""
        super().__init__(message)
        self.shortage = shortage


class AnswerUnwanted(Exception):
    """An answer that was not read: too large, or compressed in a way that is not read."""

    def __init__(self, message: str, *, status: int, too_large: bool) -> None:
        """Say what is wrong with it."""
        super().__init__(message)
        self.status = status
        self.too_large = too_large


class Answer:
    """The head of an answer, and the way to its body."""

    __slots__ = ("_leave", "_response", "headers", "status")

    def __init__(self, response: httpx.Response, leave: Callable[[], None]) -> None:
        """Take the head out of *response*; *leave* is called when its connection is let go of."""
        self._response = response
        self._leave: Callable[[], None] | None = leave
        self.status = response.status_code
        self.headers: dict[str, str] = {}
        for name, value in response.headers.raw:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    async def read(self, max_bytes: int, *, heard: Callable[[int], Awaitable[None]] | None = None) -> bytes:
        """
        Return the whole body, and let go of the connection: for the next request, or for good when it was not whole.

        What is compressed although nobody asked for that is inflated; see `contract.undo`.

        Args:
            max_bytes: the most that is read, and that may come of it.
            heard: awaited after each piece with how many bytes there are by now.

        Raises:
            AnswerUnwanted: it is larger than *max_bytes*, or compressed in a way that is not read.
            WireError: it broke off.
        """
        try:
            length = self.headers.get("content-length", "")
            if length.isdecimal() and int(length) > max_bytes:
                raise self._too_large(max_bytes)
            body = await self._read_pieces(max_bytes, heard)
        except (*_WIRE_FAULTS, MemoryError) as error:
            raise _broken(error) from error
        finally:
            await self.close()
        if "content-encoding" in self.headers or is_gzip(body):
            return await self._inflated(body, max_bytes)
        return body

    async def close(self) -> None:
        """Let go of the connection, and stop sending what an early answer has made needless."""
        try:
            with suppress(*_WIRE_FAULTS):  # what broke while it was read may break the same way here
                await self._response.aclose()
        finally:
            leave, self._leave = self._leave, None
            if leave is not None:
                leave()

    async def _inflated(self, body: bytes, max_bytes: int) -> bytes:
        steps = undo(body, self.headers.get("content-encoding", ""), most_bytes=max_bytes)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                inflated: bytes = done.value
                return inflated
            except (CompressedBody, InflatesTooFar) as error:
                too_large = isinstance(error, InflatesTooFar)
                raise AnswerUnwanted(
                    f"the answer cannot be read: {error}", status=self.status, too_large=too_large
                ) from error
            await asyncio.sleep(0)

    async def _read_pieces(self, max_bytes: int, heard: Callable[[int], Awaitable[None]] | None) -> bytes:
        pieces: list[bytes] = []
        received = 0
        stream = self._response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        async for piece in stream:
            received += len(piece)
            if received > max_bytes:
                raise self._too_large(max_bytes)
            pieces.append(piece)
            if heard is not None:
                await heard(received)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _too_large(self, max_bytes: int) -> AnswerUnwanted:
        return AnswerUnwanted(f"the answer is larger than {max_bytes} bytes", status=self.status, too_large=True)


def trusted() -> ssl.SSLContext:
    """Return a context that believes the bundled authorities and the machine's own; it takes tens of milliseconds."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


class Wire:
    """One pool of HTTP/1.1 connections: no redirects, cookies, proxies, environment, credentials or decompression."""

    def __init__(
        self,
        *,
        connect_seconds: float,
        keepalive_seconds: float = 15.0,
        socket_factory: SocketFactory | None = None,
        resolver: Callable[[], AbstractResolver] = aiohttp.ThreadedResolver,
        tls: ssl.SSLContext | None = None,
        connections: int = MOST_CONNECTIONS,
    ) -> None:
        """
        Prepare the pool; it is opened by the first request, in that request's event loop.

        Args:
            connect_seconds: the longest that name, connection and TLS may take together.
            keepalive_seconds: how long an idle connection is kept; less than upstreams keep theirs, so that a request
                seldom meets one that is being closed.
            socket_factory: makes every socket, and may refuse to.
            resolver: makes what finds the addresses of names.
            tls: whose certificates are believed; `trusted()` when None.
            connections: at most, idle ones included; who finds none waits.
        """
        tls = tls or trusted()
        self._extensions = {"timeout": {"pool": connect_seconds}}
        self._free = asyncio.Semaphore(connections)
        self._transport = AiohttpTransport(
            verify=tls, client=lambda: _session(tls, keepalive_seconds, socket_factory, resolver(), connections)
        )

    async def ask(
        self, method: str, address: Address, *, headers: Mapping[str, str], content: bytes | None, passage: Passage
    ) -> Answer:
        """
        Send one request and return the head of its answer.

        Raises:
            WireError: none came; *passage* says whether the request may have left.
        """
        origin = _origin(address.scheme, address.host, address.port)
        request = self._request(method, origin, headers, content)
        passage.waiting = True
        await self._free.acquire()
        passage.waiting = False
        token = _exchange.set(_Exchange(passage, _as_spelt(address)))
        try:
            return Answer(await self._transport.handle_async_request(request), self._free.release)
        except BaseException as error:
            self._free.release()
            if isinstance(error, _WIRE_FAULTS) or (isinstance(error, _OWN_FAULTS) and shortage_of(error)):
                raise _broken(error) from error
            raise
        finally:
            _exchange.reset(token)

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    def _request(self, method: str, url: httpx.URL, headers: Mapping[str, str], content: bytes | None) -> httpx.Request:
        sent = {"accept": "*/*", "user-agent": "maskgate"}
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable()):
                raise WireError(f"the header {name} holds a character that HTTP cannot carry")
            sent[name.lower()] = value
        sent["accept-encoding"] = "identity"
        if content is not None and len(content) > _PIECE_BYTES:
            sent["content-length"] = str(len(content))
            return httpx.Request(method, url, headers=sent, stream=_Pieces(content), extensions=self._extensions)
        # A stream of known bytes, read at once: httpx then adds no headers of its own, which aiohttp would add again.
        body = httpx.ByteStream(content or b"")
        request = httpx.Request(method, url, headers=sent, stream=body, extensions=self._extensions)
        request.read()
        return request


class HttpUpstream:
    """Calls configured endpoints. Implements `contract.Upstream`."""

    def __init__(
        self,
        clock: Clock,
        *,
        connect_seconds: float = 5.0,
        keepalive_seconds: float = 15.0,
        socket_factory: SocketFactory | None = None,
        tls: ssl.SSLContext | None = None,
        connections: int = MOST_CONNECTIONS,
    ) -> None:
        """
        Prepare the connections.

        Args:
            clock: monotonic seconds; says in errors how long a call took.
            connect_seconds: the longest that a connection may take; a deadline that is sooner comes first.
            keepalive_seconds: how long an idle connection is kept.
            socket_factory: makes every socket, and may refuse to.
            tls: whose certificates are believed; `trusted()` when None.
            connections: at most, idle ones included; who finds none waits until its deadline.
        """
        self._clock = clock
        self._wire = Wire(
            connect_seconds=connect_seconds,
            keepalive_seconds=keepalive_seconds,
            socket_factory=socket_factory,
            tls=tls,
            connections=connections,
        )
        self._parsed = lru_cache(maxsize=512)(parse_address)

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        deadline: Deadline,
        max_bytes: int,
    ) -> Reply:
        """
        Send one request and read its whole answer, whatever its status.

        Raises:
            ProviderUnreachable: nothing of the request left.
            ProviderUnanswered: it left, or may have, and no whole answer came until *deadline*.
            ProviderFailed: the answer is larger than *max_bytes*, or compressed.
            OwnShortage: this machine has run out of something, or all connections are in use until *deadline*.
        """
        started = self._clock()
        passage = Passage()
        remaining = deadline.remaining()
        if remaining <= 0:  # a kept connection would take the request before the first look at a timer
            raise self._lost(passage, f"{method} {without_query(url)}: the deadline had passed", started)
        try:
            async with asyncio.timeout(remaining):
                answer = await self._wire.ask(
                    method, self._parse(url), headers=headers, content=content, passage=passage
                )
                return Reply(answer.status, answer.headers, await answer.read(max_bytes))
        except AnswerUnwanted as error:
            message = f"{method} {without_query(url)}: {error}"
            raise ProviderFailed(message, may_have_charged=True, status=error.status) from error
        except WireError as error:
            what = f"{method} {without_query(url)}: {error}"
            raise self._lost(passage, what, started, shortage=error.shortage) from error
        except TimeoutError as error:
            raise self._lost(passage, f"{method} {without_query(url)}: the deadline passed", started) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._wire.close()

    def _parse(self, url: str) -> Address:
        try:
            return self._parsed(url)
        except NoAddress as error:
            raise WireError(f"the address is not a URL of http or https: {error}") from error

    def _lost(self, passage: Passage, what: str, started: float, *, shortage: Resource | None = None) -> ProviderError:
        seconds = self._clock() - started
        if passage.waiting:
            what, shortage = f"{what} while all our connections were in use", Resource.CONNECTIONS
        if shortage is not None:
            left = passage.connected
            message = f"{what}, {seconds:.1f} s after the request was begun; " + (
                "this machine has run out of " + shortage.value if left else "nothing of it left"
            )
            return OwnShortage(message, shortage, may_have_charged=left, retry_after_seconds=SHORTAGE_SECONDS)
        if passage.connected:
            return ProviderUnanswered(f"{what}, {seconds:.1f} s after the request was begun")
        return ProviderUnreachable(f"{what}, {seconds:.1f} s after the request was begun; nothing of it left")


class _Connector(aiohttp.TCPConnector):
    """
    A connector that notes when a request is given a connection: nothing of it leaves before.

    Where connections to an address do not come to be, those that wait for one are given up before their time: each
    would otherwise wait all of it, hundreds of them under load. That is the case when one of them has waited in vain
    for as long as it may, or several for long enough, and nobody was given one meanwhile. They are given up one after
    another, since all at once would hold up each other wherever they are sent next.

    The number of its connections counts idle ones as well, which aiohttp's own limit does not: one that would be kept
    beyond it is closed, and so is the one idle for longest where another one is to be made.
    """

    def __init__(self, *, connections: int, **options: Any) -> None:
        """Begin with nobody waiting; the options are aiohttp's."""
        super().__init__(**options)
        self._most = connections
        self._waits: dict[ConnectionKey, dict[asyncio.Timeout, float]] = {}
        """Who waits, and since when."""
        self._given: dict[ConnectionKey, float] = {}
        """When somebody was last given a connection, of those addresses that somebody waits for."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the parameter is aiohttp's
    ) -> Connection:
        """Return a connection, new or kept, and note that there is one."""
        address, loop = req.connection_key, asyncio.get_running_loop()
        waits = self._waits.get(address)
        if waits is None:
            waits = self._waits[address] = {}
            loop.call_later(_LOOK_SECONDS, self._look, address, waits)
        wait = asyncio.timeout(None)
        waits[wait] = loop.time()
        try:
            async with wait:
                connection = await super().connect(req, traces, timeout)
        except TimeoutError:
            if not wait.expired():  # its own time was up, and it was not given up with others
                _give_up(each for each in waits if each is not wait and not each.expired())
            raise
        finally:
            del waits[wait]
        self._given[address] = loop.time()
        _exchange.get().passage.connected = True
        return connection

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the parameter is aiohttp's
    ) -> ResponseHandler:
        """Make a connection, in the place of an idle one where there are as many as may be."""
        while self._conns and self._open() > self._most:
            address, idle = next(iter(self._conns.items()))
            connection, _ = idle.popleft()
            if not idle:
                del self._conns[address]
            connection.abort()
        return await super()._create_connection(req, traces, timeout)

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        """Keep a connection for the next request, if there is room for an idle one."""
        super()._release(key, protocol, should_close=should_close or self._open() > self._most)

    def _open(self) -> int:
        """Return how many connections are in use, being made, or idle."""
        return len(self._acquired) + sum(map(len, self._conns.values()))

    def _look(self, address: ConnectionKey, waits: dict[asyncio.Timeout, float]) -> None:
        """Give up all who wait for an address where too many wait in vain; look again while anybody waits."""
        if not waits:
            del self._waits[address]
            self._given.pop(address, None)
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        given = self._given.get(address, 0.0)
        in_vain = sum(given < since <= now - _IN_VAIN_SECONDS for since in waits.values())
        if in_vain >= _IN_VAIN_TOGETHER:
            _give_up(each for each in waits if each.when() is None)
        loop.call_later(_LOOK_SECONDS, self._look, address, waits)


def _give_up(waits: Iterable[asyncio.Timeout]) -> None:
    """Have waits for a connection end one after another, those first that have waited longest."""
    now = asyncio.get_running_loop().time()
    for place, wait in enumerate(waits, start=1):
        wait.reschedule(now + place * _GIVE_UP_SECONDS)


class _Request(ClientRequest):
    """A request for the address as it is spelt, which the session has written anew on its way here."""

    def __init__(self, method: str, url: URL, **options: Any) -> None:  # noqa: ARG002 - aiohttp's parameter
        super().__init__(method, _exchange.get().url, **options)


class _Pieces(httpx.AsyncByteStream):
    """A large body in pieces, so that a slow reader holds up neither the event loop nor a second copy in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), _PIECE_BYTES):
            yield bytes(self._content[start : start + _PIECE_BYTES])


def _session(
    tls: ssl.SSLContext,
    keepalive_seconds: float,
    socket_factory: SocketFactory | None,
    resolver: AbstractResolver,
    connections: int,
) -> aiohttp.ClientSession:
    connector = _Connector(
        connections=connections,
        limit=0,  # `Wire` bounds what is under way: aiohttp would count the wait for its own limit as one to connect
        ssl=tls,
        keepalive_timeout=keepalive_seconds,
        socket_factory=socket_factory,
        resolver=resolver,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
        auto_decompress=False,
        request_class=_Request,
    )


@lru_cache(maxsize=512)
def _origin(scheme: str, host: str, port: int) -> httpx.URL:
    """Return what httpx is told of an address: enough for its Host header."""
    return httpx.URL(scheme=scheme, host=host, port=port)


def _as_spelt(address: Address) -> URL:
    """Return what aiohttp connects to and sends: the whole target as a path, since yarl would drop a lone `?`."""
    return URL.build(scheme=address.scheme, authority=address.authority, path=address.target, encoded=True)


def _broken(error: BaseException) -> WireError:
    """Return what broke in our words."""
    return WireError(_why(error), shortage=shortage_of(error))


def _why(error: BaseException) -> str:
    """Say in one clause what broke; never the library's own text, which may hold the URL with its query."""
    cause = error.__cause__ if isinstance(error, httpx.TransportError) and error.__cause__ else error
    words = next(words for kind, words in _WORDS if isinstance(cause, kind))
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        system = os.strerror(cause.errno)
    else:
        system = type(cause).__name__
    return words.format(system=system)
