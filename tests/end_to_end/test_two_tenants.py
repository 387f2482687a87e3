"""One tenant asks ten times as much as another, and more than there is: who is answered, and who is told to return."""

import asyncio
import base64
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from gateway.app import sandbox_config
from tests.end_to_end.household import House, gateway_running
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import Upstreams

DEPLOYMENT = "prodia"
#: Calls at once that it is taken to bear, and questions that may wait for it.
BEARS, MAY_WAIT = 4, 8
#: What each asks at once; the quiet one no more than its half of the room to wait in.
QUIET_ASKS, LOUD_ASKS = 4, 40
ROUNDS = 3


@pytest.fixture
def small_house(upstreams: Upstreams, tmp_path: Path) -> Iterator[House]:
    """Run a gateway with one deployment that bears a few calls at once, each of which takes a while."""
    listed = yaml.safe_load(sandbox_config(upstreams.sandbox.host, upstreams.sandbox.port))["deployments"]
    small = {
        index: {**each, "max_concurrency": BEARS, "max_queue": MAY_WAIT}
        for index, each in enumerate(listed)
        if each["name"] == DEPLOYMENT
    }
    upstreams.strike(DEPLOYMENT, {"kind": "latency", "seconds": 0.3})
    with gateway_running(upstreams.sandbox, tmp_path / "small", changes={"deployments": small}) as house:
        yield house


class Tenant:
    """A tenant's program."""

    def __init__(self, house: House, session: aiohttp.ClientSession, key: str, asked: dict[str, Any]) -> None:
        """Ask *house* with that key."""
        self._url = house.url + "/v1/segmentations"
        self._session = session
        self._headers = {"Authorization": f"Bearer {key}"}
        self._asked = asked
        self.endings = Counter[tuple[int, str | None]]()
        """How many requests ended with which status and problem."""
        self.refused = asyncio.Event()
        """Set once it has been told to return."""

    async def ask(self) -> None:
        """Ask once, and count how it ended."""
        async with self._session.post(self._url, json=self._asked, headers=self._headers) as answer:
            body = await answer.json(content_type=None)
            self.endings[answer.status, body.get("code")] += 1
            if answer.status == 429:
                assert int(answer.headers["Retry-After"]) >= 1
                self.refused.set()


async def key_of(tenant: str, house: House, session: aiohttp.ClientSession) -> str:
    """Make a key for a tenant."""
    admin = {"Authorization": f"Bearer {house.key}"}
    wanted = {"tenant": tenant, "scopes": ["segment"]}
    async with session.post(house.url + "/admin/v1/keys", json=wanted, headers=admin) as answer:
        issued: dict[str, Any] = await answer.json()
        return str(issued["key"])


@pytest.mark.slow
async def test_a_loud_tenant_takes_nothing_from_a_quiet_one(
    small_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """When a queue is full of one tenant's questions another's still come in; the last of the many have to go."""
    asked = {
        "image": {"data": base64.b64encode(upstreams.picture("shoes")).decode()},
        "prompt": "left shoe",
        "cache": {"mode": "skip"},
        "route": {"deployments": [DEPLOYMENT], "deadline_seconds": 20},
    }
    quiet, loud = [
        Tenant(small_house, session, await key_of(name, small_house, session), asked) for name in ("quiet", "loud")
    ]
    for _ in range(ROUNDS):
        loud.refused.clear()
        many = [asyncio.create_task(loud.ask()) for _ in range(LOUD_ASKS)]
        async with asyncio.timeout(60):
            await loud.refused.wait()
        await asyncio.gather(*(quiet.ask() for _ in range(QUIET_ASKS)), *many)
    assert {(200, None): ROUNDS * QUIET_ASKS} == quiet.endings
    assert {(200, None), (429, "overloaded")} == set(loud.endings)
    assert ROUNDS * LOUD_ASKS == loud.endings.total()
    assert loud.endings[200, None] >= ROUNDS * BEARS
    settled = Counter(each.tenant for each in small_house.ledger() if each.ended == "settle")
    assert {"quiet": quiet.endings[200, None], "loud": loud.endings[200, None]} == settled
    assert_books_agree(small_house.ledger(), upstreams.books())
