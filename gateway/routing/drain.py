"""
Deployments that the operator has taken out at run time.

Every gateway on the database takes no new traffic to them, and lets the calls under way end. The table is read once a
second in the background: no request waits for it, and one second is how long another gateway may go on. When it cannot
be read, what was read last holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.store.database import LedgerUnavailable
from gateway.store.drained import Drained, DrainedDeployments
from providers.contract import Sleep

REFRESH_SECONDS = 1.0


class Drains:
    """What is drained, as this gateway knows it."""

    def __init__(self, kept: DrainedDeployments, *, tell: Callable[[Mapping[str, str]], None], log: Any) -> None:
        """
        Begin with none; `refresh` before the first request.

        Args:
            kept: where all gateways keep it.
            tell: is told what is drained now, the reasons by name, whenever that has changed.
            log: is told what was drained and resumed, here or elsewhere.
        """
        self._kept = kept
        self._tell = tell
        self._log = log
        self._current: Mapping[str, Drained] = {}
        self._readable = True
        # A read that began before a change must not be believed after it.
        self._one_at_a_time = asyncio.Lock()

    @property
    def current(self) -> Mapping[str, Drained]:
        """What is drained, by name."""
        return self._current

    async def drain(self, deployment: str, *, reason: str, key_id: str) -> Drained:
        """
        Take a deployment out, or give one that is out another reason. It holds here at once, elsewhere in a second.

        Args:
            deployment: its name.
            reason: the operator's words, for whoever asks why.
            key_id: the administrator's key.

        Raises:
            LedgerUnavailable: it is not drained, or nobody knows.
        """
        async with self._one_at_a_time:
            self._believe(await self._kept.add(deployment, reason=reason, key_id=key_id))
            return self._current[deployment]

    async def resume(self, deployment: str) -> None:
        """
        Let a deployment take traffic again, if its breaker does.

        Raises:
            LedgerUnavailable: it is drained still, or nobody knows.
        """
        async with self._one_at_a_time:
            self._believe(await self._kept.remove(deployment))

    async def refresh(self) -> None:
        """Learn what other gateways were told. Where the database does not answer, nothing changes."""
        async with self._one_at_a_time:
            try:
                found = await self._kept.all()
            except LedgerUnavailable as error:
                if self._readable:
                    self._log.warning("drains_unreadable", reason=str(error))
                self._readable = False
                return
            self._readable = True
            self._believe(found)

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """Refresh for ever."""
        while True:
            await sleep(REFRESH_SECONDS)
            await self.refresh()

    def _believe(self, found: Sequence[Drained]) -> None:
        before, now = self._current, {each.deployment: each for each in found}
        if before == now:
            return
        self._current = now
        for name, each in now.items():
            if before.get(name) != each:
                self._log.warning("deployment_drained", deployment=name, reason=each.reason, key_id=each.key_id)
        for name in before.keys() - now.keys():
            self._log.info("deployment_resumed", deployment=name)
        self._tell({name: each.reason for name, each in now.items()})
