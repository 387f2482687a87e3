"""
Telling the operator of a budget that is passed: a metric each time, a webhook once a period.

Which gateway sends the webhook is decided by a lease in the database, one for each piece of news. Its holder keeps it
through the pauses between attempts and, once the news is told, to the end of the period. When the holder dies, the
lease runs out, and another gateway takes it at the next request that passes the budget. A message's id is made of what
it tells, so that a receiver which drops the ids that it has seen is told nothing twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import orjson
from sqlalchemy import Connection, and_, delete, select

from gateway.accounting.budget_words import moment
from gateway.accounting.webhooks import ATTEMPT_SECONDS, Delivery, Message, Webhook
from gateway.store import BudgetStanding, Database, LedgerUnavailable
from gateway.store.leases import Lease
from gateway.store.tables import budgets, leases
from providers.contract import Money

_MICROS = 1_000_000
_LEASE_PREFIX = "budget-alert:"
#: What a lease has beyond a pause and an attempt: slow databases, and clocks that differ.
_MARGIN_SECONDS = 60.0
#: How long the news of a total counts as told: its period has no end.
_LONG_SECONDS = 10 * 366 * 86_400.0
#: Until news is looked at again that is another gateway's to tell, or that the database was not there for.
_LATER_SECONDS = 60.0
_MOST_REMEMBERED = 10_000
_MOST_AT_ONCE = 1000

_log = logging.getLogger(__name__)

Count = Callable[[str, str], None]
"""Told scope and period of a budget that was passed, or that refused: closed sets, as metric labels have to be."""


@dataclass(frozen=True, slots=True)
class _News:
    """A budget that is passed in one period, at one limit: what is told once."""

    standing: BudgetStanding
    at: int
    """When it was seen first, in microseconds since 1970, UTC."""

    @property
    def id(self) -> str:
        """The same on every gateway, however far the figures have gone since."""
        standing = self.standing
        told = (standing.budget_id, standing.resets_at, standing.limit_microusd)
        return f"evt_{hashlib.blake2b(orjson.dumps(told), digest_size=16).hexdigest()}"

    def quiet_seconds(self, now: float) -> float:
        """Return for how long it counts as told, seen from a moment in seconds since 1970."""
        resets_at = self.standing.resets_at
        return _LONG_SECONDS if resets_at is None else max(0.0, resets_at / _MICROS - now)

    def body(self, tenant: str) -> bytes:
        """Return what the webhook sends."""
        standing = self.standing
        amounts = {
            "limit": standing.limit_microusd,
            "spent": standing.spent_microusd,
            "reserved": standing.reserved_microusd,
        }
        data = {
            "budget_id": standing.budget_id,
            "tenant": tenant,
            "scope": standing.scope,
            "subject": standing.subject,
            "period": standing.period,
            "hard": standing.hard,
            **{f"{name}_microusd": figure for name, figure in amounts.items()},
            **{f"{name}_usd": Money(figure).usd for name, figure in amounts.items()},
            "resets_at": None if standing.resets_at is None else moment(standing.resets_at),
        }
        kind = "budget.refused" if standing.hard else "budget.passed"
        return orjson.dumps({"type": kind, "timestamp": moment(self.at), "data": data})


class Alerts:
    """Who tells of budgets. Belongs to one event loop."""

    def __init__(
        self, database: Database, webhook: Webhook | None, *, count: Count, wall: Callable[[], float], holder: str
    ) -> None:
        """
        Tell of budgets.

        Args:
            database: where all gateways meet.
            webhook: whom to tell; None for nobody.
            count: counts each budget that a request passes or is refused by.
            wall: seconds since 1970, UTC.
            holder: this gateway, unlike any other.
        """
        self._database = database
        self._webhook = webhook
        self._count = count
        self._wall = wall
        self._holder = holder
        self._quiet_until: OrderedDict[str, float] = OrderedDict()
        self._telling: set[asyncio.Task[None]] = set()
        self._unfinished: dict[str, Lease] = {}

    def tell(self, standings: Iterable[BudgetStanding]) -> None:
        """Tell of budgets that a reservation has passed, or that have refused one. Returns at once."""
        for standing in standings:
            self._count(standing.scope, standing.period)
            if self._webhook is not None and len(self._telling) < _MOST_AT_ONCE:
                self._tell_once(self._webhook, _News(standing, round(self._wall() * _MICROS)))

    async def close(self) -> None:
        """End what is under way, and leave it to the other gateways."""
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)
        try:
            for lease in self._unfinished.values():
                await lease.give_back()
        except LedgerUnavailable as error:
            _log.warning("the leases of webhooks end by themselves, since they cannot be given back: %s", error)

    def _tell_once(self, webhook: Webhook, news: _News) -> None:
        if self._quiet_until.get(news.id, 0.0) > self._wall():
            return
        self._be_quiet(news, _LONG_SECONDS)
        task = asyncio.get_running_loop().create_task(self._tell(webhook, news))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _be_quiet(self, news: _News, seconds: float) -> None:
        """Do not look at this news again for so long."""
        self._quiet_until[news.id] = self._wall() + seconds
        self._quiet_until.move_to_end(news.id)
        while len(self._quiet_until) > _MOST_REMEMBERED:
            self._quiet_until.popitem(last=False)

    async def _tell(self, webhook: Webhook, news: _News) -> None:
        """Send the webhook, if it is this gateway's to send, and say what came of it."""
        try:
            delivery = await self._send(webhook, news)
        except LedgerUnavailable as error:
            _log.warning("the webhook of budget %s waits for the database: %s", news.standing.budget_id, error)
            delivery = Delivery.LEFT
        if delivery is Delivery.LEFT:
            self._be_quiet(news, _LATER_SECONDS)
        elif delivery is Delivery.GONE:
            self._webhook = None
            _log.error("the budgets' webhook answered 410: nothing is sent to it until the gateway starts anew")
        elif delivery is Delivery.GIVEN_UP:
            _log.error("the webhook of budget %s is given up: its receiver never took it", news.standing.budget_id)

    async def _send(self, webhook: Webhook, news: _News) -> Delivery:
        budget_id = news.standing.budget_id
        tenant = await self._database.read(
            lambda connection: connection.scalar(select(budgets.c.tenant).where(budgets.c.id == budget_id))
        )
        if tenant is None:  # removed in the meantime
            return Delivery.LEFT
        message = Message(news.id, news.body(tenant))
        delivery = await webhook.deliver(message, before=lambda pause: self._hold(news, pause + ATTEMPT_SECONDS))
        if delivery is not Delivery.LEFT:
            await self._hold(news, news.quiet_seconds(self._wall()))
            await self._database.write(partial(_forget_told, now=round(self._wall() * _MICROS)))
        self._unfinished.pop(news.id, None)
        return delivery

    async def _hold(self, news: _News, seconds: float) -> bool:
        """Take the lease of this news, or make it longer; whether it is ours for that many seconds."""
        lease = Lease(
            self._database,
            _LEASE_PREFIX + news.id,
            holder=self._holder,
            seconds=seconds + _MARGIN_SECONDS,
            wall=self._wall,
        )
        taken = await lease.take() is not None
        if taken:
            self._unfinished[news.id] = lease
        return taken


def _forget_told(connection: Connection, now: int) -> None:
    """Forget what was told in periods that have ended."""
    over = and_(leases.c.name.startswith(_LEASE_PREFIX, autoescape=True), leases.c.expires_at < now)
    connection.execute(delete(leases).where(over))
