"""Hard budgets under fire: many requests at once, at two gateways on one ledger, and not one micro-dollar too many."""

import asyncio
import base64
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from providers.contract import Money
from tests.end_to_end.asking import on, text
from tests.end_to_end.audit import read_accounts, verify_all
from tests.end_to_end.money_house import Gateway, Office, gateways
from tests.end_to_end.upstreams import PRODIA_MICROUSD, RUNFLOW_MICROUSD, Upstreams
from tests.servers import Postgres
from tests.tiers import by_tier

REQUESTS = 500
#: For so many requests there is money.
PAID = 100
FEW_REQUESTS, FEW_PAID = 120, 30
SCENES = ("shoes", "street")

PRICES = {"runflow-eu": RUNFLOW_MICROUSD, "runflow-us": RUNFLOW_MICROUSD, "prodia": PRODIA_MICROUSD}


@pytest.fixture(scope="module")
def postgres_money(postgres_server: Postgres) -> str:
    """Return the address of an empty PostgreSQL database for all seeds."""
    return postgres_server.create("budgets_under_fire")


@pytest.fixture(scope="module")
def pair(
    running_upstreams: Upstreams, postgres_money: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Gateway]]:
    """Run two gateways on it, each with a processor to itself where there is one."""
    folder = tmp_path_factory.mktemp("pair")
    with gateways(running_upstreams.sandbox, folder, database_url=postgres_money) as both:
        yield both


def questions(upstreams: Upstreams, deployment: str) -> list[dict[str, Any]]:
    """Return questions about every thing of two scenes, to one deployment, whose answers no cache may give."""
    return [
        {
            "image": {"data": base64.b64encode(upstreams.picture(scene)).decode()},
            "prompts": [text(thing.name)],
            "route": on(deployment, deadline_seconds=60),
            "cache": {"mode": "skip"},
        }
        for scene in SCENES
        for thing in upstreams.scene(scene).things
    ]


@dataclass(frozen=True, slots=True)
class Shot:
    """What came of one request."""

    status: int
    body: dict[str, Any]


async def ask(session: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str]) -> Shot:
    """Ask one gateway once."""
    async with session.post(url + "/v1/segmentations", json=body, headers=headers) as answer:
        return Shot(answer.status, await answer.json(content_type=None))


async def fire(
    urls: list[str], asked: list[dict[str, Any]], headers: dict[str, str], *, requests: int, chance: random.Random
) -> list[Shot]:
    """Send requests all at once to gateways in any order, through any number of connections to each."""
    shots = [(urls[number % len(urls)], chance.choice(asked)) for number in range(requests)]
    chance.shuffle(shots)
    connections = aiohttp.TCPConnector(limit=0, limit_per_host=chance.randrange(requests // 10, requests))
    async with aiohttp.ClientSession(connector=connections) as session:
        return await asyncio.gather(*(ask(session, url, body, headers) for url, body in shots))


async def spend(
    gateways_: list[Gateway],
    upstreams: Upstreams,
    session: aiohttp.ClientSession,
    *,
    requests: int,
    paid: int,
    seed: int,
) -> None:
    """Give a key money for exactly *paid* requests, ask for more, and look who was billed for what."""
    chance = random.Random(seed)
    deployment = chance.choice(sorted(PRICES))
    price = PRICES[deployment]
    office = Office(chance.choice(gateways_), session)
    tenant = f"seed-{seed}"
    key_id, headers = await office.key(tenant, hard_budget={"usd": Money(paid * price).usd})
    asked = questions(upstreams, deployment)
    replies = await fire([each.url for each in gateways_], asked, headers, requests=requests, chance=chance)
    assert Counter({200: paid, 402: requests - paid}) == Counter(reply.status for reply in replies), f"seed {seed}"
    assert {price} == {reply.body["cost"]["charged_microusd"] for reply in replies if reply.status == 200}
    assert {"budget_exceeded"} == {reply.body["code"] for reply in replies if reply.status == 402}
    assert {key_id: (paid * price, paid * price, 0)} == await office.standing(tenant=tenant)
    assert [(deployment, price)] * paid == [(call.upstream, call.microusd) for call in upstreams.books()]


@pytest.mark.needs("postgres")
@by_tier(fast=1, slow=9)
async def test_five_hundred_requests_with_money_for_a_hundred(
    pair: list[Gateway], upstreams: Upstreams, session: aiohttp.ClientSession, seeds: Iterator[int]
) -> None:
    """Of 500 requests at once at two gateways on PostgreSQL, exactly the 100 that there is money for are billed."""
    for seed in seeds:
        upstreams.reset()
        await spend(pair, upstreams, session, requests=REQUESTS, paid=PAID, seed=seed)


@pytest.mark.needs("postgres")
async def test_the_ledger_of_all_seeds_is_whole(pair: list[Gateway], postgres_money: str, upstreams: Upstreams) -> None:
    """After all of it, chains, sums and budgets are those of the entries, and nothing is reserved or held."""
    accounts = await read_accounts(postgres_money)
    assert len(accounts) == await verify_all(postgres_money)
    assert {"settle"} >= {each.ended for each in accounts}


@pytest.mark.slow
async def test_two_gateways_on_one_file(upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """Two gateways that share a SQLite file spend exactly what there is, too, and the file's ledger is whole."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with gateways(upstreams.sandbox, tmp_path, database_url=url) as both:
        for seed in range(3):
            upstreams.reset()
            await spend(both, upstreams, session, requests=FEW_REQUESTS, paid=FEW_PAID, seed=seed)
    assert 3 * FEW_PAID == await verify_all(url)
