"""One phase of W5: a steady load, a blow in the middle of it, and what callers and regions saw before and after."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.contender import WrongAnswer
from tests.benchmarks.region_calls import Call, gaps
from tests.benchmarks.region_control import FAR, NEAR, Control, Ports
from tests.benchmarks.regions import Way
from tests.benchmarks.steady import Told, percentile, steadily
from tests.benchmarks.w5_asking import ANSWERED, Asking, Seen

PER_SECOND = 100
#: Before the second that everything is compared with: connections are made, and nothing is measured.
WARM_SECONDS = 0.5
BEFORE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Blow:
    """What happens to the regions."""

    name: str
    near: Way
    far: Way = Way.ANSWER
    seconds: float = 0.0
    """How much longer than another phase it takes to see what comes of it."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What was seen of one blow."""

    told: Sequence[Told[Seen]]
    calls: Sequence[Call]
    """That reached the regions."""
    struck: float
    """When the blow had fallen, in monotonic seconds."""
    opened: dict[str, float]
    """When each breaker opened that is open at the end, by region, in monotonic seconds."""

    @property
    def before(self) -> list[Told[Seen]]:
        """What was asked in the second before the blow, and answered before it."""
        return [each for each in self.told if each.due >= self.struck - BEFORE_SECONDS and each.ended < self.struck]

    @property
    def after(self) -> list[Told[Seen]]:
        """What was answered after the blow."""
        return [each for each in self.told if each.ended >= self.struck]

    @property
    def once_open(self) -> list[Told[Seen]]:
        """What was asked after the last breaker had opened; nothing where none has."""
        opened = max(self.opened.values(), default=float("inf"))
        return [each for each in self.told if each.asked > opened]

    @property
    def errors(self) -> int:
        """How many callers had no right answer."""
        return sum(each.answer.outcome != ANSWERED for each in self.told)

    @property
    def added_ms(self) -> float:
        """By how many milliseconds the blow has raised the callers' p99."""
        return p99_ms(self.after) - p99_ms(self.before)

    @property
    def calls_once_open(self) -> int:
        """How many requests called the dead region although they were asked after its breaker had opened."""
        return sum(NEAR in each.answer.attempted for each in self.once_open)

    @property
    def failed_over(self) -> int:
        """How many requests called the dead region in vain, and then another one."""
        return sum(len(each.answer.attempted) > 1 for each in self.told)

    @property
    def gaps_ms(self) -> list[float]:
        """How many milliseconds each failure cost before the next region was asked, on the regions' side."""
        return [gap * 1000 for gap in gaps(self.calls)]


def percentile_ms(told: Sequence[Told[Seen]], per_cent: float) -> float:
    """Return a percentile of the latencies in milliseconds."""
    return percentile([each.latency for each in told], per_cent) * 1000


def p99_ms(told: Sequence[Told[Seen]]) -> float:
    """Return the 99th percentile of the latencies in milliseconds."""
    return percentile_ms(told, 99)


async def play(blow: Blow, *, seconds: float, number: int, asking: Asking, control: Control, ports: Ports) -> Phase:
    """
    Load a gateway that knows two regions, strike them, and go on.

    Args:
        blow: what happens.
        seconds: for how long the load goes on after it.
        number: of this phase, so that names and questions of each are its own.
        asking: asks the gateway.
        control: changes the regions.
        ports: where they are.

    Raises:
        WrongAnswer: no request was answered before the blow.
    """
    for region in (NEAR, FAR):
        await control.change(region, Way.ANSWER)
    named = {f"{region}-{number}": region for region in (NEAR, FAR)}
    await asking.take_on({name: ports.url(region) for name, region in named.items()})
    await control.calls()
    calm = WARM_SECONDS + BEFORE_SECONDS

    async def ask(index: int) -> Seen:
        seen = await asking.ask(number * 1_000_000 + index)
        return Seen(seen.outcome, tuple(named.get(name, name) for name in seen.attempted))

    async with asyncio.TaskGroup() as group:
        load = group.create_task(steadily(ask, PER_SECOND, calm + seconds + blow.seconds))
        await asyncio.sleep(calm)
        for region, way in ((NEAR, blow.near), (FAR, blow.far)):
            await control.change(region, way)
        struck = time.monotonic()
    opened = {named[name]: at for name, at in (await asking.opened()).items()}
    phase = Phase(load.result(), await control.calls(), struck, opened)
    outcomes = Counter(each.answer.outcome for each in phase.before)
    if set(outcomes) != {ANSWERED}:
        raise WrongAnswer(f"{blow.name}: callers in the second before it saw {dict(outcomes)}")
    return phase
