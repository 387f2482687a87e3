"""
The event loop of a serving process, which takes in no more connections than it has descriptors for.

Why not the loop's own way: when descriptors run out, uvloop's closes every connection that waits, before a byte is read
or written, and asyncio's stops listening for a second. Here those that there is no descriptor for stay in the listening
socket's queue until one comes free, and a few more are taken in than are worked on, so that they are told to come back.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

from gateway.admission.descriptors import own_budget
from providers.contract import Resource, shortage_of

if sys.platform == "win32":
    from asyncio import ProactorEventLoop as Loop
else:
    from uvloop import Loop

#: Connections beyond those that are served, which are only told to come back.
TURNED_AWAY = 32
#: Between two looks whether there is room again, in seconds.
PAUSE_SECONDS = 0.02
#: Connections taken in before others have their turn on the loop.
AT_ONCE = 64

ProtocolFactory = Callable[[], asyncio.BaseProtocol]

_log = logging.getLogger(__name__)


class ServingLoop(Loop):
    """A loop whose servers on listening sockets are `Acceptor`s."""

    async def create_server(self, protocol_factory: ProtocolFactory, *args: Any, **options: Any) -> Any:
        """Serve on a listening socket with an eye on the descriptors; on anything else as the loop does."""
        listener = options.get("sock")
        if listener is None or options.get("ssl") is not None or sys.platform == "win32":
            return await super().create_server(protocol_factory, *args, **options)
        if not hasattr(self, "crowd"):
            self.crowd = Crowd(own_budget().callers + TURNED_AWAY)
        return Acceptor(self, listener, protocol_factory, self.crowd)


class Crowd:
    """The connections that were taken in on all listening sockets of a process."""

    def __init__(self, most: int) -> None:
        """Begin with nobody."""
        self._most = most
        self._transports: set[asyncio.BaseTransport] = set()
        self._coming = 0
        self._look_at = 64

    @property
    def full(self) -> bool:
        """Whether there are as many connections as may be."""
        if len(self._transports) + self._coming < self._most:
            return False
        self._forget_closed()
        return len(self._transports) + self._coming >= self._most

    def coming(self) -> None:
        """Note a connection that is being taken in; `came` has to follow."""
        self._coming += 1

    def came(self, transport: asyncio.BaseTransport | None) -> None:
        """Note that it is in; or that nothing came of it."""
        self._coming -= 1
        if transport is None:
            return
        self._transports.add(transport)
        if len(self._transports) >= self._look_at:
            self._forget_closed()
            self._look_at = max(64, 2 * len(self._transports))

    def _forget_closed(self) -> None:
        self._transports = {each for each in self._transports if not each.is_closing()}


class Acceptor:
    """Takes in a listening socket's connections. Stands in for `asyncio.Server`, as far as uvicorn uses it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket, protocol_factory: ProtocolFactory, crowd: Crowd
    ) -> None:
        """Begin to take connections in."""
        self.sockets = (listener,)
        self._loop = loop
        self._listener = listener
        self._protocol_factory = protocol_factory
        self._crowd = crowd
        self._tasks: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._short = False
        listener.setblocking(False)
        loop.add_reader(listener.fileno(), self._accept)

    def close(self) -> None:
        """Take no more connections in; those that are in stay."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
        if self._again is not None:
            self._again.cancel()
        self._listener.close()

    async def wait_closed(self) -> None:
        """Wait until nothing is being taken in."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self) -> None:
        """Take in those that wait, as far as there is room."""
        for _ in range(AT_ONCE):
            if self._crowd.full:
                self._pause()
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                resource = shortage_of(error)
                if resource is None:
                    raise
                self._tell(resource)
                self._pause()
                return
            self._short = False
            connection.setblocking(False)
            self._crowd.coming()
            task = self._loop.create_task(self._take_in(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take_in(self, connection: socket.socket) -> None:
        transport = None
        try:
            transport, _ = await self._loop.connect_accepted_socket(self._protocol_factory, connection)
        except OSError:  # it is gone again
            connection.close()
        finally:
            self._crowd.came(transport)

    def _tell(self, resource: Resource) -> None:
        """Say once that a connection could not be taken in."""
        if not self._short:
            self._short = True
            _log.warning("connections wait: this machine has no %s left", resource.value)

    def _pause(self) -> None:
        """Leave those that wait where they are for a moment."""
        self._loop.remove_reader(self._listener.fileno())
        self._again = self._loop.call_later(PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._again = None
        self._loop.add_reader(self._listener.fileno(), self._accept)
        self._accept()
