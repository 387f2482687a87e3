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
from providers.contract import Clock, Deadline, Fetched, Fetcher, FetchFailed, FetchForbidden, FetchTooLarge
from providers.guard import (
    AddressForbidden,
    check_url,
    follow,
    guarded_socket_factory,
    parse_allowed,
    without_query,
)
from providers.transport import Answer, AnswerUnwanted, Passage, Wire, WireError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOOKUP_THREADS = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a file may come."""

    min_bytes_per_second: int
    grace_seconds: float

    def patience_seconds(self, received: int, elapsed_seconds: float) -> float:
        """Return how long to wait for more when *received* bytes came in *elapsed_seconds*; below zero: no longer."""
        return self.grace_seconds + received / self.min_bytes_per_second - elapsed_seconds


class GuardedFetcher:
    """Fetches public addresses and those on its allow-list. Implements `contract.Fetcher`."""

    def __init__(
        self,
        clock: Clock,
        *,
        allow: Iterable[str] = (),
        max_redirects: int = 10,
        connect_seconds: float = 5.0,
        min_bytes_per_second: int = 1024,
        grace_seconds: float = 5.0,
        resolver: Callable[[], AbstractResolver] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        Prepare the connections.

        Args:
            clock: monotonic seconds; measures the rate at which a file comes.
            allow: endpoints that are fetched from although they are private, each exactly `address:port`.
            max_redirects: how many redirects are followed, each checked like a first address.
            connect_seconds: the longest that a connection may take.
            min_bytes_per_second: a file that comes slower is given up.
            grace_seconds: how far behind that rate it may fall before.
            resolver: makes what finds the addresses of names; threads of its own when None.
            tls: whose certificates are believed; `transport.trusted()` when None.

        Raises:
            ValueError: an entry of *allow* is not `address:port`.
        """
        self._clock = clock
        self._allow = parse_allowed(allow)
        self._max_redirects = max_redirects
        self._pace = Pace(min_bytes_per_second, grace_seconds)
        self._wire = Wire(
            connect_seconds=connect_seconds,
            socket_factory=guarded_socket_factory(self._allow),
            resolver=resolver or _OwnThreads,
            tls=tls,
        )

    async def fetch(self, url: str, *, deadline: Deadline, max_bytes: int) -> Fetched:
        """
        Return the file behind *url*.

        Raises:
            FetchForbidden: the address, or one it redirects to, is one that nobody may send us to.
            FetchTooLarge: more than *max_bytes*.
            FetchFailed: no file came: unreachable, an error status, too slow.
        """
        safe = check_url(url, self._allow)
        late = FetchFailed(f"{without_query(url)} was not brought before the deadline")
        remaining = deadline.remaining()
        if remaining <= 0:  # a kept connection would take the request before the first look at a timer
            raise late
        try:
            async with asyncio.timeout(remaining):
                return await self._bring(safe, max_bytes)
        except TimeoutError as error:
            raise late from error

    async def close(self) -> None:
        """Close every connection."""
        await self._wire.close()

    async def _bring(self, address: Address, max_bytes: int) -> Fetched:
        for hop in range(self._max_redirects + 1):
            try:
                answer = await self._ask(address)
                if answer.status not in _REDIRECTS:
                    return await self._receive(address, answer, max_bytes)
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

    async def _ask(self, address: Address) -> Answer:
        try:
            return await self._wire.ask("GET", address, headers={}, content=None, passage=Passage())
        except WireError as error:
            if (refused := _refusal(error)) is not None:
                raise FetchForbidden(
                    f"{without_query(address.text)} is not fetched from: {refused.reason}; use a public address"
                ) from error
            raise FetchFailed(f"{without_query(address.text)} was not brought: {error}") from error

    async def _receive(self, address: Address, answer: Answer, max_bytes: int) -> Fetched:
        shown = without_query(address.text)
        if answer.status != 200:
            await answer.close()
            raise FetchFailed(f"{shown} answered {answer.status}", status=answer.status)
        try:
            data = await self._read_in_time(answer, max_bytes)
        except AnswerUnwanted as error:
            if error.too_large:
                raise FetchTooLarge(f"{shown} is larger than {max_bytes} bytes: {error}") from error
            raise FetchFailed(f"{shown} was not brought: {error}", status=error.status) from error
        except WireError as error:
            raise FetchFailed(f"{shown} was not brought: {error}", status=answer.status) from error
        except TimeoutError as error:
            raise FetchFailed(f"{shown} comes slower than {self._pace.min_bytes_per_second} bytes a second") from error
        return Fetched(data, answer.headers.get("content-type"))

    async def _read_in_time(self, answer: Answer, max_bytes: int) -> bytes:
        loop = asyncio.get_running_loop()
        started = self._clock()
        async with asyncio.timeout(self._pace.grace_seconds) as limit:

            def heard(received: int) -> None:
                limit.reschedule(loop.time() + self._pace.patience_seconds(received, self._clock() - started))

            return await answer.read(max_bytes, heard=heard)


class StandIns:
    """Fetches some addresses from others that stand for them: a sandbox's pictures. Implements `contract.Fetcher`."""

    def __init__(self, fetcher: Fetcher, instead: Mapping[str, str]) -> None:
        """Have *fetcher* fetch, and check; *instead* holds the address that stands for another, by that one."""
        self._fetcher = fetcher
        self._instead = dict(instead)

    async def fetch(self, url: str, *, deadline: Deadline, max_bytes: int) -> Fetched:
        """
        Return the file behind *url*, or behind the address that stands for it.

        Raises:
            FetchError: as the other fetcher has it.
        """
        return await self._fetcher.fetch(self._instead.get(url, url), deadline=deadline, max_bytes=max_bytes)


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
