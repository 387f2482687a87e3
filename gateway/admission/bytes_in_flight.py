"""
How many bytes of requests' bodies and fetched pictures are held at once, in the whole process.

They are taken before they are read, and given back when the request is done. Who finds no room waits a moment; room
that comes free goes to whoever waits longest of the tenant that holds least, so that one tenant's uploads do not keep
out another's.

What providers send is not among them: it is paid for, and never waits. It is bounded for each call instead, by its
adapter: Runflow's answers by 64 MiB, Prodia's and each mask by the picture's pixels, the masks by their number.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from types import TracebackType
from typing import Self

from gateway.problems import Overloaded, RequestTooLarge

#: How long a request may wait for room: a refusal is out within a second of the request's head.
PATIENCE_SECONDS = 0.5
RETRY_SECONDS = 1.0


class BytesInFlight:
    """A bounded number of bytes. Belongs to one event loop."""

    def __init__(self, most: int) -> None:
        """Begin with all of them free."""
        self.most = most
        self.taken = 0
        self._held: dict[str, int] = {}
        self._wanted: dict[str, int] = {}  # bytes that a tenant's requests wait for
        self._waiting: OrderedDict[_Wish, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many requests wait for room."""
        return len(self._waiting)

    def resize(self, most: int) -> None:
        """Have another number of bytes from now on; what is held stays held."""
        self.most = most
        self._give_out()

    def hold(self, tenant: str) -> Hold:
        """Return what one request holds: nothing yet. `with` it, so that all of it is given back."""
        return Hold(self, tenant)

    async def take(self, hold: Hold, count: int) -> None:
        """
        Take bytes, and wait a moment where there is no room; `Hold` does that.

        Raises:
            Overloaded: there was none in time, or the tenant's requests that wait already would take all there is.
            RequestTooLarge: there never will be.
        """
        if hold.count + count > self.most:
            raise RequestTooLarge(
                f"this gateway holds {self.most} bytes of all requests at once; send a smaller picture"
            )
        if not self._waiting and self.taken + count <= self.most:
            self._give(hold, count)
            return
        wanted = self._wanted.get(hold.tenant, 0)
        if wanted + count > self.most:  # all there is could come free, and this one would have none of it
            raise self._overloaded()
        self._wanted[hold.tenant] = wanted + count
        wish = _Wish(hold, count)
        self._waiting[wish] = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await wish.granted
        except TimeoutError:
            if not wish.fulfilled:
                raise self._overloaded() from None
        finally:
            self._waiting.pop(wish, None)
            _less(self._wanted, hold.tenant, count)
            self._give_out()  # whoever waited behind a large wish may fit

    def give_back(self, hold: Hold) -> None:
        """Take back what a request holds; `Hold` does that."""
        _less(self._held, hold.tenant, hold.count)
        self.taken -= hold.count
        hold.count = 0
        self._give_out()

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self.taken} bytes of requests are held, of {self.most} that this gateway holds at once",
            retry_after_seconds=RETRY_SECONDS,
        )

    def _give(self, hold: Hold, count: int) -> None:
        hold.count += count
        self._held[hold.tenant] = self._held.get(hold.tenant, 0) + count
        self.taken += count

    def _give_out(self) -> None:
        """Fulfil wishes while the next one fits: that of the tenant that holds least."""
        while self._waiting:
            wish = min(self._waiting, key=lambda each: self._held.get(each.hold.tenant, 0))
            if self.taken + wish.count > self.most:
                return
            del self._waiting[wish]
            self._give(wish.hold, wish.count)
            wish.fulfilled = True
            if not wish.granted.done():
                wish.granted.set_result(None)


def _less(counts: dict[str, int], tenant: str, count: int) -> None:
    """Take so much from a tenant's count, and forget the tenant at zero."""
    counts[tenant] = counts.get(tenant, 0) - count
    if counts[tenant] <= 0:
        del counts[tenant]


class Hold:
    """
    The bytes of one request.

    Entered by the request, and again by each piece of work that may outlive it with its picture: given back when the
    last of them ends.
    """

    __slots__ = ("_bytes", "_users", "count", "tenant")

    def __init__(self, held_by: BytesInFlight, tenant: str) -> None:
        """Begin with none."""
        self._bytes = held_by
        self._users = 0
        self.tenant = tenant
        self.count = 0

    async def take(self, count: int) -> None:
        """
        Take bytes before they are read.

        Raises:
            Overloaded: there is no room in time.
            RequestTooLarge: there never will be.
        """
        await self._bytes.take(self, count)

    def __enter__(self) -> Self:
        """Begin to use them."""
        self._users += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give all of them back, unless others use them still."""
        self._users -= 1
        if not self._users:
            self._bytes.give_back(self)


class _Wish:
    """Somebody who waits for room."""

    __slots__ = ("count", "fulfilled", "granted", "hold")

    def __init__(self, hold: Hold, count: int) -> None:
        self.hold = hold
        self.count = count
        self.fulfilled = False
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
