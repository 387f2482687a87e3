"""Typed values → our JSON: the shapes of `schema.py`, written as plain dicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gateway.accounting.pricing import Price
from gateway.accounting.quote_tokens import QuoteTerms
from gateway.api.problems import attempt_body, problem_body
from gateway.flow import ExplainedAnswer
from gateway.problems import GatewayError
from gateway.purchase import Services
from gateway.quoting import QuotedQuestion
from gateway.render.masks import render
from gateway.render.overlay import UnreadablePicture, overlay_text
from gateway.request import Answer, AttemptReport, MaskEncoding, SegmentationRequest
from gateway.routing.concurrency import ConcurrencyView
from gateway.routing.deployments import Offer
from gateway.routing.explanation import explanation_body
from gateway.routing.health import BreakerState, HealthView
from providers.contract import (
    Capabilities,
    DecodersBusy,
    DecodingFailed,
    DecodingLate,
    Instance,
    Mask,
    Money,
    Picture,
    WorkersBusy,
)

T = TypeVar("T")

Answered = Sequence[Answer | GatewayError]

#: One run takes about as long to write as that many pixels take to be looked at.
RUN_PIXELS = 8

#: How often an overlay touches each pixel of its picture.
OVERLAY_TOUCHES = 10

#: Between two tries for a worker.
PAUSE_SECONDS = 0.02


def image_body(picture: Picture) -> dict[str, Any]:
    """Return the picture's facts."""
    return {
        "width": picture.width,
        "height": picture.height,
        "media_type": picture.given_media_type or picture.media_type,
        "digest": picture.digest,
    }


def charged(answers: Answered) -> int:
    """Return what the request costs its tenant, in micro-dollars."""
    return sum(attempt.charge.microusd for attempt in attempts_of(answers))


def attempts_of(answers: Answered) -> list[AttemptReport]:
    """Return every attempt that was made for these answers, by prompt."""
    return [attempt for answer in answers for attempt in answer.attempts]


async def segmentation_body(
    request: SegmentationRequest,
    answers: Answered,
    services: Services,
    *,
    request_id: str,
    fetch_ms: int,
    total_ms: Callable[[], int],
) -> dict[str, Any]:
    """
    Return the whole answer, its masks in the encoding that was asked for.

    Args:
        request: what was asked.
        answers: one for each question, or its problem.
        services: for its workers.
        request_id: what the header and the log call this call; for the problems of single prompts.
        fetch_ms: what bringing the picture took.
        total_ms: says, at the end, what all of it took.
    """
    attempts = attempts_of(answers)
    body: dict[str, Any] = {
        "id": request.id,
        "object": "segmentation",
        "status": "succeeded" if all(isinstance(answer, Answer) for answer in answers) else "partially_succeeded",
        "image": image_body(request.picture),
        "instances": await _rendered(request, answers, services),
        "answers": [_answer_body(index, answer, request_id, request.picture) for index, answer in enumerate(answers)],
        "attempts": [attempt_body(attempt) for attempt in attempts],
        "cost": _cost_body(answers, attempts),
    }
    if request.output.overlay:
        await _painted(body, request, answers, services)
    body["timing_ms"] = {
        "total": total_ms(),
        "fetch": fetch_ms,
        "upstream": sum(attempt.duration_ms for attempt in attempts),
    }
    body["tags"] = dict(request.tags)
    body["metadata"] = request.metadata
    return body


def _cost_body(answers: Answered, attempts: Sequence[AttemptReport]) -> dict[str, Any]:
    """Return the receipt: what is owed for each attempt, what is held back for it, and what the cache saved."""
    total = charged(answers)
    held = sum(attempt.held.microusd for attempt in attempts)
    saved = sum(answer.saved.microusd for answer in answers if isinstance(answer, Answer))
    return {
        "currency": "USD",
        "charged_microusd": total,
        "charged_usd": Money(total).usd,
        "held_microusd": held,
        "held_usd": Money(held).usd,
        "saved_microusd": saved,
        "saved_usd": Money(saved).usd,
        "items": [
            {
                "attempt_id": attempt.attempt_id,
                "prompt_index": attempt.prompt_index,
                "deployment": attempt.deployment,
                "price_id": attempt.price_id,
                "charged_microusd": attempt.charge.microusd,
                "held_microusd": attempt.held.microusd,
            }
            for attempt in attempts
        ],
    }


async def _rendered(request: SegmentationRequest, answers: Answered, services: Services) -> list[dict[str, Any]]:
    found = [
        (index, instance)
        for index, answer in enumerate(answers)
        if isinstance(answer, Answer)
        for instance in answer.segmentation.instances
    ]
    encoding = request.output.masks
    height, width = request.picture.size
    # Runs are at hand, a matter of microseconds unless they are many; a PNG or a polygon goes through every pixel.
    runs = sum(instance.mask.runs.size for _, instance in found)
    pixels = RUN_PIXELS * runs if encoding in {MaskEncoding.RLE, MaskEncoding.NONE} else height * width * len(found)
    return await _patiently(
        services, lambda: [_instance_body(index, instance, encoding) for index, instance in found], pixels=pixels
    )


async def _patiently(services: Services, work: Callable[[], T], *, pixels: int) -> T:
    """Do work on a worker, and wait for a place: what the answer cost is paid already."""
    while True:
        try:
            return await services.workers.run(work, pixels=pixels)
        except WorkersBusy:
            await services.sleep(PAUSE_SECONDS)


def _instance_body(index: int, instance: Instance, encoding: MaskEncoding) -> dict[str, Any]:
    return {
        "prompt_index": index,
        "score": instance.score,
        "box": _box_body(instance.mask),
        "area": instance.mask.area,
        "label": instance.label,
        "mask": render(instance.mask, encoding),
    }


def _box_body(mask: Mask) -> dict[str, int]:
    box = mask.box
    if box is None:
        raise ValueError("an empty mask is no instance; adapters leave them out")
    return {"x_min": box.x_min, "y_min": box.y_min, "x_max": box.x_max, "y_max": box.y_max}


def _answer_body(index: int, answer: Answer | GatewayError, request_id: str, picture: Picture) -> dict[str, Any]:
    if isinstance(answer, GatewayError):
        return {"prompt_index": index, "error": problem_body(answer, request_id)}
    origin = answer.origin
    body = {
        "prompt_index": index,
        "deployment": origin.deployment,
        "provider": origin.provider,
        "model": origin.model,
        "region": origin.region,
        "cache": answer.cache.value,
        "warnings": [*picture.warnings, *answer.segmentation.warnings],
    }
    if isinstance(answer, ExplainedAnswer):
        body["explanation"] = explanation_body(answer.explanation)
    return body


async def _painted(body: dict[str, Any], request: SegmentationRequest, answers: Answered, services: Services) -> None:
    """
    Put the overlay into the body, or a warning why there is none: the masks are paid for.

    It waits for a decoder process for as long as the request has time.
    """
    masks = [i.mask for answer in answers if isinstance(answer, Answer) for i in answer.segmentation.instances]
    height, width = request.picture.size
    try:
        painted = await services.decoders.run(
            overlay_text,
            request.picture.data,
            masks,
            pixels=height * width * OVERLAY_TOUCHES,
            deadline=request.deadline,
            tenant=request.caller.tenant,
        )
    except (UnreadablePicture, DecodingFailed, DecodingLate, DecodersBusy) as error:
        body["overlay"] = None
        for each in body["answers"]:
            if "warnings" in each:
                each["warnings"].append(f"The masks were not painted over the picture: {error}.")
    else:
        body["overlay"] = painted


def quote_body(
    request: SegmentationRequest,
    quoted: Sequence[QuotedQuestion],
    terms: QuoteTerms,
    *,
    quote_id: str,
    request_id: str,
) -> dict[str, Any]:
    """Return a quote, and the name by which it binds."""
    return {
        "object": "quote",
        "quote_id": quote_id,
        "expires_at": terms.expires,
        "image": image_body(request.picture),
        "questions": [_quoted_body(each, request_id) for each in quoted],
        "most_microusd": terms.most.microusd,
        "most_usd": terms.most.usd,
        "likely_microusd": sum(each.likely.microusd for each in quoted),
    }


def _quoted_body(quoted: QuotedQuestion, request_id: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt_index": quoted.prompt_index,
        "cache": "hit" if quoted.kept else "miss",
        "candidates": [
            {
                "deployment": each.candidate.name,
                "provider": each.candidate.offer.deployment.provider,
                "model": each.candidate.offer.model.name,
                "region": each.candidate.offer.deployment.region,
                "price_id": each.candidate.terms.id,
                "most_microusd": each.most.microusd,
            }
            for each in quoted.candidates
        ],
        "excluded": [
            {"deployment": out.deployment, "reason": out.reason.value, "detail": out.detail}
            for out in quoted.exclusions
        ],
        "explanation": explanation_body(quoted.explanation),
        "most_microusd": quoted.most.microusd,
    }
    if quoted.error is not None:
        body["error"] = problem_body(quoted.error, request_id)
    return body


def deployment_body(offer: Offer, price: Price | None, view: HealthView, places: ConcurrencyView) -> dict[str, Any]:
    """
    Return one deployment. Its endpoint and credential are nobody's business.

    Args:
        offer: the deployment.
        price: the one that holds now.
        view: its health.
        places: how many calls it bears, and how many wait for one of them.
    """
    return {
        "name": offer.name,
        "provider": offer.deployment.provider,
        "model": offer.model.name,
        "family": offer.model.family,
        "region": offer.deployment.region,
        "priority": offer.priority,
        "weight": offer.weight,
        "labels": dict(offer.labels),
        "capabilities": _capabilities_body(offer.model.capabilities),
        "price": None
        if price is None
        else {
            "id": price.id,
            "microusd": price.usd.microusd,
            "unit": price.unit.value,
            "valid_from": price.valid_from,
            "source": price.source,
        },
        "takes_traffic": price is not None and view.state is not BreakerState.OPEN,
        "health": {
            "state": view.state.value,
            "cause": None if view.cause is None else view.cause.value,
            "reason": view.reason,
            "retry_after_seconds": round(view.retry_after_seconds, 3),
            "open_seconds": round(view.open_seconds, 3),
            "openings": view.openings,
            "calls": view.calls,
            "error_rate": round(view.error_rate, 4),
            "slow_rate": round(view.slow_rate, 4),
            "hinted": view.hinted,
        },
        "in_flight": view.in_flight,
        "concurrency": {"limit": places.limit, "maximum": places.maximum, "waiting": places.waiting},
    }


def _capabilities_body(capabilities: Capabilities) -> dict[str, Any]:
    limits = capabilities.limits
    return {
        "prompt_kinds": sorted(kind.value for kind in capabilities.prompt_kinds),
        "points": capabilities.points,
        "boxes": capabilities.boxes,
        "gives_scores": capabilities.gives_scores,
        "max_masks": capabilities.max_masks,
        "limits": {
            "min_side": limits.min_side,
            "max_side": limits.max_side,
            "max_bytes": limits.max_bytes,
            "media_types": sorted(limits.media_types),
            "max_prompt_characters": limits.max_prompt_characters,
        },
    }
