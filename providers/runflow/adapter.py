"""
One attempt at Runflow, in order: picture, run, wait, masks.

What may be billed follows from where it breaks. Before the create call nothing is; a create call without an answer may
be; a run that exists may be until it has failed or was cancelled; one that succeeded is, whatever becomes of its masks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from providers.contract import (
    Deadline,
    Deployment,
    Means,
    Model,
    Outcome,
    ProviderError,
    ProviderFailed,
    ProviderUnanswered,
    Question,
    Secret,
    Segmentation,
    Usage,
)
from providers.deployment_checks import check_http_deployment
from providers.runflow.account import Account
from providers.runflow.api import RunflowApi
from providers.runflow.catalogue import ENDPOINT, MODELS, OPTIONS, SAM3
from providers.runflow.collect import MaskNotBrought, collect
from providers.runflow.translate import picture_url, to_failure, to_run_input
from providers.runflow.wire import Run, RunStatus

#: Longest pause between two looks at a run, in seconds; Runflow's own clients look every 2 or 3.
_LONGEST_POLL_SECONDS = 2.0

#: How often in a row a run may be unknown or unreadable before it is given up: a record may appear late, once.
_MOST_MISREADINGS = 3


class Runflow:
    """Runflow's SAM 3, as a `Provider`."""

    name = "runflow"

    def __init__(self, means: Means, *, wall_clock: Callable[[], float] = time.time) -> None:
        """
        Build the adapter.

        Args:
            means: what touches the world outside.
            wall_clock: seconds since 1970, for Retry-After headers that are dates.
        """
        self._means = means
        self._wall_clock = wall_clock
        self._accounts: dict[str, Account] = {}

    @property
    def models(self) -> Mapping[str, Model]:
        """Its products, by Runflow's own name for them."""
        return MODELS

    def check(self, deployment: Deployment) -> None:
        """
        Refuse a deployment that cannot work.

        Raises:
            ValueError: naming the field, its value and the remedy.
        """
        check_http_deployment(deployment, models=MODELS, options=OPTIONS)

    def defaults(self, environ: Mapping[str, str]) -> Sequence[Deployment]:
        """Return the public endpoint, where `RUNFLOW_API_KEY` holds a key."""
        key = environ.get("RUNFLOW_API_KEY", "")
        if not key:
            return ()
        return (Deployment("runflow", self.name, SAM3, "global", ENDPOINT, Secret(key)),)

    async def segment(
        self, question: Question, deployment: Deployment, *, attempt_id: str, deadline: Deadline
    ) -> tuple[Segmentation, Usage]:
        """
        Make one run and wait for its masks.

        Raises:
            ProviderError: there is no segmentation.
        """
        api = RunflowApi(self._means, self._account(deployment), deadline, self._wall_clock)
        image_url = await self._image_url(api, question)
        run = await api.create_run(to_run_input(question, image_url=image_url), attempt_id=attempt_id)
        try:
            run = await self._finished(api, run)
            return await self._collected(api, run, question), _usage(run)
        except ProviderError as error:
            error.upstream_ref = error.upstream_ref or run.id
            raise

    async def close(self) -> None:
        """Forget the prepared deployments; connections belong to the means."""
        self._accounts.clear()

    def _account(self, deployment: Deployment) -> Account:
        """Return the prepared deployment, prepared anew after a change of configuration."""
        account = self._accounts.get(deployment.name)
        if account is None or account.deployment is not deployment:
            account = self._accounts[deployment.name] = Account.of(deployment)
        return account

    async def _image_url(self, api: RunflowApi, question: Question) -> str:
        """Return an address of the picture that Runflow can read."""
        url = picture_url(question, api.account.deployment)
        if url is not None:
            return url
        try:
            return await api.upload(question.picture)
        except ProviderError as error:
            error.may_have_charged = False  # an upload is not billed, and no run exists yet
            raise

    async def _finished(self, api: RunflowApi, run: Run) -> Run:
        """
        Look at the run until it has ended, and return it as it succeeded.

        Raises:
            ProviderError: it failed, was cancelled, cannot be looked at, or goes on after the deadline.
        """
        misreadings = 0
        trouble = ""
        run_id = run.id
        for pause in _pauses(api.account.poll_seconds):
            if run.status is not RunStatus.PENDING or run_id is None:
                break
            await self._means.sleep(min(pause, api.deadline.remaining()))
            if api.deadline.passed:
                message = f"Runflow's run had not ended when the deadline passed{trouble}"
                raise ProviderUnanswered(message, upstream_ref=run_id)
            try:
                run = await api.get_run(run_id)
                misreadings, trouble = 0, ""
            except ProviderError as error:
                misreadings = 0 if _passes_by_itself(error) else misreadings + 1
                if misreadings >= _MOST_MISREADINGS or _is_final(error):
                    raise _out_of_sight(error, run_id) from error.__cause__
                trouble = f"; the last look at it: {error.message}"
                if error.retry_after_seconds:
                    await self._means.sleep(min(error.retry_after_seconds, api.deadline.remaining()))
        if run.status in {RunStatus.FAILED, RunStatus.CANCELLED}:
            raise to_failure(run, hide=api.account.hide)
        return run

    async def _collected(self, api: RunflowApi, run: Run, question: Question) -> Segmentation:
        """Return what a run that succeeded found; its addresses are signed anew once if one has expired."""
        try:
            return await self._collected_once(api, run, question)
        except MaskNotBrought:
            if run.id is None or api.deadline.passed:
                raise
        try:
            signed = await api.get_run(run.id, sign=True)
        except ProviderError as error:
            raise _out_of_sight(error, run.id) from error.__cause__
        return await self._collected_once(api, signed, question)

    async def _collected_once(self, api: RunflowApi, run: Run, question: Question) -> Segmentation:
        """Bring the masks that the run names."""
        output = run.output
        if output is None or (output.nameless and not output.files):
            raise ProviderFailed("Runflow's run succeeded and names no masks", may_have_charged=True)
        segmentation = await collect(output, question, means=self._means, deadline=api.deadline)
        if run.status is RunStatus.PARTLY_SUCCEEDED:
            warning = "The provider calls its run partly succeeded; there may be more to find."
            return Segmentation(segmentation.instances, (*segmentation.warnings, warning))
        return segmentation


def _out_of_sight(error: ProviderError, run_id: str) -> ProviderError:
    """
    Return what it comes to that a run cannot be looked at.

    The run goes on or has succeeded all the same, so it may be billed; and whoever refuses a look says nothing about
    the question, which another deployment may well answer.
    """
    if not error.elsewhere:
        error = ProviderFailed(f"Runflow's run cannot be looked at: {error.message}", status=error.status)
    error.may_have_charged = True
    error.upstream_ref = run_id
    return error


def _usage(run: Run) -> Usage:
    """Return what the run consumed."""
    return Usage(seconds=run.seconds, reported=run.cost, upstream_ref=run.id)


def _pauses(poll_seconds: float) -> Iterator[float]:
    """Yield the pauses before each look: a short one, then growing ones, in seconds."""
    yield poll_seconds / 10
    pause = poll_seconds
    while True:
        yield pause
        pause = max(poll_seconds, min(pause * 1.5, _LONGEST_POLL_SECONDS))


def _passes_by_itself(error: ProviderError) -> bool:
    """Whether a look that failed says nothing about the run: the network, an overload, their own trouble."""
    outside = {Outcome.UNREACHABLE, Outcome.UNANSWERED, Outcome.OVERLOADED}
    return error.outcome in outside or (error.status or 0) >= 500


def _is_final(error: ProviderError) -> bool:
    """Whether looking again cannot help: a 3xx or 4xx, but for a run that is not known yet and a slow request."""
    status = error.status or 0
    return not _passes_by_itself(error) and 300 <= status < 500 and status not in {404, 408}
