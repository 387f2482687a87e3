"""
The provider `local`: a call to it is a call of a function on a worker thread.

Three decisions:
- What an engine has begun cannot be interrupted. At the deadline the caller hears `ProviderUnanswered`, and the thread
  goes on to its end for nothing.
- That lost work is not charged (`may_have_charged` is False): no company bills for it, so nobody could ever say what to
  do with the money that would be held.
- A question that no thread took up before the deadline is `ProviderUnreachable`, and is not worked on later either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from providers.contract import (
    Clock,
    Deadline,
    Deployment,
    Fate,
    Found,
    Instance,
    Means,
    Model,
    Picture,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
    ProviderUnreachable,
    Question,
    Segmentation,
    Usage,
    WorkersBusy,
)
from providers.local.classic import ClassicEngine
from providers.local.engine import Engine
from providers.local.scaling import Pixels

_TOUCHES = 20
"""How often a model touches each pixel, against once for decoding: what takes all but tiny pictures off the loop."""


class Local:
    """The provider `local`. Deployments have no endpoint and no credential, and take no options."""

    def __init__(self, means: Means, engines: Iterable[Engine] | None = None) -> None:
        """
        Take the engines in.

        Args:
            means: its workers run the engines.
            engines: None stands for the one that needs no weights, `classic`.
        """
        self._means = means
        self._engines = {engine.name: engine for engine in (engines if engines is not None else (ClassicEngine(),))}

    @property
    def name(self) -> str:
        """The provider's name in configuration, JSON and metrics."""
        return "local"

    @property
    def models(self) -> Mapping[str, Model]:
        """Its engines' models, by their names."""
        return {name: engine.model for name, engine in self._engines.items()}

    def check(self, deployment: Deployment) -> None:
        """
        Refuse a deployment that cannot work.

        Raises:
            ValueError: naming the field, its value and the remedy.
        """
        where = f"deployment {deployment.name}"
        if deployment.model not in self._engines:
            known = ", ".join(sorted(self._engines))
            raise ValueError(f"{where}: model is {deployment.model!r}; a local deployment's model is one of: {known}")
        if deployment.endpoint:
            raise ValueError(
                f"{where}: endpoint is {deployment.endpoint!r}; a local model runs in this process, leave it empty"
            )
        if deployment.credential:
            raise ValueError(f"{where}: credential is set; a local model needs none, leave it out")
        if deployment.options:
            named = ", ".join(sorted(deployment.options))
            raise ValueError(f"{where}: options has {named}; a local model takes none, leave them out")

    def defaults(self, environ: Mapping[str, str]) -> Sequence[Deployment]:  # noqa: ARG002 - it needs no key
        """Return a deployment for each engine: what runs on this machine is there without being asked for."""
        return [Deployment(f"local-{name}", provider=self.name, model=name, region="local") for name in self._engines]

    async def segment(
        self,
        question: Question,
        deployment: Deployment,
        *,
        attempt_id: str,  # noqa: ARG002 - there is nobody to name the attempt to
        deadline: Deadline,
    ) -> tuple[Segmentation, Usage]:
        """
        Decode the picture and run the engine, off the event loop.

        Returns:
            The engine's instances, and the seconds from the first byte decoded to the last mask made.

        Raises:
            ProviderRefused: the picture cannot be decoded, or is not of the size that it is said to be.
            ProviderOverloaded: no room among the workers.
            ProviderUnreachable: the deadline passed before a worker took it up.
            ProviderUnanswered: the deadline passed while it was worked on; nothing is charged.
            ProviderFailed: the engine failed.
        """
        call = _Call(self._engines[deployment.model], question, self._means.clock, deadline)
        height, width = question.picture.size
        try:
            async with asyncio.timeout(deadline.remaining()):
                instances, seconds = await self._means.workers.run(call.run, pixels=height * width * _TOUCHES)
        except WorkersBusy as busy:
            raise ProviderOverloaded(f"local: {busy}") from busy
        except TimeoutError:
            raise call.late() from None
        return Segmentation(instances), Usage(seconds=seconds)

    async def look_up(
        self,
        deployment: Deployment,  # noqa: ARG002 - work in this process leaves no record
        *,
        attempt_id: str,  # noqa: ARG002 - as above
        upstream_ref: str | None,  # noqa: ARG002 - as above
        deadline: Deadline,  # noqa: ARG002 - as above
    ) -> Found:
        """Say that nothing is owed: whatever was done, this machine did it."""
        return Found(Fate.NOT_CHARGED)

    async def close(self) -> None:
        """Do nothing: the workers belong to whoever made them."""


@dataclass(slots=True)
class _Call:
    """One question on its way through a worker thread."""

    engine: Engine
    question: Question
    clock: Clock
    deadline: Deadline
    began: bool = False
    """Set by the worker, read by the event loop once it has stopped waiting."""

    def run(self) -> tuple[tuple[Instance, ...], float]:
        """Decode and segment; return the instances and the seconds this took."""
        if self.deadline.passed:
            raise self.late()
        self.began = True
        start = self.clock()
        rgb = _decoded(self.question.picture)
        try:
            instances = tuple(self.engine.segment(rgb, self.question))
        except ProviderError:
            raise
        except Exception as error:
            # An engine may be anybody's code; whatever it raises, the contract promises a ProviderError.
            what = f"{type(error).__name__}: {error}"
            raise ProviderFailed(f"local: the engine {self.engine.name} failed: {what[:200]}") from error
        return instances, self.clock() - start

    def late(self) -> ProviderError:
        """Return the error for a deadline that has passed."""
        if self.began:
            return ProviderUnanswered(
                f"local: {self.engine.name} was still at work at the deadline", may_have_charged=False
            )
        return ProviderUnreachable(f"local: no worker took the question to {self.engine.name} up before the deadline")


def _decoded(picture: Picture) -> Pixels:
    """
    Return the picture's pixels; transparency is left out, and orientation tags are not obeyed: it is upright.

    Raises:
        ProviderRefused: it cannot be decoded, or is of another size.
    """
    try:
        rgb = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ProviderRefused(f"local: the picture cannot be decoded: {str(error)[:200]}") from error
    if rgb is None:
        raise ProviderRefused(f"local: the picture cannot be decoded as {picture.media_type}")
    if rgb.shape[:2] != picture.size:
        raise ProviderRefused(
            f"local: the picture decodes to {rgb.shape[1]} x {rgb.shape[0]} pixels, "
            f"and is said to have {picture.width} x {picture.height}"
        )
    return rgb.astype(np.uint8, copy=False)
