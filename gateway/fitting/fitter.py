"""
The fitted pictures of one request: each is made once, however many prompts and attempts need it.

Why kept: sixteen prompts about one scan, or a region that fails and its neighbour with the same limits, ask for the
same fitted picture; making it takes seconds where the picture is large.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial

from gateway.fitting.masks import to_upright
from gateway.fitting.plan import CannotFit, Plan
from gateway.fitting.rendering import Fitted, render
from providers.contract import Picture, Segmentation, Sleep, Workers, WorkersBusy

#: How long to wait for a free worker once the answer is paid for, in seconds.
PAUSE_SECONDS = 0.02


class Fitter:
    """Makes a picture fit, and brings answers back."""

    def __init__(self, picture: Picture, workers: Workers, sleep: Sleep) -> None:
        """Fit *picture*, on *workers*; *sleep* while they are busy."""
        self._picture = picture
        self._workers = workers
        self._sleep = sleep
        self._made: dict[Plan, Fitted | CannotFit] = {}
        self._making: defaultdict[Plan, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def fitted(self, plan: Plan) -> Fitted:
        """
        Return the picture as *plan* has it.

        Raises:
            CannotFit: it cannot be brought within the limits after all.
            WorkersBusy: no worker is free, and nothing is spent yet.
        """
        async with self._making[plan]:
            if plan not in self._made:
                (width, height), canvas = plan.geometry.source, plan.geometry.canvas
                work = partial(_rendered, self._picture, plan)
                pixels = max(width * height, canvas[0] * canvas[1]) * 4  # decoded, scaled, written, hashed
                self._made[plan] = await self._workers.run(work, pixels=pixels)
        made = self._made[plan]
        if isinstance(made, CannotFit):
            raise made
        return made

    async def upright(self, segmentation: Segmentation, fitted: Fitted) -> Segmentation:
        """Return an answer about *fitted* as one about the upright picture. It is paid for, so it waits for a place."""
        width, height = fitted.geometry.source
        pixels = width * height * len(segmentation.instances)
        while True:
            try:
                return await self._workers.run(partial(to_upright, segmentation, fitted), pixels=pixels)
            except WorkersBusy:
                await self._sleep(PAUSE_SECONDS)


def _rendered(picture: Picture, plan: Plan) -> Fitted | CannotFit:
    """Render, and return what stands in the way rather than raise it: it is kept."""
    try:
        return render(picture, plan)
    except CannotFit as reason:
        return reason
