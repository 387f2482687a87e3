"""
The fitted pictures of one request: each is made once, however many prompts and attempts need it.

Why kept: sixteen prompts about one scan, or a region that fails and its neighbour with the same limits, ask for the
same fitted picture; making it takes seconds where the picture is large.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

from gateway.fitting.masks import to_upright
from gateway.fitting.plan import CannotFit, Plan
from gateway.fitting.rendering import Fitted, render
from providers.contract import (
    Deadline,
    Decoders,
    DecodingFailed,
    DecodingTooCostly,
    Picture,
    Segmentation,
    Sleep,
    Workers,
    WorkersBusy,
)

#: How long to wait for a free worker once the answer is paid for, in seconds.
PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class FittingMeans:
    """What fits pictures."""

    decoders: Decoders
    workers: Workers
    sleep: Sleep


class Fitter:
    """Makes a picture fit, and brings answers back."""

    def __init__(self, picture: Picture, tenant: str, means: FittingMeans) -> None:
        """Fit *picture* on behalf of *tenant*."""
        self._picture = picture
        self._tenant = tenant
        self._means = means
        self._made: dict[Plan, Fitted | CannotFit | DecodingFailed] = {}
        self._making: defaultdict[Plan, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def fitted(self, plan: Plan, deadline: Deadline) -> Fitted:
        """
        Return the picture as *plan* has it.

        Raises:
            CannotFit: it cannot be brought within the limits after all, or not with the time that is given to it.
            DecodingFailed: the picture broke its decoder.
            DecodingLate: the deadline passed meanwhile.
            DecodersBusy: no decoder process is free, and nothing is spent yet.
        """
        async with self._making[plan]:
            if plan not in self._made:
                self._made[plan] = await self._rendered(plan, deadline)
        made = self._made[plan]
        if isinstance(made, Exception):
            raise made
        return made

    async def _rendered(self, plan: Plan, deadline: Deadline) -> Fitted | CannotFit | DecodingFailed:
        """Render, and return what stands in the way rather than raise it: it is kept."""
        (width, height), canvas = plan.geometry.source, plan.geometry.canvas
        pixels = max(width * height, canvas[0] * canvas[1]) * 4  # decoded, scaled, written, hashed
        try:
            return await self._means.decoders.run(
                render, self._picture, plan, pixels=pixels, deadline=deadline, tenant=self._tenant
            )
        except DecodingTooCostly as error:
            return CannotFit(f"the picture cannot be made to fit: {error}")
        except (CannotFit, DecodingFailed) as reason:
            return reason

    async def upright(self, segmentation: Segmentation, fitted: Fitted) -> Segmentation:
        """Return an answer about *fitted* as one about the upright picture. It is paid for, so it waits for a place."""
        width, height = fitted.geometry.source
        pixels = width * height * len(segmentation.instances)
        while True:
            try:
                return await self._means.workers.run(partial(to_upright, segmentation, fitted), pixels=pixels)
            except WorkersBusy:
                await self._means.sleep(PAUSE_SECONDS)
