"""
Asks deployments something free once their ejections have run out, so that no caller's request finds out instead.

It happens beside the requests: one question at a time for each deployment, never on a request's path, and never to one
that is drained or whose breaker has not opened here. What follows from an answer, and from none in time, is decided in
`first_word.py` and `breaker.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from enum import StrEnum
from typing import Any

from gateway.routing.deployments import Offer
from gateway.routing.first_word import FREE_PROBE_SECONDS, LATE_SECONDS
from gateway.routing.health import FreeCall, HealthTable
from providers.contract import (
    Clock,
    Deadline,
    FreeProbe,
    Outcome,
    OwnShortage,
    Provider,
    ProviderError,
    ProviderRefused,
    ProviderUnanswered,
    Sleep,
)

#: Between two looks at who is due. Ejections end at other moments than they were made for: hints, denials and the
#: operator move them, and nobody has to wake us for that.
LOOK_SECONDS = 0.25

Providers = Mapping[str, Provider]
"""By name."""

Ask = Callable[[str, Deadline], Coroutine[Any, Any, None]]
"""Asks the deployment of that name something free; raises `ProviderError` where it fails."""


class FreeProbeResult(StrEnum):
    """What came of a free probe: the closed set behind the metric's label."""

    PASSED = "passed"
    FAILED = "failed"
    REFUSED = "refused"
    """Such a question is not answered there: that says nothing, and a real call finds out."""


def answering_free(offers: Iterable[Offer], providers: Providers) -> frozenset[str]:
    """Return the names of the deployments that can be asked something free."""
    return frozenset(each.name for each in offers if isinstance(providers[each.deployment.provider], FreeProbe))


async def ask_free(name: str, deadline: Deadline, *, offers: Iterable[Offer], providers: Providers) -> None:
    """
    Ask the deployment of that name something free.

    Raises:
        ProviderError: it failed; `ProviderRefused` where the configuration has changed, and there is nobody to ask.
    """
    for offer in offers:
        provider = providers[offer.deployment.provider]
        if offer.name == name and isinstance(provider, FreeProbe):
            await provider.probe(offer.deployment, deadline=deadline)
            return
    raise ProviderRefused(f"there is no {name} any more that could be asked something free")


class Prober:
    """Asks whatever is due, for ever."""

    def __init__(
        self,
        table: Callable[[], HealthTable],
        ask: Ask,
        *,
        clock: Clock,
        tell: Callable[[str, FreeProbeResult, str | None], None],
        log: Any,
    ) -> None:
        """
        Begin with nobody asked.

        Args:
            table: returns the health that holds now; another one after the deployments were changed.
            ask: asks one deployment, and costs nothing.
            clock: monotonic seconds, of the deadlines.
            tell: is told of each free probe: of which deployment, what came of it, and why where it did not pass.
            log: is told of adapters that break.
        """
        self._table = table
        self._ask = ask
        self._clock = clock
        self._tell = tell
        self._log = log
        self._under_way: set[str] = set()

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """Look who is due, and ask, for ever; what is under way is cancelled with it."""
        asked: set[asyncio.Task[None]] = set()
        try:
            while True:
                await sleep(LOOK_SECONDS)
                for task in [task for task in asked if task.done()]:
                    asked.remove(task)
                    task.result()
                self._look(asked)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    def _look(self, asked: set[asyncio.Task[None]]) -> None:
        """Begin to ask those that are due."""
        table = self._table()
        for name in table.names:
            call = None if name in self._under_way else table[name].begin_free()
            if call is not None:
                self._under_way.add(name)
                asked.add(asyncio.create_task(self._probe(name, call)))

    async def _probe(self, name: str, call: FreeCall) -> None:
        """Ask one deployment, and tell its health what came of it."""
        try:
            error = await self._answered(name)
        finally:
            self._under_way.discard(name)
        if error is None:
            call.passed()
            self._tell(name, FreeProbeResult.PASSED, None)
        else:
            call.failed(error)
            refused = error.outcome is Outcome.REFUSED
            self._tell(name, FreeProbeResult.REFUSED if refused else FreeProbeResult.FAILED, error.message)

    async def _answered(self, name: str) -> ProviderError | None:
        """Return how the question failed, or None; an adapter's own defect says nothing, and is logged."""
        deadline = Deadline.after(FREE_PROBE_SECONDS, self._clock)
        try:
            async with asyncio.timeout(FREE_PROBE_SECONDS + LATE_SECONDS):
                await self._ask(name, deadline)
        except OwnShortage as error:  # says nothing of the deployment
            return ProviderRefused(error.message)
        except ProviderError as error:
            return error
        except TimeoutError:
            return ProviderUnanswered(f"no word within {FREE_PROBE_SECONDS:g} s")
        except Exception as error:  # noqa: BLE001 - an adapter's own defect is not the gateway's
            self._log.exception("adapter_defect", deployment=name)
            return ProviderRefused(f"the adapter broke on this question ({type(error).__name__})")
        return None
