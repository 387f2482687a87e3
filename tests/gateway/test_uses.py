"""Counting who is at work."""

import asyncio

import pytest

from gateway.uses import Uses


async def test_nobody_at_work_has_ended_already() -> None:
    """Waiting for the end of nothing ends at once."""
    async with asyncio.timeout(60):
        await Uses().ended()


async def test_end_comes_with_the_last() -> None:
    """Who waits goes on when the last of several has ended, whatever came and went before."""
    uses = Uses()
    order: list[str] = []
    first, second = asyncio.Event(), asyncio.Event()

    async def work(name: str, until: asyncio.Event) -> None:
        with uses, uses:
            await until.wait()
            order.append(name)

    async def wait() -> None:
        await uses.ended()
        order.append("ended")

    tasks = [asyncio.create_task(work("first", first)), asyncio.create_task(work("second", second))]
    await asyncio.sleep(0)
    assert 4 == uses.count
    waiting = asyncio.create_task(wait())
    second.set()
    await tasks[1]
    assert 2 == uses.count
    first.set()
    await waiting
    assert ["second", "first", "ended"] == order
    assert 0 == uses.count


async def test_one_who_fails_has_ended_too() -> None:
    """An error counts its block out."""
    uses = Uses()
    with pytest.raises(KeyError), uses:
        raise KeyError
    assert 0 == uses.count


async def test_task_made_inside_is_counted_without_a_gap() -> None:
    """Whoever waits for the end waits for a task that was made by one at work and counts itself, too."""
    uses, over = Uses(), asyncio.Event()
    left: list[asyncio.Task[None]] = []

    async def outlives() -> None:
        with uses:
            await over.wait()

    with uses:
        waiting = asyncio.create_task(uses.ended())
        await asyncio.sleep(0)
        left.append(asyncio.create_task(outlives()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    over.set()
    await waiting


async def test_waiting_can_be_given_up() -> None:
    """At the end of the gateway nobody waits, though somebody is at work."""
    uses = Uses()
    with uses:
        waiting = asyncio.create_task(uses.ended())
        await asyncio.sleep(0)
        assert not waiting.done()
        uses.give_up()
        await waiting
        await uses.ended()
