"""How many requests are worked on at once, and who of the others waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import Gate
from gateway.admission.gate import LONGEST_WAIT, PATIENCE_SECONDS, TICK_SECONDS
from gateway.admission.shedding import LATE_SECONDS
from gateway.problems import Overloaded
from tests.gateway.routing.virtual_time import run_virtually


@asynccontextmanager
async def a_place(gate: Gate) -> AsyncIterator[None]:
    """Be inside for as long as the block lasts."""
    await gate.enter("somebody")
    try:
        yield
    finally:
        gate.leave()


async def settled() -> None:
    """Let everybody go on as far as they can without time passing."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_gate_holds_exactly_its_places() -> None:
    """With three places the fourth is turned away, and told when to come back."""
    gate = Gate(3)
    async with AsyncExitStack() as inside:
        for taken in range(1, 4):
            await inside.enter_async_context(a_place(gate))
            assert taken == gate.taken
        with pytest.raises(Overloaded, match="3 requests are being worked on") as refused:
            await inside.enter_async_context(a_place(gate))
        assert (3, "overloaded", 1.0) == (gate.taken, refused.value.code, refused.value.retry_after_seconds)
    assert 0 == gate.taken


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_the_gate_never_holds_more_than_its_places(places: int, comings: list[bool]) -> None:
    """Whatever the order of coming and going, the count is right."""

    async def scene() -> None:
        gate, inside = Gate(places), list[AsyncExitStack]()
        for comes in comings:
            if not comes and inside:
                await inside.pop().aclose()
            elif comes:
                stack = AsyncExitStack()
                with suppress(Overloaded):
                    await stack.enter_async_context(a_place(gate))
                    inside.append(stack)
            assert len(inside) == gate.taken <= places
        assert 0 == gate.waiting

    run_virtually(scene())


def test_who_waits_is_let_in_or_told_within_its_patience() -> None:
    """With eight places two may wait: the third is told at once, and of the two the one that finds none in time."""

    async def scene() -> None:
        gate, clock = Gate(8), asyncio.get_running_loop().time
        async with AsyncExitStack() as inside:
            for _ in range(7):
                await inside.enter_async_context(a_place(gate))
            async with a_place(gate):
                waiting = [asyncio.create_task(gate.wait("a")) for _ in range(2)]
                await settled()
                assert 2 == gate.waiting
                with pytest.raises(Overloaded):
                    await gate.wait("a")
                assert not gate.try_enter()
            await waiting[0]
            with pytest.raises(Overloaded):
                await waiting[1]
            assert (8, 0) == (gate.taken, gate.waiting)
            assert clock() <= PATIENCE_SECONDS + 0.001
            gate.leave()
        assert 0 == gate.taken

    run_virtually(scene())


@pytest.mark.parametrize("late", [False, True])
def test_request_that_leaves_gives_back_what_was_just_given(*, late: bool) -> None:
    """Cancelled while it waits, or in the moment in which it was let in: the place is free for the next."""

    async def scene() -> None:
        gate = Gate(4)
        for _ in range(4):
            assert gate.try_enter()
        leaving = asyncio.create_task(gate.wait("a"))
        await settled()
        if late:
            gate.leave()
            leaving.cancel()
        else:
            leaving.cancel()
            gate.leave()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert (3, 0) == (gate.taken, gate.waiting)

    run_virtually(scene())


def test_senders_take_turns() -> None:
    """Beside a sender with fifty requests at once, one with ten is let in as often while it has any."""

    async def scene() -> None:
        gate, served = Gate(400), list[str]()
        for _ in range(400):
            assert gate.try_enter()

        async def come(sender: str) -> None:
            await gate.wait(sender)
            served.append(sender)

        coming = [asyncio.create_task(come("greedy" if number < 50 else "modest")) for number in range(60)]
        await settled()
        for _ in range(20):
            gate.leave()
        await settled()
        assert {"greedy": 10, "modest": 10} == Counter(served)
        await asyncio.gather(*coming, return_exceptions=True)
        assert (400, 0) == (gate.taken, gate.waiting)

    run_virtually(scene())


def test_late_loop_has_fewer_places_until_it_is_in_time_again() -> None:
    """While the loop is late the limit shrinks, and who is inside stays; in time again, it is whole within 5 s."""

    async def scene() -> None:
        gate, loop, late = Gate(100), asyncio.get_running_loop(), 0.0

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds + late)

        for _ in range(60):
            gate.try_enter()
        watching = asyncio.create_task(gate.watch(loop.time, sleep))
        await asyncio.sleep(1)
        assert 100 == gate.limit
        late = 3 * LATE_SECONDS
        await asyncio.sleep(10)
        assert (16, 60) == (gate.limit, gate.taken)
        with pytest.raises(Overloaded):
            await gate.wait("a")
        late = 0.0
        await asyncio.sleep(5)
        assert 100 == gate.limit
        async with a_place(gate):
            assert 61 == gate.taken
        watching.cancel()

    run_virtually(scene())


def test_retry_after_is_how_long_it_takes() -> None:
    """Two end in a second: one too many is told a second, one behind eleven nearly six; where none end, a minute."""

    async def scene() -> None:
        gate, loop = Gate(3), asyncio.get_running_loop()
        watching = asyncio.create_task(gate.watch(loop.time, asyncio.sleep))
        for _ in range(3):
            assert gate.try_enter()
        for _ in range(400):
            await asyncio.sleep(10 * TICK_SECONDS)
            gate.leave()
            assert gate.try_enter()

        async def advised() -> float | None:
            with pytest.raises(Overloaded) as refused:
                await gate.wait("a")
            return refused.value.retry_after_seconds

        assert 1.0 == await advised()
        for _ in range(3):
            gate.leave()
        await asyncio.sleep(3600)
        gate.resize(13)
        for _ in range(13):
            assert gate.try_enter()
        gate.resize(3)
        assert await advised() == pytest.approx(5.5, rel=0.2)
        await asyncio.sleep(3600)
        assert LONGEST_WAIT == await advised()
        watching.cancel()

    run_virtually(scene())
