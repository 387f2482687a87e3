"""One sandbox for all tests, and gateways in front of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.sandboxed import sandbox_running
from tests.end_to_end.asking import Caller
from tests.end_to_end.household import House, Winding, gateway_running
from tests.end_to_end.upstreams import Upstreams


@pytest.fixture(scope="session")
def running_upstreams() -> Iterator[Upstreams]:
    """Run the sandbox."""
    with sandbox_running() as sandbox:
        yield Upstreams(sandbox)


@pytest.fixture
def upstreams(running_upstreams: Upstreams) -> Iterator[Upstreams]:
    """Return the sandbox, whole and with empty books."""
    running_upstreams.reset()
    yield running_upstreams
    running_upstreams.reset()


@pytest.fixture(scope="module")
def standing_house(running_upstreams: Upstreams, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run a gateway for all tests of a module: for those that leave it as they found it."""
    with gateway_running(running_upstreams.sandbox, tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture
def house(upstreams: Upstreams, tmp_path: Path) -> Iterator[House]:
    """Run a new gateway: an empty ledger, an empty cache, every breaker closed."""
    with gateway_running(upstreams.sandbox, tmp_path / "house") as house:
        yield house


@pytest.fixture
def winding() -> Winding:
    """Return the clock of `wound_house`."""
    return Winding()


@pytest.fixture
def wound_house(upstreams: Upstreams, tmp_path: Path, winding: Winding) -> Iterator[House]:
    """Run a new gateway whose clock can be wound on."""
    with gateway_running(upstreams.sandbox, tmp_path / "wound", clock=winding) as house:
        yield house


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open connections, as many as are asked for."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=110)
    ) as session:
        yield session
    # A connection on which an answer came before all was sent still has bytes to send: it would outlive the loop, and
    # be complained of in whatever test runs when it is collected.
    for transport in list(asyncio.get_running_loop()._transports.values()):  # type: ignore[attr-defined]
        transport.abort()
    await asyncio.sleep(0)


@pytest.fixture
async def caller(house: House, session: aiohttp.ClientSession) -> Caller:
    """Return a caller of the new gateway."""
    return Caller(house.url, session, house.key)


@pytest.fixture
async def visitor(standing_house: House, upstreams: Upstreams, session: aiohttp.ClientSession) -> Caller:
    """Return a caller of the module's gateway; the sandbox is whole and its books are empty."""
    return Caller(standing_house.url, session, standing_house.key)
