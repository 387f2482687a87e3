"""Ours to Runflow's and back: questions, errors, statuses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from urllib.parse import urlsplit

from providers.contract import (
    NOTHING,
    Deployment,
    Fate,
    Found,
    ObjectPrompt,
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    Question,
    Reply,
    TextPrompt,
    Usage,
)
from providers.masks import Polarity
from providers.retry_after import retry_after_of
from providers.runflow.catalogue import MOST_MASKS, SAM3, SMART
from providers.runflow.wire import BoxPrompt, PointPrompt, Run, RunInput, RunStatus, SubjectInput, read_error
from providers.statuses import Meaning, Statuses, error_for_status
from providers.upstream_text import quoted

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")

_SURROUNDINGS = ("background", "backdrop", "surrounding")

DEBITED = frozenset({RunStatus.SUCCEEDED, RunStatus.PARTLY_SUCCEEDED})

#: Only successful runs are debited (concepts/pricing), and an error answer to a call makes no run, with one exception:
#: a conflict says that there is one under our Idempotency-Key. What proxies say instead is not in these documents.
#: Source: https://docs.runflow.io/concepts/errors, /concepts/pricing, /api-reference/batches, read 2026-11-20.
STATUSES: Statuses = MappingProxyType(
    {
        400: Meaning.REFUSED,
        401: Meaning.DENIED,
        402: Meaning.DENIED,
        403: Meaning.DENIED,
        404: Meaning.MISPLACED,
        409: Meaning.IN_DOUBT,
        422: Meaning.REFUSED,
        429: Meaning.OVERLOADED,
    }
)

#: One id for all points and the box of an object prompt: together they mean one object.
_THE_OBJECT = 1


def to_run_input(question: Question, *, image_url: str, model: str = SAM3) -> RunInput | SubjectInput:
    """Return the input of a run of *model*; the kinds of prompt are those that the catalogue names."""
    prompt = question.prompt
    if model == SMART:
        return SubjectInput(image_url, prompt.text if isinstance(prompt, TextPrompt) else "")
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
    """
    Return the address to send the picture as; None where its bytes have to be uploaded.

    Smart Segmentation takes the file's name from the address, so one without a picture's extension does not do there.
    """
    url = question.picture.url
    if url is None or deployment.options.get("picture_as") == "upload":
        return None
    if deployment.model == SMART and not urlsplit(url).path.lower().endswith(_EXTENSIONS):
        return None
    return url


def polarity_of(question: Question, deployment: Deployment) -> Polarity:
    """
    Return what is known about which pixels of a mask are the object.

    SAM 3's masks are white on the object, as fal's are, whose model and fields they are. Smart Segmentation's polarity
    is not documented, so it is looked at, unless the operator has settled it. Whoever asks for the background wants a
    mask that looks inverted.
    """
    if deployment.model != SMART:
        return Polarity.WHITE
    option = deployment.options.get("polarity", "auto")
    if option != "auto":
        return Polarity.WHITE if option == "white" else Polarity.BLACK
    words = question.prompt.text.lower().split() if isinstance(question.prompt, TextPrompt) else []
    return Polarity.WHITE if any(word.startswith(_SURROUNDINGS) for word in words) else Polarity.UNSAID


def to_found(runs: Sequence[Run]) -> Found:
    """
    Return what the runs of one attempt say about its charge.

    Only runs that succeeded are debited, so any other is billed just where its record names a cost.
    """
    if not runs:
        return Found(Fate.ABSENT)
    upstream_ref = runs[0].id
    if any(run.status is RunStatus.PENDING for run in runs):
        return Found(Fate.UNKNOWN, upstream_ref=upstream_ref)
    billed = [run for run in runs if run.status in DEBITED or (run.cost is not None and run.cost > NOTHING)]
    if not billed:
        return Found(Fate.NOT_CHARGED, upstream_ref=upstream_ref)
    costs = [run.cost for run in billed if run.cost is not None]
    cost = sum(costs, NOTHING) if len(costs) == len(billed) else None
    return Found(Fate.CHARGED, cost, billed[0].id, sum(run.seconds for run in billed))


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
    return error_for_status("Runflow", reply.status, text, statuses=STATUSES, retry_after_seconds=retry_after_seconds)


def to_failure(run: Run, *, hide: Iterable[str] = ()) -> ProviderError:
    """
    Return the error that a failed or cancelled run stands for. Runflow bills neither.

    Source: https://docs.runflow.io/concepts/pricing ("only successful runs are debited"), read 2026-11-20.
    """
    charged = run.cost is not None and run.cost > NOTHING  # against the documents, and all the same on the record
    error = _failure(run, hide, may_have_charged=charged)
    if charged:
        error.usage = Usage(seconds=run.seconds, reported=run.cost, upstream_ref=run.id)
    return error


def _failure(run: Run, hide: Iterable[str], *, may_have_charged: bool) -> ProviderError:
    if run.status is RunStatus.CANCELLED:
        return ProviderFailed("Runflow's run was cancelled", upstream_ref=run.id, may_have_charged=may_have_charged)
    failure = run.failure
    parts = (failure.code, failure.stage, failure.message) if failure is not None else ()
    text = quoted(": ".join(part for part in parts if part), hide=hide) or "no reason given"
    code = (failure.code or "").upper() if failure is not None else ""
    kind = ProviderRefused if "VALIDATION" in code or "INVALID_INPUT" in code else ProviderFailed
    return kind(f"Runflow's run failed: {text}", upstream_ref=run.id, may_have_charged=may_have_charged)
