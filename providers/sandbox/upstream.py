"""One upstream on a port of its own, which can stop listening and start again on the same port."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections.abc import Mapping

from aiohttp import web

from providers.sandbox.config import UpstreamPlan
from providers.sandbox.faults import Fault, Kind, Steps
from providers.sandbox.strikes import Strikes

_BACKLOG = 4096
_SHUTDOWN_SECONDS = 0.1
_REBIND_TURNS = 50
_ACCEPT_TURNS = 10
_REBIND_SECONDS = 0.01


class PortTaken(OSError):
    """A port that the sandbox needs belongs to somebody else; the message names it."""


class Listener:
    """A server that can be shut and opened again while it keeps its port."""

    def __init__(self, name: str, app: web.Application) -> None:
        """Serve *app*; *name* is for messages."""
        self._name = name
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None
        self.host = ""
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """
        Listen on *port*, or on any free one for 0.

        Raises:
            PortTaken: somebody else listens there.
        """
        await self._runner.setup()
        held = self._bind(host, port)
        self.host, self.port = host, int(held.getsockname()[1])
        await self._listen(held)

    async def shut(self) -> None:
        """Refuse connections and drop the open ones. The port stays bound, so nobody else gets it meanwhile."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._held = await self._bind_again()
        server = self._runner.server
        for connection in server.connections if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()

    async def open(self) -> None:
        """Listen again after `shut`."""
        if self._held is not None:
            held, self._held = self._held, None
            await self._listen(held)

    async def stop(self) -> None:
        """Close the port and end all calls."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._held is not None:
            self._held.close()
            self._held = None
        for _ in range(_ACCEPT_TURNS):  # what was accepted last is not yet among the runner's connections
            await asyncio.sleep(0)
        await self._runner.cleanup()

    async def _listen(self, held: socket.socket) -> None:
        """Listen on a bound socket."""
        server = self._runner.server
        assert server is not None
        try:
            self._server = await asyncio.get_running_loop().create_server(server, sock=held, backlog=_BACKLOG)
        except OSError as error:
            held.close()
            raise self._taken(error, self.port) from error

    async def _bind_again(self) -> socket.socket:
        """Bind our own port anew; the loop may need some turns to let go of the listening socket."""
        for _ in range(_REBIND_TURNS):
            try:
                return self._bind(self.host, self.port)
            except PortTaken:
                await asyncio.sleep(_REBIND_SECONDS)
        return self._bind(self.host, self.port)

    def _bind(self, host: str, port: int) -> socket.socket:
        """Return a socket that is bound and does not listen."""
        held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        held.setblocking(False)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((host, port))
        except OSError as error:
            held.close()
            raise self._taken(error, port) from error
        return held

    def _taken(self, error: OSError, port: int) -> OSError:
        """Say which port cannot be had, and what to do."""
        if error.errno == errno.EADDRINUSE:
            return PortTaken(
                error.errno, f"port {port} ({self._name}) is taken; choose another port, or 0 for any free ones"
            )
        return OSError(error.errno, f"port {port} ({self._name}): {error.strerror}")


class Upstream:
    """One fake provider: its listener and its faults."""

    def __init__(self, plan: UpstreamPlan, steps: Steps, listener: Listener, strikes: Strikes) -> None:
        """Put together what `server` made."""
        self.plan = plan
        self.steps = steps
        self.listener = listener
        self._strikes = strikes

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that are on."""
        return self._strikes.faults

    @property
    def requests(self) -> Mapping[str, int]:
        """How many requests have come since the start, struck ones included, by the name of the call."""
        return self._strikes.requests

    async def strike(self, faults: tuple[Fault, ...]) -> None:
        """Put *faults* in the place of those that were on; none heals."""
        self._strikes.put(faults)
        if any(fault.kind is Kind.REFUSE for fault in faults):
            await self.listener.shut()
        else:
            await self.listener.open()

    def base_url(self, host: str) -> str:
        """Return its base URL for a client that reaches this machine as *host*."""
        return f"http://{host}:{self.listener.port}{self.plan.path}"


def seeded(random_seed: int, name: str) -> random.Random:
    """Return the upstream's own sequence of chances, the same for the same seed."""
    return random.Random(f"{random_seed}/{name}")  # noqa: S311 - it decides which calls a fault strikes
