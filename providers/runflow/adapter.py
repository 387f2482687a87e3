"""
One attempt at Runflow, in order: picture, run, wait, masks. And what became of one whose answer was lost.

What may be billed follows from where it breaks. Before the create call nothing is; a create call without an answer may
be; a run that exists may be until it has failed or was cancelled; one that succeeded is, whatever becomes of its masks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from providers.contract import (
    Deadline,
    Deployment,
    Fate,
    Found,
    Means,
    Model,
    Notice,
    Outcome,
    OwnShortage,
    ProviderError,
    ProviderFailed,
    ProviderRefused,
    ProviderUnanswered,
    Question,
    Secret,
    Segmentation,
    Usage,
)
from providers.deployment_checks import check_http_deployment
from providers.runflow.account import Account
from providers.runflow.api import RunflowApi
from providers.runflow.callbacks import is_genuine, read_run_id
from providers.runflow.catalogue import CURRENT_GENERATION, ENDPOINT, FLAT_PATHS, MODELS, OPTIONS, SAM3, SMART
from providers.runflow.collect import MaskNotBrought, collect, most_answer_bytes
from providers.runflow.output import final
from providers.runflow.translate import DEBITED, picture_url, polarity_of, to_failure, to_found, to_run_input
from providers.runflow.waits import Wait, Waits
from providers.runflow.wire import Run, RunStatus

#: Longest pause between two looks at a run, in seconds; Runflow's own clients look every 2 or 3.
_LONGEST_POLL_SECONDS = 2.0

#: How often in a row a run may be unknown or unreadable before it is given up: a record may appear late, once.
_MOST_MISREADINGS = 3


class AnotherRun(ProviderFailed):
    """The id that came for our run leads to somebody else's; ours may be billed all the same."""

    may_have_charged = True


#: Statuses with which a run's own record tells nothing, and the list of runs may: it is gone, or cannot be read.
_RECORD_IS_NO_USE = frozenset({200, 404, 410})


class Runflow:
    """Runflow's SAM 3 and Smart Segmentation, as a `Provider` that is `Notified` and has a `FreeProbe`."""

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
        self._waits = Waits()

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
        generation = deployment.options.get("generation", CURRENT_GENERATION)
        if generation in FLAT_PATHS and deployment.model != SAM3:
            raise ValueError(
                f"deployment {deployment.name!r}: options.generation is {generation!r}, and {deployment.model} has no "
                f"such call; leave it out, or set model to {SAM3}"
            )

    def defaults(self, environ: Mapping[str, str]) -> Sequence[Deployment]:
        """
        Return SAM 3 at the public endpoint, where `RUNFLOW_API_KEY` holds a key.

        Smart Segmentation costs 24 times as much, so it is asked where a configuration names it, and never just because
        it is there. `RUNFLOW_CALLBACK_SECRETS` names what callbacks are signed with, with commas between several.
        """
        key = environ.get("RUNFLOW_API_KEY", "")
        if not key:
            return ()
        texts = environ.get("RUNFLOW_CALLBACK_SECRETS", "").split(",")
        secrets = tuple(Secret(text.strip()) for text in texts if text.strip())
        return (Deployment("runflow", self.name, SAM3, "global", ENDPOINT, Secret(key), callback_secrets=secrets),)

    async def segment(
        self, question: Question, deployment: Deployment, *, attempt_id: str, deadline: Deadline
    ) -> tuple[Segmentation, Usage]:
        """
        Make one run and wait for its masks.

        Raises:
            ProviderError: there is no segmentation.
        """
        api = self._api(deployment, deadline, question)
        image_url = await self._image_url(api, question)
        run_input = to_run_input(question, image_url=image_url, model=deployment.model)
        run = await api.create_run(run_input, attempt_id=attempt_id)
        try:
            run = await self._finished(api, run, attempt_id)
            return await self._collected(api, run, question), _usage(run)
        except AnotherRun:
            raise  # without a reference: what is found by that id is another's bill
        except ProviderError as error:
            error.upstream_ref = error.upstream_ref or run.id
            if run.cost is not None and run.status in DEBITED:  # it is billed, whatever became of its masks
                error.usage = _usage(run)
            raise

    async def look_up(
        self, deployment: Deployment, *, attempt_id: str, upstream_ref: str | None, deadline: Deadline
    ) -> Found:
        """
        Find an attempt's run by its id, or else by the reference it was created with.

        The synchronous calls leave no reference, so of those nobody can tell. A run whose id came back was there: that
        neither its id nor the list knows it any more does not say that it was not billed.

        Raises:
            ProviderError: no word of it now.
        """
        api = self._api(deployment, deadline)
        if upstream_ref is not None:
            try:
                run = await api.get_run(upstream_ref)
            except ProviderError as error:
                if error.status not in _RECORD_IS_NO_USE:
                    raise
            else:
                if run.client_ref in {None, attempt_id}:
                    return to_found([run])
        if api.account.generation != CURRENT_GENERATION:
            return Found(Fate.UNKNOWN)
        runs = await api.find_runs(attempt_id)
        return Found(Fate.UNKNOWN) if upstream_ref is not None and not runs else to_found(runs)

    async def probe(self, deployment: Deployment, *, deadline: Deadline) -> None:
        """
        Have the deployment's key verified: one question, the same for every model and generation, and none is billed.

        Raises:
            ProviderError: Runflow cannot be reached, does not take the key, or is at fault; `ProviderRefused` where
                it has no such question, so that an address which is only documented keeps nobody away for ever.
        """
        try:
            await self._api(deployment, deadline).verify_key()
        except ProviderError as error:
            error.may_have_charged = False
            if error.status in {404, 405}:
                raise ProviderRefused(f"no word on the key: {error.message}", status=error.status) from error
            raise

    def notified(self, deployment: Deployment, *, headers: Mapping[str, str], body: bytes) -> Notice:
        """
        Take a callback: whoever waits for its run looks at once.

        Without a secret in the configuration Runflow signs nothing, and any callback is taken as that hint: a forger
        who knows a run's id can make us look at it once.
        """
        secrets = deployment.callback_secrets
        if secrets and not is_genuine(headers, body, secrets):
            return Notice.FORGED
        run_id = read_run_id(body)
        if run_id is None:
            return Notice.UNREADABLE
        return Notice.WOKEN if self._waits.ended((deployment.name, run_id)) else Notice.IDLE

    async def close(self) -> None:
        """Forget the prepared deployments; connections belong to the means."""
        self._accounts.clear()

    def _api(self, deployment: Deployment, deadline: Deadline, question: Question | None = None) -> RunflowApi:
        """Return the calls of one attempt; without a question, of those that look it up."""
        account = self._account(deployment)
        if question is None:
            return RunflowApi(self._means, account, deadline, self._wall_clock)
        most = most_answer_bytes(question)
        return RunflowApi(self._means, account, deadline, self._wall_clock, question.tenant, most)

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

    async def _finished(self, api: RunflowApi, run: Run, attempt_id: str) -> Run:
        """
        Look at the run until it has ended, and return it as it succeeded.

        Raises:
            ProviderError: it failed, was cancelled, cannot be looked at, or goes on after the deadline.
        """
        if run.status is RunStatus.PENDING and run.id is not None:
            with self._waits.wait((api.account.deployment.name, run.id)) as wait:
                run = await self._polled(api, run, run.id, wait)
        if run.client_ref not in {None, attempt_id}:
            raise AnotherRun("Runflow gave the id of a run that was not created by this call")
        if run.status in {RunStatus.FAILED, RunStatus.CANCELLED}:
            raise to_failure(run, hide=api.account.hide)
        return run

    async def _polled(self, api: RunflowApi, run: Run, run_id: str, wait: Wait) -> Run:
        """Look at the run until it has ended somehow; see `_finished`."""
        misreadings = 0
        trouble: ProviderError | None = None
        for pause in _pauses(api.account.poll_seconds):
            if run.status is not RunStatus.PENDING:
                break
            await self._pause(api, wait, min(pause, api.deadline.remaining()))
            if api.deadline.passed:
                raise _unfinished(trouble, run_id)
            try:
                run = await api.get_run(run_id)
                misreadings, trouble = 0, None
            except ProviderError as error:
                misreadings = 0 if _passes_by_itself(error) else misreadings + 1
                if misreadings >= _MOST_MISREADINGS or _is_final(error):
                    raise _out_of_sight(error, run_id) from error.__cause__
                trouble = error
                if error.retry_after_seconds:
                    await self._means.sleep(min(error.retry_after_seconds, api.deadline.remaining()))
        return run

    async def _pause(self, api: RunflowApi, wait: Wait, seconds: float) -> None:
        """Wait between two looks; where Runflow was told how to call back, its word ends the pause."""
        if api.account.deployment.callback_url:
            await wait.pause(seconds, self._means.sleep)
        else:
            await self._means.sleep(seconds)

    async def _collected(self, api: RunflowApi, run: Run, question: Question) -> Segmentation:
        """Return what a run that succeeded found; masks that did not come are fetched again once, signed anew."""
        try:
            return await self._collected_once(api, run, question)
        except MaskNotBrought as error:
            if api.deadline.passed:
                raise
            missing = error
        if run.id is None:
            return await self._collected_once(api, run, question)
        try:
            signed = await api.get_run(run.id, sign=True)
        except ProviderError as error:
            if api.deadline.passed:
                raise missing from error
            raise _out_of_sight(error, run.id) from error.__cause__
        return await self._collected_once(api, signed, question)

    async def _collected_once(self, api: RunflowApi, run: Run, question: Question) -> Segmentation:
        """Bring the masks that the run names."""
        output = run.output
        if output is None or (output.nameless and not output.files):
            raise ProviderFailed("Runflow's run succeeded and names no masks", may_have_charged=True)
        deployment = api.account.deployment
        files = final(output) if deployment.model == SMART else output
        polarity = polarity_of(question, deployment)
        segmentation = await collect(files, question, polarity, means=self._means, deadline=api.deadline)
        said = [*segmentation.warnings, *run.warnings]
        if run.status is RunStatus.PARTLY_SUCCEEDED:
            said.append("The provider calls its run partly succeeded; there may be more to find.")
        return Segmentation(segmentation.instances, tuple(said))


def _unfinished(trouble: ProviderError | None, run_id: str) -> ProviderError:
    """Return what it comes to that a run goes on after the deadline; *trouble* is how the last look at it failed."""
    message = "Runflow's run had not ended when the deadline passed"
    if trouble is None:
        return ProviderUnanswered(message, upstream_ref=run_id)
    status = "" if trouble.status is None else f" (HTTP {trouble.status})"
    message = f"{message}; the last look at it: {trouble.outcome.value}{status}"
    if isinstance(trouble, OwnShortage):
        return OwnShortage(message, trouble.shortage, may_have_charged=True, upstream_ref=run_id)
    return ProviderUnanswered(message, upstream_ref=run_id)


def _out_of_sight(error: ProviderError, run_id: str) -> ProviderError:
    """
    Return what it comes to that a run cannot be looked at.

    The run goes on or has succeeded all the same, so it may be billed; and whoever refuses a look says nothing about
    the question, which another deployment may well answer.
    """
    if not error.elsewhere or error.status == 404:  # which is said of the run, and not of the account or the endpoint
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
    """Whether a look that failed says nothing about the run: the network, an overload, trouble of theirs or ours."""
    outside = {Outcome.UNREACHABLE, Outcome.UNANSWERED, Outcome.OVERLOADED, Outcome.OWN_SHORTAGE}
    status = error.status or 0
    return error.outcome in outside or status >= 500 or (status >= 400 and error.may_have_charged)


def _is_final(error: ProviderError) -> bool:
    """Whether looking again cannot help: a 3xx or 4xx, but for a run that is not known yet and a slow request."""
    status = error.status or 0
    return not _passes_by_itself(error) and 300 <= status < 500 and status not in {404, 408}
