"""Places at deployments: never more than the limit, none lost, nobody starved; and an answer at once for the rest."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from gateway.problems import Overloaded
from gateway.routing.concurrency import LONGEST_WAIT, MOST_CALLS, Bounds, ConcurrencyView, Limiters, Place
from providers.contract import (
    Deadline,
    ProviderDenied,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
)
from tests.gateway.routing.virtual_time import run_virtually
from tests.tiers import by_tier


def limiters(**bounds: Bounds) -> Limiters:
    """Return the places at some deployments, by the running loop's time."""
    return Limiters(bounds, asyncio.get_running_loop().time)


def within(seconds: float) -> Deadline:
    """Return a deadline by the running loop's time."""
    return Deadline.after(seconds, asyncio.get_running_loop().time)


async def settled() -> None:
    """Let everybody go on as far as they can without time passing."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_place_is_had_at_once_or_not_at_all() -> None:
    """With two places the third caller is told so, until one is given back; giving it back twice is once."""

    async def scene() -> None:
        places = limiters(eu=Bounds(2))
        one, two = places["eu"].try_place(), places["eu"].try_place()
        assert one is not None
        assert two is not None
        assert places["eu"].try_place() is None
        one.succeeded()
        one.abandoned()
        assert ConcurrencyView(2, 2, 1, 0) == places["eu"].view()
        with pytest.raises(ProviderFailed), two:
            raise ProviderFailed("broke")
        assert {"eu": ConcurrencyView(2, 2, 0, 0)} == places.views()

    run_virtually(scene())


def test_waits_for_the_first_place_anywhere() -> None:
    """With both deployments full, a waiter gets the place that is free first, and is then in no queue any more."""

    async def scene() -> None:
        places = limiters(eu=Bounds(1), us=Bounds(1))
        held = [await places.place(["eu", "us"], "acme", within(10)) for _ in range(2)]
        assert ["eu", "us"] == [place.deployment for place in held]
        waiting = asyncio.create_task(places.place(["eu", "us"], "acme", within(10)))
        await settled()
        assert [1, 1] == [view.waiting for view in places.views().values()]
        held[1].succeeded()
        assert "us" == (await waiting).deployment
        assert [0, 0] == [view.waiting for view in places.views().values()]
        held[0].succeeded()
        assert places["eu"].try_place() is not None

    run_virtually(scene())


def test_who_waits_is_not_overtaken() -> None:
    """While somebody waits, a place that is given back is that one's, however eager the next caller is."""

    async def scene() -> None:
        places = limiters(eu=Bounds(1))
        held = await places.place(["eu"], "acme", within(10))
        waiting = asyncio.create_task(places.place(["eu"], "acme", within(10)))
        await settled()
        held.succeeded()
        assert places["eu"].try_place() is None
        (await waiting).succeeded()
        assert 0 == places["eu"].in_flight

    run_virtually(scene())


def test_who_cannot_be_in_time_is_told_at_once() -> None:
    """Calls take two seconds: with 1.5 s left nobody waits, and Retry-After is how long the queue would take."""

    async def scene() -> None:
        clock = asyncio.get_running_loop().time
        places = limiters(eu=Bounds(1))
        with await places.place(["eu"], "acme", within(10)):
            await asyncio.sleep(2)
        held = await places.place(["eu"], "acme", within(10))
        at = clock()
        with pytest.raises(Overloaded, match="eu: 1 calls under way of the 1") as refused:
            await places.place(["eu"], "acme", within(1.5))
        assert (0.0, 2.0) == (clock() - at, refused.value.retry_after_seconds)
        # Two seconds for the one before and two for its own are too many for 3.9, and just enough for 4.1.
        with pytest.raises(Overloaded):
            await places.place(["eu"], "acme", within(3.9))
        waiting = asyncio.create_task(places.place(["eu"], "acme", within(4.1)))
        await asyncio.sleep(2)
        held.succeeded()
        (await waiting).succeeded()

    run_virtually(scene())


def test_waiting_ends_while_there_is_time_to_go_elsewhere() -> None:
    """A call takes longer than they usually do: who waits for it is told when the usual time is all that is left."""

    async def scene() -> None:
        clock = asyncio.get_running_loop().time
        places = limiters(eu=Bounds(1))
        with await places.place(["eu"], "acme", within(10)):
            await asyncio.sleep(2)
        held, at = await places.place(["eu"], "acme", within(10)), clock()
        with pytest.raises(Overloaded):
            await places.place(["eu"], "acme", within(5))
        assert (3.0, 0) == (clock() - at, len(places["eu"].queue))
        held.succeeded()
        assert 0 == places["eu"].in_flight

    run_virtually(scene())


def test_full_queue_refuses_at_once_but_not_a_tenant_with_less_in_it() -> None:
    """Of two places in the queue the second is another tenant's for the asking; the first tenant's third is refused."""

    async def scene() -> None:
        places = limiters(eu=Bounds(1, 2))
        held = await places.place(["eu"], "greedy", within(10))
        greedy = [asyncio.create_task(places.place(["eu"], "greedy", within(10))) for _ in range(2)]
        await settled()
        with pytest.raises(Overloaded):
            await places.place(["eu"], "greedy", within(10))
        modest = asyncio.create_task(places.place(["eu"], "modest", within(10)))
        await settled()
        assert [False, True, False] == [task.done() for task in (*greedy, modest)]
        with pytest.raises(Overloaded):
            await greedy[1]
        held.succeeded()
        (await greedy[0]).succeeded()
        (await modest).succeeded()
        assert ConcurrencyView(1, 1, 0, 0) == places["eu"].view()

    run_virtually(scene())


@pytest.mark.parametrize("late", [False, True])
def test_caller_who_leaves_gives_back_what_was_just_given(*, late: bool) -> None:
    """Cancelled while it waits, or in the moment in which it was given a place: the place is free for the next."""

    async def scene() -> None:
        places = limiters(eu=Bounds(1))
        held = await places.place(["eu"], "acme", within(10))
        leaving = asyncio.create_task(places.place(["eu"], "acme", within(10)))
        staying = asyncio.create_task(places.place(["eu"], "acme", within(10)))
        await settled()
        if late:
            held.succeeded()
            leaving.cancel()
        else:
            leaving.cancel()
            held.succeeded()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        (await staying).succeeded()
        assert ConcurrencyView(1, 1, 0, 0) == places["eu"].view()

    run_virtually(scene())


def test_what_calls_say_moves_the_limit() -> None:
    """Turned away: fewer. Denied, broken, cut short by their caller: as many as before. A refusal is an answer."""

    async def scene() -> None:
        places = limiters(eu=Bounds(8))
        for error, limit in (
            (ProviderRefused("no"), 8),
            (ProviderDenied("no"), 8),
            (ProviderFailed("no"), 8),
            (ProviderUnanswered("no"), 8),
            (ProviderOverloaded("no"), 6),
        ):
            held = [await places.place(["eu"], "acme", within(10)) for _ in range(8)]
            held.pop().failed(error)
            for place in held:
                place.abandoned()
            assert ConcurrencyView(limit, 8, 0, 0) == places["eu"].view(), error

    run_virtually(scene())


def test_own_work_is_not_the_deployments() -> None:
    """What took long before and after the call does not count as slowness upstream, but as time without the place."""

    async def scene() -> None:
        places = limiters(eu=Bounds(30))
        for held_for in (0.1, 5.0):
            held = [await places.place(["eu"], "acme", within(100)) for _ in range(30)]
            await asyncio.sleep(held_for)
            for place in held[:-1]:
                place.succeeded(0.1)
            held[-1].failed(ProviderUnanswered("no"), 0.1)
        assert ConcurrencyView(30, 30, 0, 0) == places["eu"].view()
        assert (places["eu"].calls_per_second() or 0) < 10

    run_virtually(scene())


def test_new_configuration_keeps_who_is_there() -> None:
    """A reload keeps the places that are taken and those who wait, under the new figures; `afresh` is another place."""

    async def scene() -> None:
        places = limiters(eu=Bounds(1), us=Bounds(1))
        held = await places.place(["eu"], "acme", within(10))
        waiting = [asyncio.create_task(places.place(["eu"], "acme", within(10))) for _ in range(3)]
        await settled()
        renewed = places.renewed({"eu": Bounds(2, 1), "us": Bounds(3), "new": Bounds()}, afresh=["us"])
        assert ConcurrencyView(2, 2, 2, 1) == renewed["eu"].view()
        assert places["us"] is not renewed["us"]
        assert MOST_CALLS == renewed["new"].view().maximum
        await settled()
        assert [True, False, True] == [task.done() for task in waiting]
        with pytest.raises(Overloaded):
            await waiting[2]
        held.succeeded()
        for task in waiting[:2]:
            (await task).succeeded()
        assert ConcurrencyView(2, 2, 0, 0) == renewed["eu"].view()

    run_virtually(scene())


@dataclass(slots=True)
class Town:
    """Deployments that bear so many calls at once, and those who ask them."""

    chance: random.Random
    places: Limiters
    bears: Mapping[str, int]
    busy: Counter[str] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)
    advised: list[float] = field(default_factory=list)
    """How long those who were refused were told to wait, in seconds."""

    async def ask(self, tenant: str, number: int) -> None:
        """Ask once, and now and then leave in the middle of it."""
        names = self.chance.sample(sorted(self.bears), self.chance.randint(1, len(self.bears)))
        seconds = self.chance.choice([0.5, 5.0, 60.0])
        try:
            async with asyncio.timeout(self.chance.uniform(0.0, 3.0) if number % 7 == 0 else None):
                with await self.places.place(names, tenant, within(seconds)) as place:
                    await self.call(place)
            self.served[tenant] += 1
        except Overloaded as refusal:
            self.advised.append(refusal.retry_after_seconds or 0.0)
        except (TimeoutError, ProviderOverloaded, ProviderFailed, ProviderUnanswered):
            pass

    async def call(self, place: Place) -> None:
        """Be answered, turned away or failed."""
        name = place.deployment
        view = self.places[name].view()
        # The limit may have shrunk since; then nobody came in meanwhile.
        assert view.in_flight <= view.maximum
        self.busy[name] += 1
        try:
            assert self.busy[name] <= view.in_flight
            if self.busy[name] > self.bears[name]:
                raise ProviderOverloaded("too many")
            await asyncio.sleep(self.chance.uniform(0.2, 0.6))
            if self.chance.random() < 0.1:
                raise self.chance.choice([ProviderFailed, ProviderUnanswered])("broke")
        finally:
            self.busy[name] -= 1


def watch(places: Limiters, before: Mapping[str, ConcurrencyView]) -> dict[str, ConcurrencyView]:
    """Demand that no deployment has more calls than its limit, unless that has shrunk, and no waiter beside a place."""
    views = places.views()
    for name, view in views.items():
        assert view.in_flight <= max(view.limit, before[name].in_flight), name
        assert view.waiting == 0 or view.in_flight >= view.limit, f"{name} has places, and others wait for them"
    return views


async def one_town(seed: int) -> None:
    """Let three tenants ask for a while, one of them far too much; hold everything that must hold."""
    chance, loop = random.Random(seed), asyncio.get_running_loop()
    bears = {name: chance.randint(1, 4) for name in ("eu", "us")[: chance.randint(1, 2)]}
    bounds = {name: Bounds(chance.randint(1, 8), chance.randint(0, 12)) for name in bears}
    places = Limiters(bounds, loop.time)
    views = places.views()
    town = Town(chance, places, bears)
    asking: list[asyncio.Task[None]] = []
    for number in range(60):
        tenant = "greedy" if number % 6 else ("modest", "rare")[number % 12 // 6]
        asking.append(asyncio.create_task(town.ask(tenant, number)))
        await asyncio.sleep(chance.choice([0.0, 0.02, 0.1]))
        views = watch(places, views)
    await asyncio.gather(*asking)
    assert all(view.in_flight == view.waiting == 0 for view in places.views().values())
    assert sum(town.served.values()) > 0
    assert all(1.0 <= seconds <= LONGEST_WAIT for seconds in town.advised)


@by_tier(fast=50, slow=450)
def test_towns_of_many_seeds(seeds: Iterator[int]) -> None:
    """Over many seeds of callers that come, leave, wait and fail: none above the limit, no place and no waiter lost."""
    for seed in seeds:
        run_virtually(one_town(seed))


@pytest.mark.parametrize("seed", range(20))
def test_greedy_tenant_starves_nobody(seed: int) -> None:
    """Beside a tenant that asks fifty times at once, one that asks now and then is served each time, and soon."""

    async def scene() -> None:
        chance, clock = random.Random(seed), asyncio.get_running_loop().time
        places = limiters(eu=Bounds(3, 40))
        served: Counter[str] = Counter()
        longest = 0.0

        async def ask(tenant: str) -> None:
            with await places.place(["eu"], tenant, within(600)):
                served[tenant] += 1
                await asyncio.sleep(chance.uniform(0.5, 1.5))

        async def insist() -> None:
            while served["modest"] < 10:
                try:
                    await ask("greedy")
                except Overloaded:
                    await asyncio.sleep(0.05)

        greedy = [asyncio.create_task(insist()) for _ in range(50)]
        for _ in range(10):
            await asyncio.sleep(chance.uniform(0, 2))
            at = clock()
            await ask("modest")
            longest = max(longest, clock() - at)
        await asyncio.gather(*greedy)
        assert 10 == served["modest"]
        assert longest <= 2 * 1.5 + 1.5
        assert served["greedy"] > 10

    run_virtually(scene())
