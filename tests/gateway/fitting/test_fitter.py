"""A request's picture is made to fit once for all who need it, and a paid answer waits for its worker."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from gateway.fitting.fitter import Fitter, FittingMeans
from gateway.fitting.plan import CannotFit, plan_for
from providers.contract import Deadline, Instance, Limits, Mask, Picture, Segmentation
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders
from tests.gateway.fitting.drawn import SAM2, SAM3, written
from tests.gateway.intake.picture_files import noise


def fitter_of(picture: Picture) -> Fitter:
    """Return what fits a picture."""
    return Fitter(picture, "anyone", FittingMeans(shared_decoders(), ThreadWorkers(threads=1, queue=4), asyncio.sleep))


def in_a_minute() -> Deadline:
    """Return a deadline that does not matter."""
    return Deadline.after(60, time.monotonic)


async def test_each_plan_is_carried_out_once() -> None:
    """Sixteen prompts and a failover to equal limits share one fitted picture; other limits have their own."""
    picture = written(noise(2500, 300))
    fitter = fitter_of(picture)
    plans = [plan_for(picture, limits) for limits in (*[SAM2] * 16, Limits(max_side=1000))]
    made = await asyncio.gather(*(fitter.fitted(plan, in_a_minute()) for plan in plans))
    assert 2 == len({id(each) for each in made})
    assert [2048] * 16 + [1000] == [each.picture.width for each in made]


async def test_what_cannot_fit_is_known_the_second_time() -> None:
    """The reason is kept as the picture would be."""
    broken = Picture(b"\x89PNG", "image/png", 100, 100, "blake3:0")
    fitter = fitter_of(broken)
    for _ in range(2):
        with pytest.raises(CannotFit, match="cannot be decoded"):
            await fitter.fitted(plan_for(broken, SAM3), in_a_minute())


async def test_a_paid_answer_waits_for_a_worker() -> None:
    """Where all workers are busy, bringing masks back waits its turn."""
    workers = ThreadWorkers(threads=1, queue=0, inline_pixels=0)
    picture = written(noise(100, 100))
    pauses = 0
    held = asyncio.Event()
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def busy() -> None:
        loop.call_soon_threadsafe(held.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    async def pause(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        release.set()
        await occupied

    fitter = Fitter(picture, "anyone", FittingMeans(shared_decoders(), workers, pause))
    fitted = await fitter.fitted(plan_for(picture, SAM3), in_a_minute())
    occupied = asyncio.ensure_future(workers.run(busy, pixels=1))
    await held.wait()
    whole = Segmentation((Instance(Mask.from_bitmap(np.ones((300, 300), np.uint8)), None),))
    back = await fitter.upright(whole, fitted)
    assert 1 == pauses
    assert [100 * 100] == [each.mask.area for each in back.instances]
    workers.close()
