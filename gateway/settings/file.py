"""The configuration file as a whole, and what cannot hold together in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from gateway.request import RateLimit, TenantPolicy
from gateway.settings.deployments import DeploymentSettings
from gateway.settings.prices import Contradiction, PricingSettings, too_much
from gateway.settings.rates import unlimited_burst
from gateway.settings.routing import RoutingSettings
from gateway.settings.section import Section
from gateway.settings.sections import (
    AccessSettings,
    AdminSettings,
    BudgetSettings,
    CacheSettings,
    FetchSettings,
    IdempotencySettings,
    LimitSettings,
    QuoteSettings,
    ReconcileSettings,
)
from gateway.settings.tenants import RuledName, TenantSettings
from providers.contract import PriceUnit

PUBLIC_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,255}(/[A-Za-z0-9._~-]+){0,16}")


class FileSettings(Section):
    """The configuration file."""

    public_url: str = ""
    """Where providers reach this gateway, as https://maskgate.example.com; empty where they cannot: no callbacks."""
    deployments: tuple[DeploymentSettings, ...] | None = None
    tenants: dict[RuledName, TenantSettings] = Field(default_factory=dict)
    """What holds for some tenants (`_keyless`: for all callers without a key); the others may use all, in `limits`."""
    pricing: PricingSettings = PricingSettings()
    routing: RoutingSettings = RoutingSettings()
    fetch: FetchSettings = FetchSettings()
    cache: CacheSettings = CacheSettings()
    access: AccessSettings = AccessSettings()
    admin: AdminSettings = AdminSettings()
    limits: LimitSettings = LimitSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    quotes: QuoteSettings = QuoteSettings()
    idempotency: IdempotencySettings = IdempotencySettings()
    budgets: BudgetSettings = BudgetSettings()

    @field_validator("public_url")
    @classmethod
    def _is_public(cls, url: str) -> str:
        """Refuse what no path can be appended to."""
        if url and not PUBLIC_URL.fullmatch(url):
            raise ValueError("write it as https://host or https://host/path, without a trailing slash, query or user")
        return url

    @field_validator("deployments")
    @classmethod
    def _names_differ(cls, deployments: tuple[DeploymentSettings, ...] | None) -> tuple[DeploymentSettings, ...] | None:
        """Refuse two deployments of one name."""
        seen: set[str] = set()
        for deployment in deployments or ():
            if deployment.name in seen:
                raise ValueError(f"two deployments are named {deployment.name!r}; each name is used once")
            seen.add(deployment.name)
        return deployments

    @property
    def default_rules(self) -> tuple[TenantPolicy, RateLimit]:
        """What a tenant may use, and how much of it at once, that the file does not name."""
        return self.routing.policy(), self.limits.rate_limit()

    @property
    def tenant_rules(self) -> Mapping[str, tuple[TenantPolicy, RateLimit]]:
        """What each tenant may use that the file names, and how much of it at once."""
        limit = self.limits.rate_limit()
        return {
            name: (tenant.policy_over(self.routing), tenant.rate_limit_over(limit))
            for name, tenant in self.tenants.items()
        }

    def contradictions(self) -> Iterator[Contradiction]:
        """Find what is well-formed in each place and cannot hold together."""
        for index, deployment in enumerate(self.deployments or ()):
            for place, message in deployment.contradictions():
                yield ("deployments", index, *place), message
        yield from self._unknown_priced()
        yield from self._too_dear()
        for place, message in unlimited_burst(self.limits.rate_limit(), self.limits):
            yield ("limits", *place), message
        for name, tenant in self.tenants.items():
            for place, message in unlimited_burst(self.tenant_rules[name][1], tenant):
                yield ("tenants", name, *place), message
        for place, message in (*self.budgets.contradictions(), *self._unreachable_webhook()):
            yield ("budgets", *place), message
        for place, message in self.fetch.contradictions():
            yield ("fetch", *place), message
        yield from self._stand_ins_beside_services()

    def _stand_ins_beside_services(self) -> Iterator[Contradiction]:
        """Find stand-ins for other people's pictures beside deployments that are no sandbox's."""
        if not self.fetch.instead:
            return
        if self.deployments is None:
            yield ("fetch", "instead"), "is for sandboxes: list the sandbox's deployments, or leave it out"
        for deployment in self.deployments or ():
            if deployment.endpoint and not deployment.sandbox:
                message = f"is for sandboxes: deployment {deployment.name!r} is not marked so; leave it out"
                yield ("fetch", "instead"), message

    def _unreachable_webhook(self) -> Iterator[Contradiction]:
        """Find a webhook at a private address, which nothing is sent to. Where a name leads is seen when it is used."""
        parts = urlsplit(self.budgets.webhook_url)
        try:
            address = ip_address("127.0.0.1" if parts.hostname == "localhost" else parts.hostname or "")
        except ValueError:
            return
        host = f"[{address}]" if address.version == 6 else str(address)
        written = f"{host}:{parts.port or {'http': 80}.get(parts.scheme, 443)}"
        if not address.is_global and written not in self.fetch.webhooks:
            yield (
                ("webhook_url",),
                f"{written} is a private address; write it under fetch.allow_webhooks, or name a public one",
            )

    def _too_dear(self) -> Iterator[Contradiction]:
        """Find what a call might cost beyond what the ledger can hold, so that every one of them would fail."""
        tenants = [each.markup for each in self.tenants.values() if each.markup is not None]
        for index, deployment in enumerate(self.deployments or ()):
            own = self.pricing.markup if deployment.markup is None else deployment.markup
            largest = max([own, *tenants])
            for number, price in enumerate(deployment.dated_prices):
                message = too_much(price.usd, price.unit, largest)
                place = ("price",) if deployment.prices is None else ("prices", number)
                if message is not None:
                    yield ("deployments", index, *place, "usd"), message
        units = {
            each.name: PriceUnit.SECOND
            for each in self.deployments or ()
            if any(price.unit is PriceUnit.SECOND for price in each.dated_prices)
        }
        for tenant, settings in self.tenants.items():
            for name, usd in settings.prices.items():
                message = too_much(usd, units.get(name, PriceUnit.SUCCESS))
                if message is not None:
                    yield ("tenants", tenant, "prices", name), message

    def _unknown_priced(self) -> Iterator[Contradiction]:
        """Find fixed prices for deployments that the file does not list: what the environment makes comes and goes."""
        names = [deployment.name for deployment in self.deployments or ()]
        there = f"it lists {', '.join(names)}" if names else "it lists none; list those that have a fixed price"
        for tenant, settings in self.tenants.items():
            for deployment in settings.prices:
                if deployment not in names:
                    place = ("tenants", tenant, "prices", deployment)
                    yield place, f"this file has no deployment {deployment!r}: {there}"
