"""What holds when somebody leaves in the middle: the caller, or the gateway itself, asked or not."""

import asyncio
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.stop import STOP_SECONDS
from tests.end_to_end.asking import Caller, Reply, on, text
from tests.end_to_end.household import House, gateway_process
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import RUNFLOW_MICROUSD, Upstreams, until


def question(upstreams: Upstreams, phrase: str = "left shoe", **wishes: Any) -> dict[str, Any]:
    """Return a question to one region."""
    image = {"url": upstreams.scene("shoes").url}
    return {"image": image, "prompts": [text(phrase)], "route": on("runflow-eu", **wishes)}


async def until_written(house: House, ended: str, count: int = 1) -> None:
    """Return as soon as *count* attempts of the ledger have ended so."""
    await asyncio.to_thread(until, lambda: count <= sum(each.ended == ended for each in house.ledger()))


async def hang_up(asked: asyncio.Task[Reply]) -> None:
    """Close the socket that an answer is waited for on, as aiohttp does when its request is cancelled."""
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_caller_that_hangs_up_stops_nothing(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """A call whose caller has left is finished and settled, and the next equal request has its answer."""
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 1})
    leaving = asyncio.create_task(caller.segment(question(upstreams)))
    await caller.until_in_flight("runflow-eu", 1)
    await hang_up(leaving)
    assert [] == upstreams.books()
    await until_written(house, "settle")
    assert_books_agree(house.ledger(), upstreams.books())
    upstreams.strike("runflow-eu", {"kind": "refuse"})
    reply = await caller.segment(question(upstreams))
    assert (["hit"], 0) == (reply.caches, reply.charged)
    assert RUNFLOW_MICROUSD == reply.body["cost"]["saved_microusd"]
    assert 1 == len(house.ledger())


async def test_next_caller_joins_a_call_whose_caller_has_left(
    caller: Caller, house: House, upstreams: Upstreams
) -> None:
    """Who asks the same while the abandoned call is under way waits for that one, and pays nothing."""
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 2})
    leaving = asyncio.create_task(caller.segment(question(upstreams)))
    await caller.until_in_flight("runflow-eu", 1)
    await hang_up(leaving)
    reply = await caller.segment(question(upstreams))
    assert (["joined"], 0) == (reply.caches, reply.charged)
    assert_books_agree(house.ledger(), upstreams.books())
    assert 1 == len(upstreams.books())


async def test_caller_that_leaves_while_sending_costs_nothing(
    caller: Caller, house: House, upstreams: Upstreams
) -> None:
    """Half a request whose sender is gone reserves nothing, and has never had a place among those worked on."""
    address = urlsplit(house.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = ("POST /v1/segmentations HTTP/1.1", f"Host: {address.netloc}", "Content-Type: application/json")
    writer.write("\r\n".join([*head, "Content-Length: 999", "", '{"prompt": "left']).encode())
    await writer.drain()
    metrics = await caller.metrics()
    assert 0 == metrics["maskgate_requests_in_flight"]
    writer.close()
    await writer.wait_closed()
    assert (0, []) == (house.rows(), upstreams.books())
    metrics = await caller.metrics()
    assert 'maskgate_requests_total{outcome="internal_error"}' not in metrics


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "billed"), [({"kind": "lost_answer"}, 1), ({"kind": "latency", "seconds": 60}, 0)], ids=["billed", "not"]
)
async def test_killed_gateway_loses_no_reservation(
    upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path, fault: dict[str, Any], billed: int
) -> None:
    """After kill -9 with a call in flight, the next start puts its reservation on hold, and usage says so."""
    upstreams.strike("runflow-eu", fault)
    changes = {"limits": {"grace_seconds": 0}}
    with gateway_process(upstreams.sandbox, tmp_path, changes=changes) as first:
        caller, house = Caller(first.house.url, session, first.house.key), first.house
        asked = asyncio.create_task(caller.segment(question(upstreams, deadline_seconds=3)))
        await until_written(house, "open")
        await asyncio.to_thread(upstreams.books_of, billed)
        first.process.send_signal(signal.SIGKILL)
        assert -signal.SIGKILL == await asyncio.to_thread(first.process.wait)
        with pytest.raises(aiohttp.ClientError):
            await asked
    (left,) = house.ledger()
    assert ("open", RUNFLOW_MICROUSD) == (left.ended, left.reserved)
    await asyncio.to_thread(until, lambda: time.time() * 1_000_000 > left.expires_at)
    with gateway_process(upstreams.sandbox, tmp_path, changes=changes) as second:
        await until_written(second.house, "hold")
        usage = (await Caller(second.house.url, session, second.house.key).get("/v1/usage")).body["total"]
        assert {"attempts": 1, "held": 1, "held_microusd": RUNFLOW_MICROUSD, "open": 0, "settled": 0} == {
            name: usage[name] for name in ("attempts", "held", "held_microusd", "open", "settled")
        }
        (held,) = second.house.ledger()
        assert (left.attempt_id, "abandoned") == (held.attempt_id, held.reason)
        assert billed == len(upstreams.books())
        assert_books_agree(second.house.ledger(), upstreams.books())
        upstreams.strike("runflow-eu")
        again = await Caller(second.house.url, session, second.house.key).segment(question(upstreams))
        assert (["miss"], RUNFLOW_MICROUSD) == (again.caches, again.charged)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_gateway_that_is_told_to_stop_finishes(
    upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path, number: signal.Signals
) -> None:
    """Calls in flight are finished, answered and settled, that of a caller who has left included; the exit is 0."""
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 2})
    phrases = ("left shoe", "right shoe", "carton", "shoe", "shoes")
    with gateway_process(upstreams.sandbox, tmp_path) as running:
        caller, house = Caller(running.house.url, session, running.house.key), running.house
        leaving = asyncio.create_task(caller.segment(question(upstreams, "left")))
        asked = [asyncio.create_task(caller.segment(question(upstreams, phrase))) for phrase in phrases]
        await until_written(house, "open", 1 + len(phrases))
        await hang_up(leaving)
        running.process.send_signal(number)
        replies = await asyncio.gather(*asked)
        assert {"succeeded"} == {reply.body["status"] for reply in replies}
        assert 0 == await asyncio.to_thread(running.process.wait, 40)
    assert ["settle"] * (1 + len(phrases)) == [each.ended for each in house.ledger()]
    assert_books_agree(house.ledger(), upstreams.books())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_gateway_that_is_told_to_stop_does_so_within_its_bound(
    upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path, workers: int
) -> None:
    """Callers whose calls hang are told 503; what the calls hold stays on hold, and the next gateway finds out."""
    upstreams.strike("runflow-eu", {"kind": "lost_answer"})
    phrases = ("left shoe", "right shoe", "carton")
    wishes: dict[str, Any] = {"deadline_seconds": 100, "max_attempts": 1}
    with gateway_process(upstreams.sandbox, tmp_path, workers=workers) as running:
        caller, house = Caller(running.house.url, session, running.house.key), running.house
        asked = [
            asyncio.create_task(caller.segment(question(upstreams, each, **wishes), status=503)) for each in phrases
        ]
        await until_written(house, "open", len(phrases))
        await asyncio.to_thread(upstreams.books_of, len(phrases))
        running.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        for reply in await asyncio.gather(*asked):
            assert "application/problem+json" == reply.headers["Content-Type"]
            assert ("stopping", True) == (reply.body["code"], int(reply.headers["Retry-After"]) >= 1)
        assert 0 == await asyncio.to_thread(running.process.wait, 60)
        assert time.monotonic() - started < STOP_SECONDS + 8
        assert running.process.stderr is not None
        assert "Traceback" not in running.process.stderr.read()
    assert ["hold"] * len(phrases) == [each.ended for each in house.ledger()]
    upstreams.strike("runflow-eu")
    with gateway_process(upstreams.sandbox, tmp_path) as second:
        office = Caller(second.house.url, session, second.house.key)

        async def settled() -> bool:
            total = (await office.get("/v1/usage")).body["total"]
            return total["settled"] == len(phrases)

        async with asyncio.timeout(60):
            while not await settled():  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(0.2)
    assert len(phrases) == len(upstreams.books())
