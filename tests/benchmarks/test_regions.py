"""The regions of W5 do as they are told, and note what reaches them: over real sockets, from another process."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.benchmarks import question
from tests.benchmarks.processes import two_cores
from tests.benchmarks.region_control import FAR, NEAR, Control, Ports, controlled, regions_running
from tests.benchmarks.regions import Way


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """Run both regions."""
    with regions_running(folder=tmp_path_factory.mktemp("w5") / "regions", core=two_cores().load) as ports:
        yield ports


@pytest.fixture
async def control(ports: Ports) -> AsyncIterator[Control]:
    """Hold the regions, which are well and have noted nothing."""
    async with controlled(ports.control) as control:
        for region in (NEAR, FAR):
            await control.change(region, Way.ANSWER)
        await control.calls()
        yield control


async def asked(session: aiohttp.ClientSession, url: str, number: int) -> int:
    """Send what the gateway sends for a numbered question; return the status."""
    body = question.upstream_request().replace(b'"prompt": "circle"', b'"prompt": "circle %d"' % number)
    async with session.post(f"{url}/job?price=true", data=body) as answer:
        if answer.status == 200:
            assert question.upstream_answer() == await answer.read()
        return answer.status


async def test_a_region_notes_who_came_when_and_what_left_when(ports: Ports, control: Control) -> None:
    """Each call has its question's number, arrives before its answer leaves, and is handed over once."""
    async with aiohttp.ClientSession() as session:
        assert 200 == await asked(session, ports.url(NEAR), 17)
        await control.change(FAR, Way.FAIL)
        assert 500 == await asked(session, ports.url(FAR), 17)
        near, far = await control.calls()

    assert [(NEAR, 17, 200), (FAR, 17, 500)] == [(call.region, call.question, call.status) for call in (near, far)]
    assert near.left is not None
    assert far.left is not None
    assert near.arrived < near.left <= far.arrived < far.left
    assert [] == await control.calls()


async def test_a_region_that_stumbles_fails_every_third_call(ports: Ports, control: Control) -> None:
    """A third of the calls fail, evenly: never five in a row, never half of them."""
    await control.change(NEAR, Way.STUMBLE)
    async with aiohttp.ClientSession() as session:
        statuses = [await asked(session, ports.url(NEAR), number) for number in range(9)]

    first = statuses.index(500)
    assert [first, first + 3, first + 6] == [place for place, status in enumerate(statuses) if status == 500]


async def test_a_region_that_refuses_cuts_what_is_open_and_comes_back(ports: Ports, control: Control) -> None:
    """A connection that was open breaks; afterwards nothing listens, until the region is well again."""
    async with aiohttp.ClientSession() as session:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.near)
        writer.write(b"POST /v2/job HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
        assert 200 == await asked(session, ports.url(NEAR), 1)  # by now the region has taken the other one as well
        await control.change(NEAR, Way.REFUSE)
        assert b"" == await reader.read()
        writer.close()
        await writer.wait_closed()
        with pytest.raises(aiohttp.ClientConnectorError):
            await asked(session, ports.url(NEAR), 2)
        await control.change(NEAR, Way.ANSWER)
        assert 200 == await asked(session, ports.url(NEAR), 3)


async def test_a_region_that_swallows_connections_lets_none_come_to_be(ports: Ports, control: Control) -> None:
    """A connection is neither made nor refused, and calls are taken again once the region is well."""
    await control.change(NEAR, Way.SWALLOW)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.open_connection("127.0.0.1", ports.near), timeout=0.3)
    await control.change(NEAR, Way.ANSWER)
    async with aiohttp.ClientSession() as session:
        assert 200 == await asked(session, ports.url(NEAR), 5)
