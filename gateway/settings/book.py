"""From the configuration's prices and markups to the price book."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.accounting.price_book import Markups, PriceBook
from gateway.accounting.pricing import Price
from gateway.settings.deployments import DeploymentSettings
from gateway.settings.file import FileSettings
from gateway.settings.moments import micros_of
from gateway.settings.prices import PriceSettings
from providers.contract import ListPrice, Money


def price_book(
    settings: FileSettings, deployments: Iterable[DeploymentSettings], listed: Mapping[str, ListPrice | None]
) -> PriceBook:
    """
    Return the book of a configuration.

    Args:
        settings: its markups and its tenants' fixed prices.
        deployments: those of the file, or the environment's where the file lists none.
        listed: by deployment: what the provider publishes, for one that the configuration gives no price.
    """
    deployments = tuple(deployments)
    prices: list[Price] = []
    for deployment in deployments:
        published = listed.get(deployment.name)
        if deployment.dated_prices:
            prices += [_price(deployment.name, price) for price in deployment.dated_prices]
        elif published is not None:
            prices.append(_published(deployment.name, published))
    return PriceBook(
        prices,
        Markups(
            general=settings.pricing.markup,
            deployments={each.name: each.markup for each in deployments if each.markup is not None},
            tenants={name: tenant.markup for name, tenant in settings.tenants.items() if tenant.markup is not None},
            fixed={
                (name, deployment): Money.from_usd(usd)
                for name, tenant in settings.tenants.items()
                for deployment, usd in tenant.prices.items()
            },
        ),
    )


def _price(deployment: str, price: PriceSettings) -> Price:
    return Price(
        deployment=deployment,
        usd=Money.from_usd(price.usd),
        unit=price.unit,
        valid_from=price.valid_from,
        source=price.source,
        starts_at=micros_of(price.valid_from),
        ends_at=None if price.valid_until is None else micros_of(price.valid_until),
    )


def _published(deployment: str, price: ListPrice) -> Price:
    return Price(
        deployment=deployment,
        usd=Money.from_usd(price.usd),
        unit=price.unit,
        valid_from=price.valid_from,
        source=price.source,
        starts_at=micros_of(price.valid_from),
    )
