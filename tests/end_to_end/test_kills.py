"""kill -9 at each of fourteen stages: what was spent is in the ledger once, to the micro-dollar, whoever takes over."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.end_to_end.audit import audit
from tests.end_to_end.household import assert_nothing_broke
from tests.end_to_end.killing import Got, Household, Play, household, open_house
from tests.end_to_end.stages import STAGES, Stage
from tests.end_to_end.upstreams import Upstreams
from tests.end_to_end.zygote import Zygote, zygote_running
from tests.tiers import by_tier

#: Stages that `make test` kills at, too: before a call, after its answer, and after its ending was written.
FAST = (2, 6, 7)
OTHERS = {"runflow-eu": ("runflow-us", "prodia"), "prodia": ("runflow-us", "runflow-eu")}


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """Run the process that becomes one gateway after the other."""
    with zygote_running() as zygote:
        yield zygote


async def outcome(asking: asyncio.Task[Got]) -> Got | None:
    """Return what a caller got; None where its connection broke first."""
    try:
        return await asking
    except (OSError, aiohttp.ClientError):
        return None


async def kill_at(stage: Stage, seed: int, house: Household) -> None:
    """Bring a request to a stage with others beside it, kill the gateway, and look what the next one makes of it."""
    chance = random.Random(100 * stage.number + seed)
    name = chance.choice(stage.deployments)
    question = house.asked(f"{stage}-{seed}-itself", name, chance, gated=True)
    beside = [
        house.asked(f"{stage}-{seed}-beside-{number}", chance.choice(OTHERS[name]), chance)
        for number in range(chance.randrange(4))
    ]
    play = Play(house, question, seed)
    asking = [asyncio.create_task(house.post(each)) for each in beside]
    async with asyncio.timeout(60):
        await stage.lead(play)
    await house.kill()
    left = {row["ended"] for row in await house.attempts_of(question)} or {"none"}
    assert left <= stage.leaves
    await house.start()
    assert play.asking is not None
    outcomes = [await outcome(each) for each in [play.asking, *asking]]
    await house.until_quiet()
    for asked, before in zip([question, *beside], outcomes, strict=True):
        await house.check_again(asked, before)
    if stage.afterwards is not None:
        await stage.afterwards(play)


@by_tier(fast=1, slow=4)
@pytest.mark.parametrize(
    "stage",
    [pytest.param(stage, marks=() if stage.number in FAST else pytest.mark.slow) for stage in STAGES],
    ids=str,
)
async def test_kill(
    zygote: Zygote, upstreams: Upstreams, database_url: str, tmp_path: Path, stage: Stage, seeds: Iterator[int]
) -> None:
    """
    After each kill at a stage the next gateway ends what was open, bills nobody twice, and gives equal bytes.

    In the end every call in the upstreams' books is in the ledger once with the same micro-dollars, or on hold where
    nobody can tell; on hold are exactly those attempts at Prodia that a kill had cut; budgets, sums and chains are
    whole.
    """
    async with household(zygote, upstreams, tmp_path, database_url, called_back=stage.called_back) as house:
        await open_house(house)
        kills = 0
        for seed in seeds:
            await kill_at(stage, seed, house)
            kills += 1
        assert house.kills >= kills > 0
        await house.until_quiet()
        accounts = await audit(database_url, upstreams.books())
        assert house.cut == {each.attempt_id for each in accounts if each.ended == "hold"}
    assert_nothing_broke(tmp_path)
