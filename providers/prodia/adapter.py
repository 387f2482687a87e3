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

from providers.contract import (
    Deadline,
    Deployment,
    Means,
    Model,
    ProviderFailed,
    Question,
    Reply,
    Secret,
    Segmentation,
    Usage,
)
from providers.decoding import decoded
from providers.deployment_checks import check_http_deployment
from providers.prodia.catalogue import ENDPOINT, MODELS, SAM3
from providers.prodia.translate import to_error, to_job, to_job_error, to_segmentation
from providers.prodia.wire import Answer, job_body, read_answer

#: Largest answer that is read.
_MOST_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Account:
    """One deployment, made ready to be called."""

    deployment: Deployment
    url: str
    headers: Mapping[str, str]
    hide: tuple[str, ...]
    """What no message may show."""


class Prodia:
    """Prodia's SAM 3, as a `Provider`."""

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
        """Its products, by Prodia's own name for them."""
        return MODELS

    def check(self, deployment: Deployment) -> None:
        """
        Refuse a deployment that cannot work.

        Raises:
            ValueError: naming the field, its value and the remedy.
        """
        check_http_deployment(deployment, models=MODELS, options={})

    def defaults(self, environ: Mapping[str, str]) -> Sequence[Deployment]:
        """Return the public endpoint, where `PRODIA_TOKEN` holds a token. It needs a price before it takes traffic."""
        token = environ.get("PRODIA_TOKEN", "")
        if not token:
            return ()
        return (Deployment("prodia", self.name, SAM3, "global", ENDPOINT, Secret(token)),)

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
            max_bytes=_MOST_ANSWER_BYTES,
        )
        if not 200 <= reply.status < 300:
            raise to_error(reply, now=self._wall_clock(), hide=account.hide)
        answer = await self._answer(reply, deadline)
        job = answer.job
        if job is not None and not job.finished:
            raise to_job_error(job, status=reply.status, hide=account.hide)
        segmentation = await self._segmentation(answer, question, deadline)
        if job is None:
            return segmentation, Usage()
        return segmentation, Usage(seconds=job.seconds, reported=job.price, upstream_ref=job.id)

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
            account = _Account(deployment, f"{deployment.endpoint}/job?price=true", headers, (credential,))
            self._accounts[deployment.name] = account
        return account

    async def _answer(self, reply: Reply, deadline: Deadline) -> Answer:
        """Read a 2xx, off the event loop where it is large."""
        try:
            return await decoded(self._means, partial(read_answer, reply), pixels=len(reply.body), deadline=deadline)
        except ValueError as error:
            message = f"Prodia answered {reply.status} and not what it documents: {str(error)[:200]}"
            raise ProviderFailed(message, may_have_charged=True, status=reply.status) from error

    async def _segmentation(self, answer: Answer, question: Question, deadline: Deadline) -> Segmentation:
        """Decode the masks, in one go: small ones are not worth a thread each."""
        height, width = question.picture.size
        work = partial(to_segmentation, answer.outputs, question)
        try:
            return await decoded(self._means, work, pixels=height * width * len(answer.outputs), deadline=deadline)
        except ValueError as error:
            message = f"Prodia's mask cannot be read: {error}"
            ref = answer.job.id if answer.job is not None else None
            raise ProviderFailed(message, may_have_charged=True, upstream_ref=ref) from error
