"""
All connections of a process: how many there may be, and the look that is taken at each of them twice a second.

One timer looks at all: one for each request would cost more than everything else that is bounded here.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.serving.connection import Connection
from gateway.serving.draining import Draining
from gateway.serving.limits import EdgeLimits


class Edge:
    """Makes connections, as uvicorn's `http` setting wants it: called with each one's surroundings."""

    def __init__(self, limits: EdgeLimits | None = None) -> None:
        """Bound every connection by *limits*, or by the usual ones. Nothing runs before the first connection."""
        self._limits = limits or EdgeLimits()
        self._draining = Draining()
        self._most: int | None = None
        self._watched: ServerState | None = None
        self._looked_at = 0.0

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        """Return a new connection; where there are too many, the one that has been idle for longest makes room."""
        loop = _loop or asyncio.get_running_loop()
        if self._most is None:
            self._most = self._limits.most_connections
        if self._watched is None:
            self._watched, self._looked_at = server_state, loop.time()
            loop.call_later(self._limits.tick_seconds, self._look, loop)
        full = len(server_state.connections) >= self._most and not self._make_room(server_state)
        return Connection(
            config, server_state, app_state, loop, limits=self._limits, draining=self._draining, full=full
        )

    def _make_room(self, server_state: ServerState) -> bool:
        """
        Close the connection that has been idle for longest; return whether there was one.

        One that has just been made or answered is spared: its next request is likely to be on its way.
        """
        before = asyncio.get_running_loop().time() - self._limits.spared_seconds
        idle = [
            each
            for each in server_state.connections
            if isinstance(each, Connection) and each.idle and each.since <= before
        ]
        if not idle:
            return False
        min(idle, key=lambda connection: connection.since).drop()
        return True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at every connection, for as long as there are any."""
        assert self._watched is not None
        connections, now = list(self._watched.connections), loop.time()
        seconds, self._looked_at = now - self._looked_at, now
        if not connections:
            self._watched = None
            return
        loop.call_later(self._limits.tick_seconds, self._look, loop)
        if seconds > 4 * self._limits.tick_seconds:  # the loop was busy: what came meanwhile is still to be read
            return
        seconds = min(seconds, self._limits.tick_seconds)  # by what it is late, nobody could be heard
        for connection in connections:
            if isinstance(connection, Connection):
                connection.check(now, seconds)
