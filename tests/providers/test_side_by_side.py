"""Work side by side."""

from __future__ import annotations

import asyncio

import pytest

from providers.side_by_side import side_by_side


async def returned(value: int, log: list[int]) -> int:
    """Return a value after as many turns of the loop."""
    try:
        for _ in range(value):
            await asyncio.sleep(0)
    finally:
        log.append(value)
    return value


async def broken(turns: int) -> int:
    """Fail after as many turns of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
    raise LookupError(turns)


async def test_results_stand_in_the_order_of_the_work() -> None:
    """Whoever is first to end, the results stand as the work was given; no work gives none."""
    log: list[int] = []
    assert [9, 1, 4] == await side_by_side(returned(value, log) for value in (9, 1, 4))
    assert [1, 4, 9] == log
    assert [] == await side_by_side([])


async def test_the_first_failure_ends_the_others_and_is_raised() -> None:
    """The others have ended when it is raised, though they had long to go; a later failure is not heard."""
    log: list[int] = []
    with pytest.raises(LookupError, match=r"^3$"):
        await side_by_side([returned(1, log), broken(5), broken(3), returned(10_000, log)])
    assert [1, 10_000] == log


async def test_a_failure_leaves_timeouts_as_they_were() -> None:
    """After a failure a timeout around it, and one that follows, end as too late, not as cancelled."""

    async def fail_and_hang() -> None:
        with pytest.raises(LookupError):
            await side_by_side([broken(3)])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        async with asyncio.timeout(0.2):
            with pytest.raises(LookupError):
                await side_by_side([broken(3)])
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await fail_and_hang()
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()


async def test_all_ends_with_who_waits() -> None:
    """Who waits for the work and is cancelled ends it, and has waited for its end."""
    log: list[int] = []
    waiting = asyncio.create_task(side_by_side([returned(10_000, log), returned(20_000, log)]))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [10_000, 20_000] == sorted(log)
