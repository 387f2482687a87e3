"""What a changed configuration hands on of its deployments and budgets, and what begins anew."""

from __future__ import annotations

import io
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.memory import Memory, remembered
from gateway.routing.health import BreakerState, HealthTable
from gateway.settings import Settings, settings_from_yaml
from gateway.settings.offers import offered
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telling import Telling
from providers.contract import Money, Provider, ProviderDenied
from tests.gateway.provided import providers_built


@dataclass
class Gateway:
    """One configuration after another."""

    providers: Mapping[str, Provider]
    metrics: Metrics = field(default_factory=Metrics)
    log: io.StringIO = field(default_factory=io.StringIO)
    memory: Memory | None = None

    def configured(self, text: str) -> Memory:
        """Go on with another configuration."""
        settings, before = settings_from_yaml(text, environ={}), self.memory
        known = None if before is None else before.offers
        chance = random.Random(1)
        self.memory = remembered(
            settings,
            offered(settings, self.providers, callback_url=lambda _: "", known=known),
            before,
            health=HealthTable((), lambda: 1000.0, chance) if before is None else before.health,
            telling=Telling(self.metrics, make_logger(self.log)),
            clock=lambda: 1000.0,
            chance=chance,
        )
        return self.memory

    def alarms(self) -> dict[str, float]:
        """Return the series of alarms by deployment."""
        text = self.metrics.text(open_deployments=(), in_flight=0, cache_bytes=0, ledger={}).decode()
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        return {each.labels["deployment"]: each.value for each in samples if "drift_alarm" in each.name}


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway without a configuration."""
    async with providers_built() as providers:
        yield Gateway(providers)


def listing(*names: str, credential: str = "key-1", max_concurrency: int = 4, more: str = "") -> str:
    """Return a configuration of these deployments."""
    rest = "provider: runflow, model: meta/sam-3/image, endpoint: 'https://runflow.example'"
    each = [f"{{name: {name}, {rest}, credential: {credential}, max_concurrency: {max_concurrency}}}" for name in names]
    return f"deployments: [{', '.join(each)}]\n{more}"


def denied(memory: Memory, name: str) -> None:
    """Have a deployment refuse our key."""
    call = memory.health[name].begin()
    assert call is not None
    call.failed(ProviderDenied("no credit"))


def state(memory: Memory, name: str) -> BreakerState:
    """Return how a deployment's breaker stands."""
    return memory.health[name].view().state


async def test_deployment_that_stays_keeps_what_it_has_shown(gateway: Gateway) -> None:
    """Its breaker stays open, its places stay taken and are bounded anew; one that is added begins closed."""
    first = gateway.configured(listing("eu"))
    denied(first, "eu")
    place = first.places["eu"].try_place()
    assert place is not None
    second = gateway.configured(listing("eu", "us", max_concurrency=9))
    assert (BreakerState.OPEN, BreakerState.CLOSED) == (state(second, "eu"), state(second, "us"))
    view = second.places["eu"].view()
    assert first.places["eu"].view() == view
    assert second.places["us"].view().limit == view.limit
    place.abandoned()


async def test_deployment_that_has_become_another_begins_afresh(gateway: Gateway) -> None:
    """With another credential it is asked again, and requests under way go on with the breaker that they know."""
    first = gateway.configured(listing("eu"))
    denied(first, "eu")
    second = gateway.configured(listing("eu", credential="key-2"))
    assert (BreakerState.OPEN, BreakerState.CLOSED) == (state(first, "eu"), state(second, "eu"))
    assert second.places["eu"] is not first.places["eu"]


async def test_deployment_that_was_gone_is_a_new_one(gateway: Gateway) -> None:
    """What it had shown went with it."""
    denied(gateway.configured(listing("eu", "us")), "eu")
    assert {"us"} == set(gateway.configured(listing("us")).offers)
    assert BreakerState.CLOSED is state(gateway.configured(listing("eu", "us")), "eu")


@pytest.mark.parametrize(
    ("more", "anew"),
    [
        ("", set()),
        ("quotes: {ttl_seconds: 7}", set()),
        ("routing: {retry_percent: 7}", {"retries"}),
        ("routing: {retry_at_least: 7}", {"retries"}),
        ("routing: {doubt: {per_minute_usd: '7'}}", {"doubt"}),
        ("routing: {hedge_percent: 3}", {"hedges"}),
        ("pricing: {drift_alarm_percent: 7}", {"drift"}),
    ],
)
async def test_budget_goes_on_unless_its_own_figures_have_changed(gateway: Gateway, more: str, anew: set[str]) -> None:
    """Nobody gets a new budget by a configuration that changes something else."""
    first, second = gateway.configured(listing("eu")), gateway.configured(listing("eu", more=more))
    names = {"retries", "doubt", "hedges", "drift"}
    assert anew == {name for name in names if getattr(first, name) is not getattr(second, name)}


async def test_alarms_of_drift_are_those_of_what_is_watched(gateway: Gateway) -> None:
    """An alarm goes on with its deployment, and is taken back where that is gone or is watched by another figure."""
    first = gateway.configured(listing("eu", "us"))
    assert {"eu": 0.0, "us": 0.0} == gateway.alarms()
    for _ in range(5):
        for name in ("eu", "us"):
            first.drift.note(name, reported=Money(9000), listed=Money(5000))
    assert {"eu": 1.0, "us": 1.0} == gateway.alarms()
    assert ["price_drift"] * 2 == [orjson.loads(line)["event"] for line in gateway.log.getvalue().splitlines()]
    gateway.configured(listing("eu"))
    assert {"eu": 1.0, "us": 0.0} == gateway.alarms()
    gateway.configured(listing("eu", more="pricing: {drift_alarm_percent: 50}"))
    assert {"eu": 0.0, "us": 0.0} == gateway.alarms()


async def test_memory_says_what_it_stands_for(gateway: Gateway) -> None:
    """The next configuration is compared with the one that it came from."""
    memory = gateway.configured(listing("eu"))
    assert isinstance(memory.settings, Settings)
    assert {"eu"} == set(memory.offers) == {each.name for each in memory.settings.deployments or ()}
