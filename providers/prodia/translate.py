"""Ours to Prodia's and back: questions, masks, errors. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from providers.contract import (
    NOTHING,
    Instance,
    Money,
    ProviderError,
    ProviderFailed,
    Question,
    Reply,
    Segmentation,
    TextPrompt,
    Usage,
)
from providers.masks import MaskReading
from providers.prodia.catalogue import DEFAULT_CONFIDENCE_THRESHOLD
from providers.prodia.wire import Job, SegmentJob, Wanted, read_failure
from providers.retry_after import retry_after_of
from providers.statuses import Meaning, Statuses, error_for_status
from providers.upstream_text import quoted

#: A job has a price once it has completed (reference/price), so an error answer has none, unless it names one. What
#: proxies say instead is not in these documents.
#: Source: https://docs.prodia.com/reference/inference, /reference/price, the official JavaScript client 1.6.0, read
#: 2026-11-20.
STATUSES: Statuses = MappingProxyType(
    {
        400: Meaning.REFUSED,
        401: Meaning.DENIED,
        402: Meaning.DENIED,
        403: Meaning.DENIED,
        404: Meaning.MISPLACED,
        429: Meaning.OVERLOADED,
    }
)

#: Longest Retry-After that is passed on, in seconds. Prodia's own client waits one second where nothing is said, so
#: that a longer wait than this is a mistake of somebody's arithmetic.
LONGEST_WAIT_SECONDS = 60.0


def to_job(question: Question, *, model: str) -> SegmentJob:
    """Return the job for a question, under the name that the deployment gives the *model*."""
    if not isinstance(question.prompt, TextPrompt):
        return SegmentJob(model, None)
    threshold = DEFAULT_CONFIDENCE_THRESHOLD if question.min_score is None else question.min_score
    return SegmentJob(model, Wanted(question.prompt.text.strip(), threshold))


def to_segmentation(readings: Iterable[MaskReading], question: Question, *, unread: int = 0) -> Segmentation:
    """
    Return the instances in the masks of an answer: no scores, all-black ones left out, in the provider's order.

    Args:
        readings: the masks that were read.
        question: what was asked.
        unread: how many more the answer held.
    """
    label = question.prompt.text if isinstance(question.prompt, TextPrompt) else None
    read = tuple(readings)
    warnings = dict.fromkeys(warning for reading in read for warning in reading.warnings)
    if unread:
        warnings[f"Prodia sent {len(read) + unread} masks; only the first {len(read)} were read."] = None
    if label is None and question.min_score is not None:
        warnings["Prodia's SAM 2 gives no scores: min_score left nothing out."] = None
    instances = tuple(Instance(reading.mask, None, label) for reading in read if reading.mask.area > 0)
    return Segmentation(instances, tuple(warnings))


def to_error(reply: Reply, *, now: float, hide: Iterable[str] = ()) -> ProviderError:
    """
    Return the error that a reply of any status but 2xx stands for.

    Args:
        reply: the whole answer.
        now: seconds since 1970, for a Retry-After that is a date.
        hide: texts that must not be shown.
    """
    failure = read_failure(reply)
    asked = retry_after_of(reply.headers, now=now)
    error = error_for_status(
        "Prodia",
        reply.status,
        quoted(failure.message, hide=hide),
        statuses=STATUSES,
        retry_after_seconds=None if asked is None else min(asked, LONGEST_WAIT_SECONDS),
        upstream_ref=failure.job_id,
    )
    return _priced(error, failure.price)


def to_job_error(job: Job, *, status: int, hide: Iterable[str] = ()) -> ProviderError:
    """
    Return the error of a 2xx answer whose job did not finish.

    A job that failed has no price. One whose state is neither success nor failure may have one yet.
    """
    if job.failed:
        text = quoted(job.error or "no reason given", hide=hide)
        return _priced(ProviderFailed(f"Prodia's job failed: {text}", status=status, upstream_ref=job.id), job.price)
    message = "Prodia answered with a job that has not finished"
    error = ProviderFailed(message, status=status, upstream_ref=job.id, may_have_charged=True)
    return _priced(error, job.price)


def _priced(error: ProviderError, price: Money | None) -> ProviderError:
    """Keep a price that came with an error: then that is what the call costs, and nothing is in doubt."""
    if price is not None and (price > NOTHING or error.may_have_charged):
        error.usage = Usage(reported=price, upstream_ref=error.upstream_ref)
    return error
