"""From a configuration to the price book."""

from __future__ import annotations

from gateway.accounting.price_book import PriceBook
from gateway.accounting.pricing import most
from gateway.settings import settings_from_yaml
from gateway.settings.book import price_book
from gateway.settings.moments import micros_of
from providers.contract import ListPrice, PriceUnit

TEXT = """\
deployments:
  - name: eu
    provider: runflow
    model: m
    prices:
      - {usd: "0.12", valid_from: 2026-12-01T09:30:00Z, source: the announcement}
      - {usd: "0.005", valid_from: 2026-04-05, source: the page}
  - {name: us, provider: runflow, model: m, markup: "3"}
  - {name: lab, provider: runflow, model: m}
  - name: gone
    provider: runflow
    model: m
    price: {usd: "0.005", unit: second, valid_from: 2026-04-05, valid_until: 2026-11-01, source: x}
pricing: {markup: "2"}
tenants:
  acme: {markup: "5", prices: {us: "0.000006"}}
"""
LISTED = ListPrice("0.007", PriceUnit.REQUEST, "2026-02-01", "the provider's page")


def book() -> PriceBook:
    """Return the book of the text; a list price is published for two deployments."""
    settings = settings_from_yaml(TEXT, environ={})
    return price_book(settings, settings.deployments or (), {"us": LISTED, "eu": LISTED, "lab": None})


def charged(tenant: str, deployment: str, moment: str) -> tuple[int, str] | None:
    """Return what one call or second is charged and the name of its terms."""
    terms = book().terms(tenant, deployment, micros_of(moment))
    return None if terms is None else (most(terms, seconds=1).microusd, terms.id)


def test_the_configuration_s_prices_go_before_the_published_one() -> None:
    """Each of them at its moment; the published price holds where the file has none."""
    assert charged("initech", "eu", "2026-04-04") is None
    assert (10_000, "eu@2026-04-05*2") == charged("initech", "eu", "2026-04-05")
    assert (10_000, "eu@2026-04-05*2") == charged("initech", "eu", "2026-12-01T09:29:59.999999Z")
    assert (240_000, "eu@2026-12-01T09:30:00Z*2") == charged("initech", "eu", "2026-12-01T09:30:00Z")
    assert (21_000, "us@2026-02-01*3") == charged("initech", "us", "2026-12-01")
    price = book().price_at("us", micros_of("2026-12-01"))
    assert price is not None
    assert (PriceUnit.REQUEST, "the provider's page") == (price.unit, price.source)


def test_without_any_price_a_deployment_is_not_in_the_book() -> None:
    """None published and none configured, or the one it had is over."""
    assert charged("acme", "lab", "2026-12-01") is None
    assert (10_000, "gone@2026-04-05*2") == charged("initech", "gone", "2026-10-31T23:59:59Z")
    assert charged("acme", "gone", "2026-11-01") is None


def test_a_tenant_pays_as_the_file_says() -> None:
    """Its fixed price, or its markup instead of the deployment's."""
    assert (6, "us@2026-02-01=0.000006") == charged("acme", "us", "2026-12-01")
    assert (25_000, "eu@2026-04-05*5") == charged("acme", "eu", "2026-05-01")
