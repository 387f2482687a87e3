"""
The provider `local`: a call to it is a call of a function in a decoder process, which decodes and segments.

Three decisions:
- Both in one process: an engine's time is bounded as a codec's is, and the pixels are not copied from one to the other.
- What is cut off at the deadline is not charged (`may_have_charged` is False): no company bills for it, so nobody could
  ever say what to do with the money that would be held.
- A picture that breaks its decoder is the caller's to mend, as one that cannot be decoded; one that takes too much of
  this machine may still be one for another provider.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

from providers.codec import Undecodable, decode
from providers.contract import (
    Deadline,
    DecodersBusy,
    DecodingFailed,
    DecodingLate,
    DecodingTooCostly,
    Deployment,
    Fate,
    Found,
    Instance,
    Means,
    Model,
    OwnShortage,
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
    shortage_of,
)
from providers.local.classic import ClassicEngine
from providers.local.engine import Engine
from providers.local.scaling import Pixels

_TOUCHES = 20
"""How often a model touches each pixel, against once for decoding."""


class Local:
    """The provider `local`. Deployments have no endpoint and no credential, and take no options."""

    def __init__(self, means: Means, engines: Iterable[Engine] | None = None) -> None:
        """
        Take the engines in.

        Args:
            means: its decoder processes run the engines.
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
        Decode the picture and run the engine, in a decoder process.

        Returns:
            The engine's instances, and the seconds from the first byte decoded to the last mask made.

        Raises:
            ProviderRefused: the picture cannot be decoded, or is not of the size that it is said to be.
            ProviderOverloaded: no decoder process was free.
            OwnShortage: none could be started.
            ProviderUnreachable: the deadline had passed before.
            ProviderUnanswered: the deadline passed while it was worked on; nothing is charged.
            ProviderFailed: the engine failed.
        """
        engine = self._engines[deployment.model]
        if deadline.passed:
            raise ProviderUnreachable("local: the deadline had passed before it was begun")
        height, width = question.picture.size
        try:
            instances, seconds = await self._means.decoders.run(
                segmented,
                engine,
                question,
                pixels=height * width * _TOUCHES,
                deadline=deadline,
                tenant=question.tenant,
            )
        except DecodersBusy as busy:
            if (resource := shortage_of(busy)) is not None:
                raise OwnShortage(f"local: {busy}", resource) from busy
            raise ProviderOverloaded(f"local: {busy}") from busy
        except DecodingLate as late:
            message = f"local: {engine.name} was still at work at the deadline"
            raise ProviderUnanswered(message, may_have_charged=False) from late
        except DecodingFailed as error:
            message = f"local: the picture cannot be segmented: {error}"
            costly = isinstance(error, DecodingTooCostly)
            raise ProviderRefused(message, elsewhere=costly, invalid_picture=True) from error
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
        """Do nothing: the processes belong to whoever made them."""


def segmented(engine: Engine, question: Question) -> tuple[tuple[Instance, ...], float]:
    """
    Decode and segment; return the instances and the seconds this took. For a decoder process.

    Raises:
        ProviderRefused: the picture cannot be decoded, or is of another size.
        ProviderFailed: the engine failed.
    """
    start = time.perf_counter()
    rgb = _decoded(question.picture)
    try:
        instances = tuple(engine.segment(rgb, question))
    except (ProviderError, MemoryError, cv2.error):
        raise
    except Exception as error:
        # An engine may be anybody's code; whatever it raises, the contract promises a ProviderError.
        what = f"{type(error).__name__}: {error}"
        raise ProviderFailed(f"local: the engine {engine.name} failed: {what[:200]}") from error
    return instances, time.perf_counter() - start


def _decoded(picture: Picture) -> Pixels:
    """
    Return the picture's pixels; transparency is left out, and orientation tags are not obeyed: it is upright.

    Raises:
        ProviderRefused: it cannot be decoded, or is of another size.
    """
    try:
        rgb = decode(picture.data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except Undecodable as error:
        raise ProviderRefused(f"local: the picture cannot be decoded: {error}", invalid_picture=True) from error
    if rgb.shape[:2] != picture.size:
        raise ProviderRefused(
            f"local: the picture decodes to {rgb.shape[1]} x {rgb.shape[0]} pixels, "
            f"and is said to have {picture.width} x {picture.height}",
            invalid_picture=True,
        )
    return rgb.astype(np.uint8, copy=False)
