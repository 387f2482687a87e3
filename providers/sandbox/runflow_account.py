"""
What the fake Runflow says about itself, the account and its prices.

Source: docs.runflow.io api-reference (health, readiness, auth/me, billing/balance, credit-balances, models/pricing),
concepts/pricing (the other body of the balance); read 2026-11-20. What the account holds at the start, and the bodies
of readiness, of auth/me and of pricing, are invented.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from providers.sandbox.answer import Answer, json_answer
from providers.sandbox.books import Books
from providers.sandbox.config import UpstreamPlan
from providers.sandbox.runflow_errors import RunflowError, demand_key
from providers.sandbox.runflow_habits import Habits
from providers.sandbox.runflow_products import PRODUCTS, dollars
from providers.sandbox.runflow_record import moment, organization

_BALANCE_MICROUSD = 100_000_000


class Account:
    """The calls about the service and the account."""

    def __init__(self, plan: UpstreamPlan, books: Books, habits: Callable[[], Habits], *, since: float) -> None:
        """Tell of the one account, open *since* a moment in seconds since the epoch."""
        self._plan = plan
        self._books = books
        self._habits = habits
        self._since = since

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/v1/health", self._health, name="account.health"),
            web.get("/v1/readiness", self._readiness, name="account.readiness"),
            web.get("/v1/auth/me", self._me, name="account.me"),
            web.get("/v1/billing/balance", self._balance, name="account.balance"),
            web.get("/v1/credit-balances", self._credit_balances, name="account.credit"),
            web.get("/v1/models/{model:.+}/pricing", self._pricing, name="account.pricing"),
        ]

    async def _health(self, _request: web.Request) -> Answer:
        """Say that we are up."""
        return json_answer({"status": "ok"})

    async def _readiness(self, _request: web.Request) -> Answer:
        """Say that every component is up."""
        return json_answer({"status": "ok", "components": {"database": "ok", "queue": "ok", "storage": "ok"}})

    async def _me(self, request: web.Request) -> Answer:
        """Say whose key this is."""
        key = demand_key(request)
        organization_id = organization(self._plan.name)
        return json_answer({"id": organization_id, "org_id": organization_id, "key_prefix": key[:8]})

    async def _balance(self, request: web.Request) -> Answer:
        """Say what is left on the account."""
        demand_key(request)
        if self._habits().balance == "cents":
            return json_answer({"balance_cents": self._left() // 10_000, "currency": "USD"})
        organization_id = organization(self._plan.name)
        return json_answer(
            {
                "id": organization_id,
                "org_id": organization_id,
                "balance": self._decimal(),
                "low_balance_threshold": None,
                "low_balance_notified_at": None,
                "created_at": moment(self._since),
                "updated_at": moment(self._since),
            }
        )

    async def _credit_balances(self, request: web.Request) -> Answer:
        """Say the same in the body that the service's own tools read."""
        demand_key(request)
        return json_answer({"items": [{"balance_usd": self._decimal()}]})

    async def _pricing(self, request: web.Request) -> Answer:
        """Say what a run of one model costs."""
        demand_key(request)
        product = next((known for known in PRODUCTS if known.name == request.match_info["model"]), None)
        if product is None:
            raise RunflowError(404)
        price = dollars(product.microusd)
        return json_answer({"model_id": product.name, "price": price, "currency": "USD", "unit": product.unit})

    def _left(self) -> int:
        """Return what is left, in micro-dollars."""
        return _BALANCE_MICROUSD - self._books.charged(self._plan.name)

    def _decimal(self) -> str:
        """Return what is left, in decimal dollars."""
        left = self._left()
        return f"{'-' if left < 0 else ''}{abs(left) // 1_000_000}.{abs(left) % 1_000_000:06d}"
