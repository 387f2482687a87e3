"""
What this machine has run out of lately: counted, logged once an episode, and said in `/readyz` until it is over.

Nobody tells when a shortage ends, so it is over when it was met no more for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from providers.contract import Clock, Resource

#: A shortage that was not met for so long is over.
EPISODE_SECONDS = 5.0
#: Of these there are as many as there should be: the gateway is full, and not out of order.
_IN_USE = frozenset({Resource.CONNECTIONS, Resource.WORKERS})


class Shortages:
    """The shortages of one process."""

    def __init__(self, clock: Clock, *, count: Callable[[str], None], log: Any) -> None:
        """
        Begin with enough of everything.

        Args:
            clock: monotonic seconds.
            count: counts a shortage that was met, by its resource.
            log: gets a line when one begins.
        """
        self._clock = clock
        self._count = count
        self._log = log
        self._met: dict[Resource, tuple[float, str]] = {}

    def met(self, resource: Resource, reason: str, *, detail: str = "") -> None:
        """
        Note that something was missing.

        Args:
            resource: what.
            reason: what could not be done for it: for anybody, since `/readyz` shows it.
            detail: what else the log may say.
        """
        now, last = self._clock(), self._met.get(resource)
        self._count(resource.value)
        self._met[resource] = (now, reason)
        if last is None or now - last[0] >= EPISODE_SECONDS:
            self._log.warning("own_shortage", resource=resource.value, reason=reason, detail=detail)

    def now(self) -> Mapping[str, str]:
        """Return what is missing now and what could not be done for it, by resource."""
        since = self._clock() - EPISODE_SECONDS
        return {
            resource.value: reason
            for resource, (met_at, reason) in self._met.items()
            if met_at > since and resource not in _IN_USE
        }
