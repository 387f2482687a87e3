"""Ours to Runflow's and back: questions, errors, statuses. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from providers.contract import (
    Deployment,
    ObjectPrompt,
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    Question,
    Reply,
    TextPrompt,
)
from providers.retry_after import retry_after_of
from providers.runflow.catalogue import MOST_MASKS
from providers.runflow.wire import BoxPrompt, PointPrompt, Run, RunInput, RunStatus, read_error
from providers.statuses import error_for_status
from providers.upstream_text import quoted

#: One id for all points and the box of an object prompt: together they mean one object.
_THE_OBJECT = 1


def to_run_input(question: Question, *, image_url: str) -> RunInput:
    """Return the input of a run; the kinds of prompt are those that the catalogue names."""
    prompt = question.prompt
    points: tuple[PointPrompt, ...] = ()
    boxes: tuple[BoxPrompt, ...] = ()
    if isinstance(prompt, ObjectPrompt):
        points = tuple(PointPrompt(point.x, point.y, int(point.positive), _THE_OBJECT) for point in prompt.points)
        if prompt.box is not None:
            box = prompt.box
            boxes = (BoxPrompt(box.x_min, box.y_min, box.x_max, box.y_max, _THE_OBJECT),)
    return RunInput(
        image_url=image_url,
        prompt=prompt.text if isinstance(prompt, TextPrompt) else "",
        max_masks=min(max(1, question.max_masks), MOST_MASKS),
        point_prompts=points,
        box_prompts=boxes,
    )


def picture_url(question: Question, deployment: Deployment) -> str | None:
    """Return the address to send the picture as; None where its bytes have to be uploaded."""
    return None if deployment.options.get("picture_as") == "upload" else question.picture.url


def to_error(reply: Reply, *, now: float, hide: Iterable[str] = ()) -> ProviderError:
    """
    Return the error that a reply without a run stands for.

    Args:
        reply: of any status but 2xx.
        now: seconds since 1970, for a Retry-After that is a date.
        hide: texts that must not be shown.
    """
    error = read_error(reply.body)
    text = quoted(error.message, hide=hide)
    retry_after_seconds = retry_after_of(reply.headers, now=now)
    code = error.code or ""
    if code.startswith("INSUFFICIENT_CREDIT"):
        return ProviderDenied(f"Runflow answered {reply.status}: {text}", status=reply.status)
    if code == "MODEL_UNAVAILABLE":
        message = f"Runflow answered {reply.status}: {text}"
        return ProviderOverloaded(message, status=reply.status, retry_after_seconds=retry_after_seconds)
    return error_for_status("Runflow", reply.status, text, retry_after_seconds=retry_after_seconds)


def to_failure(run: Run, *, hide: Iterable[str] = ()) -> ProviderError:
    """
    Return the error that a failed or cancelled run stands for. Runflow bills neither.

    Source: https://docs.runflow.io/concepts/pricing ("only successful runs are debited"), read 2026-11-20.
    """
    if run.status is RunStatus.CANCELLED:
        return ProviderFailed("Runflow's run was cancelled", upstream_ref=run.id)
    failure = run.failure
    parts = (failure.code, failure.stage, failure.message) if failure is not None else ()
    text = quoted(": ".join(part for part in parts if part), hide=hide) or "no reason given"
    code = (failure.code or "").upper() if failure is not None else ""
    kind = ProviderRefused if "VALIDATION" in code or "INVALID_INPUT" in code else ProviderFailed
    return kind(f"Runflow's run failed: {text}", upstream_ref=run.id)
