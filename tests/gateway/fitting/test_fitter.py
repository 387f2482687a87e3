"""A request's picture is made to fit once for all who need it, and a paid answer waits for its worker."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from gateway.fitting.fitter import Fitter
from gateway.fitting.plan import CannotFit, plan_for
from providers.contract import Instance, Limits, Mask, Picture, Segmentation, WorkersBusy
from providers.workers import ThreadWorkers
from tests.gateway.fitting.drawn import SAM2, SAM3, written
from tests.gateway.intake.picture_files import noise


async def test_each_plan_is_carried_out_once() -> None:
    """Sixteen prompts and a failover to equal limits share one fitted picture; other limits have their own."""
    workers = ThreadWorkers(threads=2, queue=4)
    try:
        picture = written(noise(2500, 300))
        fitter = Fitter(picture, workers, asyncio.sleep)
        plans = [plan_for(picture, limits) for limits in (*[SAM2] * 16, Limits(max_side=1000))]
        made = await asyncio.gather(*map(fitter.fitted, plans))
    finally:
        workers.close()
    assert 2 == len({id(each) for each in made})
    assert [2048] * 16 + [1000] == [each.picture.width for each in made]


async def test_what_cannot_fit_is_known_the_second_time() -> None:
    """The reason is kept as the picture would be."""
    workers = ThreadWorkers(threads=1, queue=0)
    broken = Picture(b"\x89PNG", "image/png", 100, 100, "blake3:0")
    fitter = Fitter(broken, workers, asyncio.sleep)
    for _ in range(2):
        with pytest.raises(CannotFit, match="cannot be decoded"):
            await fitter.fitted(plan_for(broken, SAM3))
    workers.close()


async def test_a_paid_answer_waits_for_a_worker() -> None:
    """Where all workers are busy, fitting is refused, since nothing is spent; bringing masks back waits its turn."""
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

    fitter = Fitter(picture, workers, pause)
    fitted = await fitter.fitted(plan_for(picture, SAM3))
    occupied = asyncio.ensure_future(workers.run(busy, pixels=1))
    await held.wait()
    with pytest.raises(WorkersBusy):
        await fitter.fitted(plan_for(picture, Limits(min_side=500)))
    whole = Segmentation((Instance(Mask.from_bitmap(np.ones((300, 300), np.uint8)), None),))
    back = await fitter.upright(whole, fitted)
    assert 1 == pauses
    assert [100 * 100] == [each.mask.area for each in back.instances]
    workers.close()
