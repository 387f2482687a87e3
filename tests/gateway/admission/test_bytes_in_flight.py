"""Bytes are given out up to the number, to everybody in turn, and all of them come back."""

import asyncio

import pytest

from gateway.admission import BytesInFlight, Hold
from gateway.admission import bytes_in_flight as module
from gateway.problems import Overloaded, RequestTooLarge


async def test_as_many_as_fit_are_held_and_the_next_is_refused() -> None:
    """Nine of ten fit into the number, the tenth waits in vain, and what is given back is free again."""
    held = BytesInFlight(95)
    holds = [held.hold("a") for _ in range(10)]
    for hold in holds[:9]:
        await hold.take(10)
    with pytest.raises(Overloaded) as refused:
        await holds[9].take(10)
    assert (1.0, 90, 0) == (refused.value.retry_after_seconds, held.taken, held.waiting)
    for hold in holds:
        held.give_back(hold)
    assert held.taken == 0


async def test_room_goes_to_the_tenant_that_holds_least() -> None:
    """Whoever holds nothing comes before those that hold much, however long they have waited."""
    held = BytesInFlight(100)
    first, order = held.hold("greedy"), list[str]()
    await first.take(50)
    second = held.hold("greedy")
    await second.take(50)

    async def waits(hold: Hold) -> None:
        await hold.take(50)
        order.append(hold.tenant)

    waiting = [asyncio.create_task(waits(held.hold("greedy"))) for _ in range(3)]
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(waits(held.hold("modest"))))
    await asyncio.sleep(0)
    held.give_back(first)
    held.give_back(second)
    await asyncio.sleep(0.01)
    assert ["modest", "greedy"] == order
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_work_that_outlives_its_request_keeps_the_bytes() -> None:
    """They are given back when the last that uses them ends."""
    held = BytesInFlight(100)
    with (hold := held.hold("a")):
        await hold.take(60)
        hold.__enter__()
    assert 60 == held.taken
    hold.__exit__(None, None, None)
    assert 0 == held.taken


async def test_who_cannot_hope_is_refused_at_once() -> None:
    """A tenant's wishes wait while they are no more than there is in all; another's are not refused for them."""
    held = BytesInFlight(100)
    first, waits = held.hold("a"), [held.hold("a"), held.hold("b")]
    await first.take(100)
    waiting = [asyncio.create_task(hold.take(60)) for hold in waits]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        async with asyncio.timeout(0):  # without a turn of the loop
            await held.hold("a").take(60)
    assert 2 == held.waiting
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_leaves_takes_nothing_along() -> None:
    """A wait that is cancelled holds nothing, and the next in line is served."""
    held = BytesInFlight(100)
    first = held.hold("a")
    await first.take(100)
    gone, next_one = held.hold("b"), held.hold("c")
    waits, follows = asyncio.create_task(gone.take(80)), asyncio.create_task(next_one.take(80))
    await asyncio.sleep(0)
    waits.cancel()
    await asyncio.wait({waits})
    held.give_back(first)
    await follows
    assert (80, 0) == (held.taken, gone.count)


async def test_more_than_there_ever_will_be_is_refused_at_once() -> None:
    """A body that is larger than the whole number is not waited for."""
    with pytest.raises(RequestTooLarge):
        await BytesInFlight(100).hold("a").take(101)


def test_a_refusal_is_out_within_a_second_of_the_head() -> None:
    """The wait for room is shorter than a second."""
    assert module.PATIENCE_SECONDS < 1
