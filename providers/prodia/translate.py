"""Ours to Prodia's and back: questions, masks, errors. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from providers.contract import Instance, ProviderError, ProviderFailed, Question, Reply, Segmentation, TextPrompt
from providers.masks import read_mask
from providers.prodia.catalogue import DEFAULT_CONFIDENCE_THRESHOLD
from providers.prodia.wire import Job, SegmentJob, read_failure
from providers.retry_after import retry_after_of
from providers.statuses import error_for_status
from providers.upstream_text import quoted


def to_job(question: Question, *, model: str) -> SegmentJob:
    """Return the job for a question; its prompt is a text, as the catalogue says."""
    threshold = DEFAULT_CONFIDENCE_THRESHOLD if question.min_score is None else question.min_score
    text = question.prompt.text if isinstance(question.prompt, TextPrompt) else ""
    return SegmentJob(type=model, prompt=text, confidence_threshold=threshold)


def to_segmentation(outputs: Iterable[bytes], question: Question) -> Segmentation:
    """
    Return the instances in the encoded masks: no scores, all-black ones left out, in the provider's order.

    Raises:
        UnreadableMask: one of them is no mask.
    """
    label = question.prompt.text if isinstance(question.prompt, TextPrompt) else None
    readings = [read_mask(data, size=question.picture.size) for data in outputs]
    warnings = dict.fromkeys(warning for reading in readings for warning in reading.warnings)
    instances = tuple(Instance(reading.mask, None, label) for reading in readings if reading.mask.area > 0)
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
    return error_for_status(
        "Prodia",
        reply.status,
        quoted(failure.message, hide=hide),
        retry_after_seconds=retry_after_of(reply.headers, now=now),
        upstream_ref=failure.job_id,
    )


def to_job_error(job: Job, *, status: int, hide: Iterable[str] = ()) -> ProviderError:
    """
    Return the error of a 2xx answer whose job did not finish.

    A job that failed has no price. One whose state is neither success nor failure may have one yet.
    """
    if job.failed:
        text = quoted(job.error or "no reason given", hide=hide)
        return ProviderFailed(f"Prodia's job failed: {text}", status=status, upstream_ref=job.id)
    message = "Prodia answered with a job that has not finished"
    return ProviderFailed(message, status=status, upstream_ref=job.id, may_have_charged=True)
