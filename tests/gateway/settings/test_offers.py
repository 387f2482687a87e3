"""From a configuration's deployments to those that the router sees, with the providers of this tree."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial

import pytest

from gateway.api.callbacks import callback_url
from gateway.settings import Settings, SettingsError, settings_from_yaml
from gateway.settings.offers import found_problems, offered
from providers.contract import PriceUnit, Provider
from tests.gateway.provided import providers_built

RUNFLOW = "provider: runflow, model: meta/sam-3/image, endpoint: 'https://runflow.example'"
EU = f"{{name: eu, {RUNFLOW}, region: eu, credential: key-1, priority: 2, weight: 3}}"
LAB = "{name: lab, provider: local, model: classic, labels: {room: '7'}}"
PRICE = '{usd: "0.01", valid_from: 2026-01-01, source: the contract}'


@pytest.fixture
async def providers() -> AsyncIterator[Mapping[str, Provider]]:
    """Every provider."""
    async with providers_built() as built:
        yield built


def listing(*deployments: str, more: str = "") -> Settings:
    """Return a configuration that lists these."""
    return settings_from_yaml(f"deployments: [{', '.join(deployments)}]\n{more}", environ={})


def reached_at(_deployment: str) -> str:
    """Say that nobody outside reaches this gateway."""
    return ""


async def test_offer_says_what_the_configuration_does(providers: Mapping[str, Provider]) -> None:
    """Each deployment has its provider's model, and its place in the operator's order."""
    eu, lab = offered(listing(EU, LAB), providers, callback_url=reached_at).offers
    assert ("eu", "runflow", "eu", "key-1", 2, 3) == (
        eu.name,
        eu.deployment.provider,
        eu.deployment.region,
        eu.deployment.credential.reveal(),
        eu.priority,
        eu.weight,
    )
    assert (providers["runflow"].models["meta/sam-3/image"], {"room": "7"}) == (eu.model, lab.labels)


async def test_providers_that_call_back_are_told_where(providers: Mapping[str, Provider]) -> None:
    """A provider that takes no callbacks has no address, and neither has a gateway that nobody outside reaches."""
    public = partial(callback_url, "https://masks.example")
    eu, lab = offered(listing(EU, LAB), providers, callback_url=public).offers
    assert ("https://masks.example/v1/callbacks/eu", "") == (eu.deployment.callback_url, lab.deployment.callback_url)
    (private,) = offered(listing(EU), providers, callback_url=partial(callback_url, "")).offers
    assert "" == private.deployment.callback_url


async def test_deployment_that_stays_as_it_was_is_the_same_object(providers: Mapping[str, Provider]) -> None:
    """Its place in the order may change; with another credential it is another one."""
    (first,) = offered(listing(EU), providers, callback_url=reached_at).offers
    known = {first.name: first}
    moved = offered(listing(EU.replace("weight: 3", "weight: 9")), providers, callback_url=reached_at, known=known)
    assert (9, True) == (moved.offers[0].weight, moved.offers[0].deployment is first.deployment)
    other = offered(listing(EU.replace("key-1", "key-2")), providers, callback_url=reached_at, known=known)
    assert other.offers[0].deployment is not first.deployment


async def test_every_deployment_that_cannot_work_is_named(providers: Mapping[str, Provider]) -> None:
    """An unknown provider, an unknown model and a wrong option are told at once, each at its place in the list."""
    settings = listing(
        "{name: a, provider: nobody, model: m}",
        LAB,
        f"{{name: b, {RUNFLOW.replace('/image', '/video')}, credential: k}}",
        f"{{name: c, {RUNFLOW}, credential: k, options: {{speed: 3}}}}",
        more="tenants: {acme: {providers: [runflow, nobody]}}",
    )
    with pytest.raises(SettingsError) as refused:
        offered(settings, providers, callback_url=reached_at)
    assert ["deployments[0] (a)", "deployments[2] (b)", "deployments[3] (c)"] == [
        each.path for each in refused.value.problems
    ]
    problems = found_problems(settings, providers)
    assert refused.value.problems == problems[:3]
    assert ("tenants.acme.providers", "there is no 'nobody'; there are local, prodia, runflow") == (
        problems[3].path,
        problems[3].message,
    )
    assert [] == found_problems(listing(EU, LAB), providers)


async def test_without_a_file_the_environment_makes_deployments(providers: Mapping[str, Provider]) -> None:
    """A provider whose key is there is offered, and what runs on this machine always is; an empty list is empty."""
    environ = {"RUNFLOW_API_KEY": "key-7", "RUNFLOW_CALLBACK_SECRETS": "first-secret, second-secret"}
    made = offered(Settings(environ=environ), providers, callback_url=reached_at)
    assert ["runflow", "local-classic"] == [each.name for each in made.wanted]
    runflow = made.offers[0].deployment
    assert ("key-7", ["first-secret", "second-secret"]) == (
        runflow.credential.reveal(),
        [each.reveal() for each in runflow.callback_secrets],
    )
    assert () == offered(listing(), providers, callback_url=reached_at).offers


async def test_list_price_stands_in_for_one_that_is_not_written(providers: Mapping[str, Provider]) -> None:
    """The operator's own price stays; without one the provider's holds, with its unit, its date and its source."""
    settings = listing(EU, EU.replace("eu", "own").replace("priority: 2", f"price: {PRICE}"))
    there = offered(settings, providers, callback_url=reached_at)
    listed, own = there.priced()
    published = providers["runflow"].models["meta/sam-3/image"].list_price
    assert published is not None
    assert listed.price is not None
    assert (published.usd, published.unit, published.source) == (
        listed.price.usd,
        listed.price.unit,
        listed.price.source,
    )
    assert own is there.wanted[1]
    prices, today = there.prices(settings), 1_800_000_000_000_000
    charged = [prices.price_at(name, today) for name in ("eu", "own")]
    assert [(5000, PriceUnit.SUCCESS), (10_000, PriceUnit.SUCCESS)] == [
        (each.usd.microusd, each.unit) for each in charged if each is not None
    ]


async def test_environment_is_held_to_the_rules_of_files(providers: Mapping[str, Provider]) -> None:
    """A secret that no file may hold is refused by the variable's place, without telling it."""
    environ = {"RUNFLOW_API_KEY": "key-1", "RUNFLOW_CALLBACK_SECRETS": "hush"}
    with pytest.raises(SettingsError, match=r"^environment: runflow[\w-]*\.callback_secrets\.0: ") as refused:
        offered(settings_from_yaml("", environ=environ), providers, callback_url=reached_at)
    assert "hush" not in str(refused.value)
