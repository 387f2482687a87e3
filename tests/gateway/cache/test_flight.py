"""One question in flight at a time, and no caller's hanging up stops what is paid for."""

from __future__ import annotations

import asyncio

import pytest

from gateway.cache.flight import Flights


class Work:
    """Work that counts how often it was started, and ends when it is told to."""

    def __init__(self) -> None:
        """Start with nothing started."""
        self.started = 0
        self.going = asyncio.Event()
        self.finish: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        """Wait to be told how it ends."""
        self.started += 1
        self.going.set()
        return await asyncio.shield(self.finish)


async def test_fifty_who_ask_the_same_start_it_once() -> None:
    """All of them get the one answer, and afterwards nothing is in flight."""
    flights, work = Flights[str](), Work()
    waiting = [asyncio.create_task(flights.join("question", work)) for _ in range(50)]
    await work.going.wait()
    assert ("question" in flights, 1) == (True, len(flights))
    work.finish.set_result("answer")
    assert ["answer"] * 50 == await asyncio.gather(*waiting)
    assert (1, False, 0) == (work.started, "question" in flights, len(flights))


async def test_who_asks_after_the_landing_starts_anew() -> None:
    """A flight is shared while it is in the air; keeping its answer is the cache's business."""
    flights, work = Flights[str](), Work()
    work.finish.set_result("answer")
    await flights.join("question", work)
    await flights.join("question", work)
    assert 2 == work.started


async def test_work_that_has_ended_is_joined_by_nobody() -> None:
    """Who asks in the same turn of the loop in which work fails begins anew, and again upon a failure, without end."""
    flights, work, late = Flights[str](), Work(), list[asyncio.Task[str]]()

    async def ask_again() -> str:
        for _ in range(10):
            try:
                return await flights.join("question", work)
            except ValueError:
                assert flights.leader("question") is None
        return "the same failure again and again"

    async def fail() -> str:
        late.append(asyncio.create_task(ask_again()))
        raise ValueError

    work.finish.set_result("answer")
    with pytest.raises(ValueError, match=r"^$"):
        await flights.join("question", fail, leader="first")
    assert ["answer"] == await asyncio.gather(*late)


async def test_other_names_and_no_name_are_never_shared() -> None:
    """Two questions fly side by side, and so do two that may not be shared."""
    flights, work = Flights[str](), Work()
    names = ("a", "b", None, None)
    waiting = [asyncio.create_task(flights.join(name, work)) for name in names]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (4, 4, False) == (work.started, len(flights), None in flights)
    work.finish.set_result("answer")
    await asyncio.gather(*waiting)
    assert 0 == len(flights)


async def test_a_caller_who_hangs_up_stops_waiting_and_not_the_work() -> None:
    """The others get their answer, although the one who started it is gone."""
    flights, work = Flights[str](), Work()
    first = asyncio.create_task(flights.join("question", work))
    await work.going.wait()
    second = asyncio.create_task(flights.join("question", work))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert "question" in flights
    work.finish.set_result("answer")
    assert "answer" == await second
    assert 1 == work.started


async def test_work_goes_on_when_nobody_waits_any_more() -> None:
    """What is already paid for is finished, and whoever asks meanwhile joins it."""
    flights, work = Flights[str](), Work()
    only = asyncio.create_task(flights.join("question", work))
    await work.going.wait()
    only.cancel()
    await asyncio.wait([only])
    late = asyncio.create_task(flights.join("question", work))
    await asyncio.sleep(0)
    work.finish.set_result("answer")
    assert ("answer", 1) == (await late, work.started)


async def test_a_failure_is_everybody_s() -> None:
    """Nobody who waits is left without an end, and the next one tries anew."""
    flights, work = Flights[str](), Work()
    waiting = [asyncio.create_task(flights.join("question", work)) for _ in range(5)]
    await work.going.wait()
    work.finish.set_exception(ValueError("no answer"))
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert ["ValueError('no answer')"] * 5 == [repr(error) for error in ended]
    assert (False, 0) == ("question" in flights, len(flights))
    with pytest.raises(ValueError, match="no answer"):
        await flights.join("question", work)
    assert 2 == work.started


async def test_a_failure_that_nobody_waits_for_is_no_surprise_to_the_loop() -> None:
    """Work that fails after its last caller hung up is not reported as an exception that was never retrieved."""
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    flights = Flights[str]()
    going, fail = asyncio.Event(), asyncio.Event()

    async def failing() -> str:
        going.set()
        await fail.wait()
        raise ValueError("nobody hears this")

    only = asyncio.create_task(flights.join("question", failing))
    await going.wait()
    only.cancel()
    await asyncio.wait([only])
    fail.set()
    assert 0 == await flights.land(5)
    del only
    assert [] == reported


async def test_landing_waits_for_what_ends_in_time() -> None:
    """Nothing is cancelled where everything ends by itself."""
    flights, work = Flights[str](), Work()
    assert 0 == await flights.land(5)
    waiting = asyncio.create_task(flights.join("question", work))
    await work.going.wait()
    landing = asyncio.create_task(flights.land(5))
    await asyncio.sleep(0)
    work.finish.set_result("answer")
    assert (0, "answer", 0) == (await landing, await waiting, len(flights))


async def test_landing_cancels_what_is_late_and_lets_it_clean_up() -> None:
    """Whoever is late is counted, is cancelled, and has ended when landing returns."""
    flights, cleaned = Flights[str](), list[str]()
    going = asyncio.Event()

    async def endless() -> str:
        try:
            going.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            cleaned.append("held")
        raise AssertionError("a future that nobody ends has ended")

    waiting = asyncio.create_task(flights.join("question", endless))
    await going.wait()
    assert 1 == await flights.land(0)
    assert (["held"], 0) == (cleaned, len(flights))
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_landing_waits_for_what_was_begun_elsewhere_and_is_kept_meanwhile() -> None:
    """Work that is handed over while others land is waited for, or cancelled with the rest."""
    flights, ended = Flights[str](), list[str]()

    async def brief(name: str, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        finally:
            ended.append(name)
        return name

    async def work() -> str:
        flights.keep(asyncio.create_task(brief("left behind", 0.02)))
        return "answer"

    waiting = asyncio.create_task(flights.join("question", work))
    await asyncio.sleep(0)
    assert 0 == await flights.land(5)
    assert ("answer", ["left behind"], 0) == (await waiting, ended, len(flights))

    flights.keep(asyncio.create_task(brief("late", 60)))
    await asyncio.sleep(0)
    assert 1 == await flights.land(0)
    assert (["left behind", "late"], 0) == (ended, len(flights))
