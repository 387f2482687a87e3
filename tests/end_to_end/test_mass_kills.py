"""kill -9 of all gateways at once under load, three times: nothing lost, nothing billed twice, no budget passed."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.end_to_end.audit import audit
from tests.end_to_end.household import assert_nothing_broke
from tests.end_to_end.killing import Asked, Got, Household, household, open_house
from tests.end_to_end.upstreams import Upstreams
from tests.end_to_end.zygote import Zygote, zygote_running

GATEWAYS = 2
CALLERS = 16
REQUESTS = 160
#: Of them are sent by a second caller as well.
TWINS = 40
KILLS_AFTER = (25, 50, 75)
#: For a little more than half of the requests.
BUDGET_MICROUSD = 350_000
#: From the kill to the next gateways' readiness.
BACK_SECONDS = 10.0
SEED = 20261120


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """Run the process that becomes one gateway after the other."""
    with zygote_running() as zygote:
        yield zygote


class Load:
    """Callers who each send one request after the other, and send it again until they have an answer."""

    def __init__(self, houses: list[Household], questions: list[Asked], chance: random.Random) -> None:
        """Have questions asked at any of the gateways."""
        self._houses = houses
        self._questions = questions
        self._chance = chance
        self._enough = asyncio.Event()
        self._wanted = 0
        self.up = asyncio.Event()
        """Whether there is anybody to ask."""
        self.answers: defaultdict[str, list[Got]] = defaultdict(list)
        """Of each request, by its key."""
        self.broken = 0
        """Connections that broke before an answer."""

    async def run(self) -> None:
        """Ask everything."""
        async with asyncio.TaskGroup() as callers:
            for _ in range(CALLERS):
                callers.create_task(self._call())

    async def until_answered(self, count: int) -> None:
        """Return as soon as so many answers have come."""
        self._wanted = count
        self._enough.clear()
        self._note()
        await self._enough.wait()

    def _note(self) -> None:
        if sum(map(len, self.answers.values())) >= self._wanted:
            self._enough.set()

    async def _call(self) -> None:
        while self._questions:
            asked = self._questions.pop()
            self.answers[asked.key].append(await self._answer(asked))
            self._note()

    async def _answer(self, asked: Asked) -> Got:
        while True:
            await self.up.wait()
            try:
                got = await self._chance.choice(self._houses).post(asked)
            except (OSError, aiohttp.ClientError):
                self.broken += 1
                await asyncio.sleep(0.01)  # until whoever kills has noted that nobody is there
                continue
            if got.status != 409 or b"interrupted" in got.body:
                return got
            await asyncio.sleep(0.05)  # a twin is being answered by the other gateway


async def kill_all(houses: list[Household], load: Load) -> None:
    """Kill every gateway at once, and have others in their place soon."""
    load.up.clear()
    for house in houses:
        house.strike()
    async with asyncio.timeout(BACK_SECONDS):
        for house in houses:
            await house.clear()
        await asyncio.gather(*(house.start() for house in houses))
    load.up.set()


@pytest.mark.slow
async def test_all_killed_under_load(zygote: Zygote, upstreams: Upstreams, database_url: str, tmp_path: Path) -> None:
    """
    After three kills of both gateways every request ends once, the books agree, and the budget has its last cent.

    A request that was answered before is answered with the same bytes; one whose bill is unknown is not made again.
    """
    chance = random.Random(SEED)
    async with AsyncExitStack() as stack:
        houses: list[Household] = []
        for number in range(GATEWAYS):
            folder = tmp_path / str(number)
            folder.mkdir()
            beside = houses[0] if houses else None
            neighbour = household(zygote, upstreams, folder, database_url, beside=beside)
            houses.append(await stack.enter_async_context(neighbour))
        first, *others = houses
        await open_house(first, budget_usd=f"0.{BUDGET_MICROUSD:06}")
        for house in others:
            house.headers = first.headers
            await house.start()
        names = ("runflow-eu", "runflow-us", "prodia")
        questions = [first.asked(f"load-{number}", chance.choice(names), chance) for number in range(REQUESTS)]
        load = Load(houses, [*questions[:TWINS], *questions], chance)
        load.up.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run())
            for count in KILLS_AFTER:
                await load.until_answered(count)
                await kill_all(houses, load)
        await first.until_quiet()
        assert load.broken, "no kill has cut a request: the test has shown nothing"
        lacking = 0
        for asked in questions:
            told = [got for got in load.answers[asked.key] if got.status == 200]
            assert len({got.body for got in told}) <= 1
            again = await chance.choice(houses).check_again(asked, told[0] if told else None, may_lack_money=True)
            lacking += again.status == 402
        assert lacking, "there was money for everything: the test has shown nothing about the budget"
        books = upstreams.books()
        accounts = await audit(database_url, books)
        cut = set().union(*(house.cut for house in houses))
        assert cut == {each.attempt_id for each in accounts if each.ended == "hold"}
        assert sum(call.microusd for call in books) <= sum(each.amount for each in accounts) <= BUDGET_MICROUSD
    for number in range(GATEWAYS):
        assert_nothing_broke(tmp_path / str(number))
