"""A provider of another house, as small as one can be: it fills areas of one colour from a point."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from providers.contract import (
    Capabilities,
    Deadline,
    Deployment,
    Fate,
    Found,
    Instance,
    Mask,
    Means,
    Model,
    ObjectPrompt,
    PromptKind,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
    ProviderUnreachable,
    Question,
    Segmentation,
    Usage,
    WorkersBusy,
)

_STEP = (3, 3, 3)
"""How far two neighbouring pixels of one area may lie apart, of 255."""


class Outsider:
    """The provider `outsider`."""

    name = "outsider"

    def __init__(self, means: Means) -> None:
        """Take the means that every provider is built with."""
        self._means = means

    @property
    def models(self) -> Mapping[str, Model]:
        """Its one model."""
        return {"flood": Model("flood", "flood", Capabilities(frozenset({PromptKind.OBJECT}), points=True))}

    def check(self, deployment: Deployment) -> None:
        """Refuse whatever a model in this process has no use for."""
        if deployment.model not in self.models:
            raise ValueError(f"model is {deployment.model!r}; there is only flood")
        for field, value in (("endpoint", deployment.endpoint), ("options", deployment.options)):
            if value:
                raise ValueError(f"{field} is {value!r}; leave it out")
        if deployment.credential:
            raise ValueError("credential is set; leave it out")

    def defaults(self, environ: Mapping[str, str]) -> Sequence[Deployment]:  # noqa: ARG002 - it needs no key
        """Return its one deployment."""
        return [Deployment("outsider", self.name, "flood", "local")]

    async def segment(
        self,
        question: Question,
        deployment: Deployment,  # noqa: ARG002 - there is one model and no setting
        *,
        attempt_id: str,  # noqa: ARG002 - there is nobody to name the attempt to
        deadline: Deadline,
    ) -> tuple[Segmentation, Usage]:
        """Fill from the first positive point."""
        if deadline.passed:
            raise ProviderUnreachable("the deadline had passed")
        started = self._means.clock()
        height, width = question.picture.size
        try:
            async with asyncio.timeout(deadline.remaining()):
                mask = await self._means.workers.run(lambda: _filled(question), pixels=height * width)
        except WorkersBusy as busy:
            raise ProviderOverloaded(str(busy)) from busy
        except TimeoutError:
            raise ProviderUnanswered("the deadline passed", may_have_charged=False) from None
        instances = (Instance(mask, None),) if mask.area else ()
        return Segmentation(instances), Usage(seconds=self._means.clock() - started)

    async def look_up(
        self,
        deployment: Deployment,  # noqa: ARG002 - work in this process leaves no record
        *,
        attempt_id: str,  # noqa: ARG002 - as above
        upstream_ref: str | None,  # noqa: ARG002 - as above
        deadline: Deadline,  # noqa: ARG002 - as above
    ) -> Found:
        """Say that nothing is owed."""
        return Found(Fate.NOT_CHARGED)

    async def close(self) -> None:
        """Do nothing."""


def install(folder: Path) -> None:
    """Lay a distribution with this provider's entry point down in *folder*, as an installer does."""
    info = folder / "maskgate_outsider-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: maskgate-outsider\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[maskgate.providers]\noutsider = {__name__}:Outsider\n")


def _filled(question: Question) -> Mask:
    """Return the area around the point."""
    pixels = cv2.imdecode(np.frombuffer(question.picture.data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ProviderRefused("the picture cannot be decoded")
    assert isinstance(question.prompt, ObjectPrompt)
    point = next(point for point in question.prompt.points if point.positive)
    border = np.zeros((pixels.shape[0] + 2, pixels.shape[1] + 2), np.uint8)
    cv2.floodFill(pixels, border, (point.x, point.y), (0, 0, 0), _STEP, _STEP, cv2.FLOODFILL_MASK_ONLY | 1 << 8)
    return Mask.from_bitmap(border[1:-1, 1:-1])
