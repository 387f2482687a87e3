"""
Brings files from addresses that other people name: pictures of callers, masks of providers.

The guard stands at the socket (`guard.guarded_socket_factory`); everything else here bounds what a hostile server can
cost: hops, bytes, seconds, and a minimum rate, since neither a byte cap nor a read timeout stops one that sends a byte
now and then.

Why names are looked up in threads of its own: a name whose server never answers occupies its thread for many seconds,
and whoever may name addresses could otherwise stop the event loop's shared threads, and with them the lookups of the
providers.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult

from providers.address import Address
from providers.contract import (
    Clock,
    Deadline,
    Fetched,
    Fetcher,
    FetchFailed,
    FetchForbidden,
    FetchTooLarge,
    OwnShortage,
    Resource,
    Room,
)
from providers.guard import (
    AddressForbidden,
    check_url,
    follow,
    guarded_socket_factory,
    parse_allowed,
    without_query,
)
from providers.transport import (
    MOST_CONNECTIONS,
    SHORTAGE_SECONDS,
    Answer,
    AnswerUnwanted,
    Passage,
    Wire,
    WireError,
)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOOKUP_THREADS = 8
#: How much room is asked for at a time where nobody says how large a file is.
_ROOM_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a file may come."""

    min_bytes_per_second: int
    grace_seconds: float
    """How far behind that rate it may fall."""

    def patience_seconds(self, received: int, elapsed_seconds: float) -> float:
        """Return how long to wait for more when *received* bytes came in *elapsed_seconds*; below zero: no longer."""
        return self.grace_seconds + received / self.min_bytes_per_second - elapsed_seconds


PACE = Pace(min_bytes_per_second=1024, grace_seconds=5.0)


class GuardedFetcher:
    """Fetches public addresses and those on its allow-list. Implements `contract.Fetcher`."""

    def __init__(
        self,
        clock: Clock,
        *,
        allow: Iterable[str] = (),
        max_redirects: int = 10,
        connect_seconds: float = 5.0,
        pace: Pace = PACE,
        resolver: Callable[[], AbstractResolver] | None = None,
        tls: ssl.SSLContext | None = None,
        connections: int = MOST_CONNECTIONS,
    ) -> None:
        """
        Prepare the connections.

        Args:
            clock: monotonic seconds; measures the rate at which a file comes.
            allow: endpoints that are fetched from although they are private, each exactly `address:port`.
            max_redirects: how many redirects are followed, each checked like a first address.
            connect_seconds: the longest that a connection may take.
            pace: a file that comes slower is given up.
            resolver: makes what finds the addresses of names; threads of its own when None.
            tls: whose certificates are believed; `transport.trusted()` when None.
            connections: at most, idle ones included; who finds none waits until its deadline.

        Raises:
            ValueError: an entry of *allow* is not `address:port`.
        """
        self._clock = clock
        self._allow = parse_allowed(allow)
        self._max_redirects = max_redirects
        self._pace = pace
        self._wire = Wire(
            connect_seconds=connect_seconds,
            socket_factory=guarded_socket_factory(self._allow),
            resolver=resolver or _OwnThreads,
            tls=tls,
            connections=connections,
        )

    async def fetch(self, url: str, *, deadline: Deadline, max_bytes: int, room: Room | None = None) -> Fetched:
        """
        Return the file behind *url*.

        Args:
            url: as somebody else has given it.
            deadline: when to give up.
            max_bytes: the most that is read.
            room: awaited before bytes are read, with how many.

        Raises:
            FetchForbidden: the address, or one it redirects to, is one that nobody may send us to.
            FetchTooLarge: more than *max_bytes*.
            FetchFailed: no file came: unreachable, an error status, too slow.
            OwnShortage: this machine has run out of something, or all connections are in use until *deadline*.
        """
        safe = check_url(url, self._allow)
        late = FetchFailed(f"{without_query(url)} was not brought before the deadline")
        remaining = deadline.remaining()
        if remaining <= 0:  # a kept connection would take the request before the first look at a timer
            raise late
        passage = Passage()
        try:
            async with asyncio.timeout(remaining):
                return await self._bring(safe, max_bytes, passage, room)
        except TimeoutError as error:
            if passage.waiting:
                raise _short(url, Resource.CONNECTIONS) from error
            raise late from error

    async def close(self) -> None:
        """Close every connection."""
        await self._wire.close()

    async def _bring(self, address: Address, max_bytes: int, passage: Passage, room: Room | None) -> Fetched:
        for hop in range(self._max_redirects + 1):
            try:
                answer = await self._ask(address, passage)
                if answer.status not in _REDIRECTS:
                    return await self._receive(address, answer, max_bytes, room)
                address = await self._followed(address, answer)
            except (FetchFailed, FetchForbidden) as error:
                raise _at_hop(error, hop) from error.__cause__
        raise FetchFailed(
            f"{without_query(address.text)} lies behind more than {self._max_redirects} redirects; "
            "use the address that they lead to"
        )

    async def _followed(self, address: Address, answer: Answer) -> Address:
        await answer.close()
        location = answer.headers.get("location")
        if not location:
            raise FetchFailed(f"{without_query(address.text)} redirects to nowhere", status=answer.status)
        return follow(address, location.encode("latin-1"), self._allow)

    async def _ask(self, address: Address, passage: Passage) -> Answer:
        try:
            return await self._wire.ask("GET", address, headers={}, content=None, passage=passage)
        except WireError as error:
            if error.shortage is not None:
                raise _short(address.text, error.shortage) from error
            if (refused := _refusal(error)) is not None:
                raise FetchForbidden(
                    f"{without_query(address.text)} is not fetched from: {refused.reason}; use a public address"
                ) from error
            raise FetchFailed(f"{without_query(address.text)} was not brought: {error}") from error

    async def _receive(self, address: Address, answer: Answer, max_bytes: int, room: Room | None) -> Fetched:
        shown = without_query(address.text)
        if answer.status != 200:
            await answer.close()
            raise FetchFailed(f"{shown} answered {answer.status}", status=answer.status)
        try:
            data = await self._read_in_time(answer, max_bytes, room)
        except AnswerUnwanted as error:
            if error.too_large:
                raise FetchTooLarge(f"{shown} is larger than {max_bytes} bytes: {error}") from error
            raise FetchFailed(f"{shown} was not brought: {error}", status=error.status) from error
        except WireError as error:
            if error.shortage is not None:
                raise _short(address.text, error.shortage) from error
            raise FetchFailed(f"{shown} was not brought: {error}", status=answer.status) from error
        except TimeoutError as error:
            raise FetchFailed(f"{shown} comes slower than {self._pace.min_bytes_per_second} bytes a second") from error
        return Fetched(data, answer.headers.get("content-type"))

    async def _read_in_time(self, answer: Answer, max_bytes: int, room: Room | None) -> bytes:
        try:
            taken = await _taken_ahead(answer, max_bytes, room)
        except BaseException:
            await answer.close()
            raise
        loop = asyncio.get_running_loop()
        started = self._clock()
        async with asyncio.timeout(self._pace.grace_seconds) as limit:

            async def heard(received: int) -> None:
                nonlocal started, taken
                if room is not None and received > taken:
                    limit.reschedule(None)  # the wait for room is no fault of who sends
                    waited = self._clock()
                    await room(max(received - taken, _ROOM_BYTES))
                    started += self._clock() - waited
                    taken += max(received - taken, _ROOM_BYTES)
                limit.reschedule(loop.time() + self._pace.patience_seconds(received, self._clock() - started))

            return await answer.read(max_bytes, heard=heard)


class StandIns:
    """Fetches some addresses from others that stand for them: a sandbox's pictures. Implements `contract.Fetcher`."""

    def __init__(self, fetcher: Fetcher, instead: Mapping[str, str]) -> None:
        """Have *fetcher* fetch, and check; *instead* holds the address that stands for another, by that one."""
        self._fetcher = fetcher
        self._instead = dict(instead)

    async def fetch(self, url: str, *, deadline: Deadline, max_bytes: int, room: Room | None = None) -> Fetched:
        """
        Return the file behind *url*, or behind the address that stands for it.

        Raises:
            FetchError: as the other fetcher has it.
        """
        there = self._instead.get(url, url)
        return await self._fetcher.fetch(there, deadline=deadline, max_bytes=max_bytes, room=room)


async def _taken_ahead(answer: Answer, max_bytes: int, room: Room | None) -> int:
    """Wait for room for all that an answer says it has, where it says so; return for how much."""
    length = answer.headers.get("content-length", "")
    if room is None or not length.isdecimal() or not 0 < int(length[:20]) <= max_bytes:
        return 0
    await room(int(length))
    return int(length)


def _short(url: str, resource: Resource) -> OwnShortage:
    """Return what it comes to that a file was not brought for want of something on this machine."""
    what = "all our connections were in use" if resource is Resource.CONNECTIONS else f"out of {resource.value}"
    return OwnShortage(f"{without_query(url)} was not brought: {what}", resource, retry_after_seconds=SHORTAGE_SECONDS)


class _OwnThreads(AbstractResolver):
    """Finds addresses with the system's resolver, in threads that nothing else waits for."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, "maskgate-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of *host*, as the system's resolver orders them."""
        loop = asyncio.get_running_loop()
        rows = await loop.run_in_executor(
            self._threads,
            lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG),
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in rows
        ]

    async def close(self) -> None:
        """End the threads, without waiting for lookups that are still under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _refusal(error: BaseException | None) -> AddressForbidden | None:
    """Return the guard's refusal among the causes of *error*."""
    while error is not None:
        if isinstance(error, AddressForbidden):
            return error
        error = error.__cause__
    return None


def _at_hop(error: FetchFailed | FetchForbidden, hop: int) -> FetchFailed | FetchForbidden:
    """Say after how many redirects a fetch has ended, where there were any."""
    if hop == 0:
        return error
    message = f"{error} (after {hop} {'redirect' if hop == 1 else 'redirects'})"
    return FetchForbidden(message) if isinstance(error, FetchForbidden) else FetchFailed(message, status=error.status)
