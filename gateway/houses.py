"""
The house that new requests come to, and those before it that some are still at work in.

A changed configuration makes a new house. Requests under way end in the one that they began in, which is closed when
the last of them has left it. What two houses share is a `Part`, closed by whoever is the last to let go of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, Self, TypeVar

from gateway.settings import Settings
from gateway.uses import Uses

T = TypeVar("T")


class Part(Generic[T]):
    """What one house after another may share; it is closed when the last one has let go of it."""

    __slots__ = ("_close", "_holders", "value")

    def __init__(self, value: T, close: Callable[[], Awaitable[None]]) -> None:
        """Begin with no holder."""
        self.value = value
        self._close = close
        self._holders = 0

    def held(self) -> Self:
        """Count one more holder."""
        self._holders += 1
        return self

    async def let_go(self) -> None:
        """Count one holder less, and close it when that was the last."""
        self._holders -= 1
        if not self._holders:
            await self._close()


class Standing(Protocol):
    """A house that stands."""

    @property
    def uses(self) -> Uses:
        """Who is at work in it."""
        ...

    @property
    def parts(self) -> tuple[Part[Any], ...]:
        """What it may share with others, in the order of need: the last one is let go of first."""
        ...


S = TypeVar("S", bound=Standing)


class Built(Protocol):
    """What was built from settings."""

    @property
    def settings(self) -> Settings:
        """From which."""
        ...


B = TypeVar("B", bound=Built)


def kept(before: B | None, settings: Settings, of: Callable[[Settings], object]) -> B | None:
    """
    Return what was before where it may go on; None where something is to be built anew.

    Args:
        before: None at the start.
        settings: those that hold from now on.
        of: the part of them that it hangs on.
    """
    return before if before is not None and of(before.settings) == of(settings) else None


class Houses(Generic[S]):
    """One house after another. Belongs to one event loop."""

    def __init__(
        self,
        *,
        stand: Callable[[Settings, S | None], S],
        enter: Callable[[S], None],
        follow: Callable[[S, S | None], Awaitable[None]],
        log: Any,
    ) -> None:
        """
        Begin without a house.

        Args:
            stand: builds a house from settings and the one before, and opens nothing: what it raises leaves nothing.
            enter: has new requests come to a house.
            follow: told of each house that is entered, and of the one before, when what runs beside requests may go on.
            log: gets a line for a house that could not be closed.
        """
        self._stand = stand
        self._enter = enter
        self._follow = follow
        self._log = log
        self._standing: S | None = None
        self._retiring: dict[asyncio.Task[None], Uses] = {}

    async def renew(self, settings: Settings) -> None:
        """
        Have new requests come to a house of these settings; those under way go on in theirs.

        Raises:
            Exception: whatever `stand` raises; the house before stays.
        """
        before = self._standing
        standing = self._stand(settings, before)
        for part in standing.parts:
            part.held()
        self._standing = standing
        self._enter(standing)
        if before is not None:
            task = asyncio.create_task(self._retire(before))
            self._retiring[task] = before.uses
            task.add_done_callback(self._retiring.pop)
        await self._follow(standing, before)

    async def close(self) -> None:
        """Close every house, whoever is at work in it."""
        for uses in self._retiring.values():
            uses.give_up()
        await asyncio.gather(*self._retiring)
        if self._standing is not None:
            await _let_go(self._standing)

    async def _retire(self, standing: S) -> None:
        """Close a house when nobody is at work in it any more."""
        await standing.uses.ended()
        try:
            await _let_go(standing)
        except Exception:  # noqa: BLE001 - a provider's own defect ends no house but its own
            self._log.exception("closing_broke")


async def _let_go(standing: Standing) -> None:
    """Close what no other house shares."""
    for part in reversed(standing.parts):
        await part.let_go()
