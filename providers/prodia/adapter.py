"""
One attempt at Prodia: one POST, its answer, its masks.

A call that left and brought no answer may be billed, and cannot be looked up: Prodia has no idempotency key and no list
of jobs.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from providers.contract import (
    Deadline,
    Deployment,
    Fate,
    Found,
    Means,
    Model,
    Picture,
    ProviderError,
    ProviderFailed,
    Question,
    Reply,
    Secret,
    Segmentation,
    Usage,
)
from providers.decoding import decoded
from providers.deployment_checks import OptionRule, check_http_deployment
from providers.mask_files import MaskFile, MaskReader
from providers.masks import MaskReading, UnreadableMask
from providers.prodia.catalogue import ENDPOINT, MODELS, MOST_MASKS, SAM2, SAM3
from providers.prodia.multipart import MOST_PARTS
from providers.prodia.translate import to_error, to_job, to_job_error, to_segmentation
from providers.prodia.wire import Answer, Job, UnreadableAnswer, job_body, read_answer
from providers.warning_header import warnings_in

#: Largest answer that is read, to any question; and to one: this, and for each pixel of the picture so many bytes. A
#: black and white PNG has a hundredth of a byte a pixel, so that hundreds of masks find room.
_MOST_ANSWER_BYTES = 64 * 1024 * 1024
_ANSWER_BYTES = 4 * 1024 * 1024
_ANSWER_BYTES_A_PIXEL = 16

#: What `deployment.options` may hold.
OPTIONS = MappingProxyType(
    {
        "max_masks": OptionRule(
            lambda value: type(value) is int and 1 <= value < MOST_PARTS,
            f"a whole number of masks from 1 to {MOST_PARTS - 1}: how many of one answer are read",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class _Account:
    """One deployment, made ready to be called."""

    deployment: Deployment
    url: str
    headers: Mapping[str, str]
    hide: tuple[str, ...]
    """What no message may show."""
    most_masks: int
    """How many of one answer are read."""


class Prodia:
    """
    Prodia's SAM 2 and SAM 3, as a `Provider`.

    It has no `FreeProbe`: there is a job `inference.ping.v1`, but nobody says whether it is billed.

    Source: https://docs.prodia.com/reference/inference, read 2026-11-20.
    """

    name = "prodia"

    def __init__(
        self, means: Means, *, wall_clock: Callable[[], float] = time.time, boundary: str | None = None
    ) -> None:
        """
        Build the adapter.

        Args:
            means: what touches the world outside.
            wall_clock: seconds since 1970, for Retry-After headers that are dates.
            boundary: between the parts of a request, one for all of them; by default 128 random bits that no picture
                can have been made to hold.
        """
        self._means = means
        self._wall_clock = wall_clock
        self._boundary = boundary or secrets.token_hex(16)
        self._accounts: dict[str, _Account] = {}

    @property
    def models(self) -> Mapping[str, Model]:
        """Its products, by Prodia's own names for them: two for each."""
        return MODELS

    def check(self, deployment: Deployment) -> None:
        """
        Refuse a deployment that cannot work.

        Raises:
            ValueError: naming the field, its value and the remedy.
        """
        check_http_deployment(deployment, models=MODELS, options=OPTIONS)

    def defaults(self, environ: Mapping[str, str]) -> Sequence[Deployment]:
        """Return both products at the public endpoint, where `PRODIA_TOKEN` holds a token."""
        token = environ.get("PRODIA_TOKEN", "")
        if not token:
            return ()
        return tuple(
            Deployment(name, self.name, model, "global", ENDPOINT, Secret(token))
            for name, model in (("prodia", SAM3), ("prodia-sam2", SAM2))
        )

    async def segment(
        self,
        question: Question,
        deployment: Deployment,
        *,
        attempt_id: str,  # noqa: ARG002 - the protocol's; Prodia has no place for it
        deadline: Deadline,
    ) -> tuple[Segmentation, Usage]:
        """
        Post one job and read its masks. Prodia has no place for *attempt_id*.

        Raises:
            ProviderError: there is no segmentation.
        """
        account = self._account(deployment)
        body = job_body(
            to_job(question, model=deployment.model),
            picture=question.picture.data,
            media_type=question.picture.media_type,
            boundary=self._boundary.encode(),
        )
        reply = await self._means.upstream.send(
            "POST",
            account.url,
            headers=account.headers,
            content=body,
            deadline=deadline,
            max_bytes=_most_bytes(question.picture),
        )
        if not 200 <= reply.status < 300:
            raise to_error(reply, now=self._wall_clock(), hide=account.hide)
        answer = await self._answer(reply, deadline)
        job = answer.job
        if job is not None and not job.finished:
            raise to_job_error(job, status=reply.status, hide=account.hide)
        usage = Usage() if job is None else _usage(job)
        try:
            segmentation = await self._segmentation(answer, question, account, deadline)
        except ProviderError as error:
            if usage.reported is not None:  # it is billed, whatever became of its masks
                error.usage = usage
            raise
        if warnings := warnings_in(reply.headers, hide=account.hide):
            segmentation = Segmentation(segmentation.instances, (*segmentation.warnings, *warnings))
        return segmentation, usage

    async def look_up(
        self,
        deployment: Deployment,  # noqa: ARG002 - Prodia has no call that names a past job
        *,
        attempt_id: str,  # noqa: ARG002 - as above
        upstream_ref: str | None,  # noqa: ARG002 - as above
        deadline: Deadline,  # noqa: ARG002 - as above
    ) -> Found:
        """Say that nobody can tell: a job leaves no record that could be asked for."""
        return Found(Fate.UNKNOWN)

    async def close(self) -> None:
        """Forget the prepared deployments; connections belong to the means."""
        self._accounts.clear()

    def _account(self, deployment: Deployment) -> _Account:
        """Return the prepared deployment, prepared anew after a change of configuration."""
        account = self._accounts.get(deployment.name)
        if account is None or account.deployment is not deployment:
            credential = deployment.credential.reveal()
            headers = {
                "authorization": f"Bearer {credential}",
                "accept": "multipart/form-data",
                "content-type": f"multipart/form-data; boundary={self._boundary}",
            }
            url = f"{deployment.endpoint}/job?price=true"
            most_masks = int(deployment.options.get("max_masks", MOST_MASKS))
            account = _Account(deployment, url, headers, (credential,), most_masks)
            self._accounts[deployment.name] = account
        return account

    async def _answer(self, reply: Reply, deadline: Deadline) -> Answer:
        """Read a 2xx, off the event loop where it is large."""
        try:
            return await decoded(self._means, partial(read_answer, reply), pixels=len(reply.body), deadline=deadline)
        except UnreadableAnswer as error:
            message = f"Prodia answered {reply.status} and not what it documents: {str(error)[:200]}"
            job = error.job
            ref = None if job is None else job.id
            failure = ProviderFailed(message, may_have_charged=True, status=reply.status, upstream_ref=ref)
            if job is not None and job.price is not None:
                failure.usage = _usage(job)
            raise failure from error

    async def _segmentation(
        self, answer: Answer, question: Question, account: _Account, deadline: Deadline
    ) -> Segmentation:
        """Read the masks, as many as the deployment allows."""
        files = answer.outputs[: account.most_masks]
        ref = answer.job.id if answer.job is not None else None
        reader = MaskReader(self._means, question.picture.size, deadline, question.tenant)
        readings: list[MaskReading] = []
        for reading in await reader.read([MaskFile(file) for file in files]):
            if isinstance(reading, UnreadableMask):
                message = f"Prodia's mask cannot be read: {reading}"
                raise ProviderFailed(message, may_have_charged=True, upstream_ref=ref) from reading
            readings.append(reading)
        return to_segmentation(readings, question, unread=len(answer.outputs) - len(files))


def _most_bytes(picture: Picture) -> int:
    """Return how many bytes the answer about a picture may have."""
    return min(_MOST_ANSWER_BYTES, _ANSWER_BYTES + _ANSWER_BYTES_A_PIXEL * picture.width * picture.height)


def _usage(job: Job) -> Usage:
    """Return what a job consumed, by its own word."""
    return Usage(seconds=job.seconds, reported=job.price, upstream_ref=job.id)
