"""A checked body and a checked picture become one request (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from gateway.intake.body import (
    AutomaticBody,
    BoxBody,
    ExemplarsBody,
    ObjectBody,
    PointBody,
    PromptBody,
    RouteBody,
    SegmentationBody,
    TextBody,
)
from gateway.problems import InvalidRequest
from gateway.request import CacheWish, Caller, Output, Route, SegmentationRequest, TenantPolicy
from providers.contract import (
    AutomaticPrompt,
    Box,
    Deadline,
    ExemplarBox,
    ExemplarsPrompt,
    Money,
    ObjectPrompt,
    Picture,
    Point,
    Prompt,
    Question,
    TextPrompt,
)


def normalize(
    body: SegmentationBody, picture: Picture, *, request_id: str, caller: Caller, deadline: Deadline
) -> SegmentationRequest:
    """
    Bring a request into the one form that everything after it reads.

    Raises:
        InvalidRequest: a point or a box lies outside of the picture.
    """
    prompts = _prompts(body)
    if caller.policy.share_cache:
        # An answer that others will read is bought for the very bytes that it is named by: a provider that fetched the
        # address itself could be given another picture there. So it is not told the address, and gets the bytes.
        picture = replace(picture, url=None)
    return SegmentationRequest(
        id=request_id,
        caller=caller,
        picture=picture,
        questions=tuple(
            Question(picture, _prompt(prompt, picture, field), body.max_masks, body.min_score, caller.tenant)
            for field, prompt in prompts
        ),
        fields=tuple(field for field, _ in prompts),
        route=_route(body.route, caller.policy),
        cache=CacheWish(body.cache.mode, body.cache.ttl_seconds),
        output=Output(body.output.masks, body.output.overlay),
        deadline=deadline,
        fit=body.fit,
        explain=body.explain,
        tags=tuple(sorted(body.tags.items())),
        metadata=body.metadata,
    )


def _prompts(body: SegmentationBody) -> list[tuple[str, PromptBody]]:
    """Return the prompts, each with the path of its field."""
    if body.prompt is not None:
        return [("prompt", TextBody(kind="text", text=body.prompt))]
    return [(f"prompts[{index}]", prompt) for index, prompt in enumerate(body.prompts or [])]


def _prompt(body: PromptBody, picture: Picture, field: str) -> Prompt:
    match body:
        case TextBody():
            return TextPrompt(body.text)
        case ObjectBody():
            return ObjectPrompt(
                points=tuple(
                    _point(point, picture, f"{field}.points[{index}]") for index, point in enumerate(body.points)
                ),
                box=None if body.box is None else _box(body.box, picture, f"{field}.box"),
            )
        case ExemplarsBody():
            return ExemplarsPrompt(
                boxes=tuple(
                    ExemplarBox(_box(box, picture, f"{field}.boxes[{index}]"), box.positive)
                    for index, box in enumerate(body.boxes)
                ),
                text=body.text,
            )
        case AutomaticBody():
            return AutomaticPrompt()
        case _:
            assert_never(body)


def _point(body: PointBody, picture: Picture, field: str) -> Point:
    if body.x >= picture.width or body.y >= picture.height:
        raise InvalidRequest(
            f"the point ({body.x}, {body.y}) lies outside of the picture, which is {_size(picture)}; "
            "coordinates are pixels of the upright picture, origin top-left, starting at 0",
            field=field,
        )
    return Point(body.x, body.y, body.positive)


def _box(body: BoxBody, picture: Picture, field: str) -> Box:
    if body.x_max > picture.width or body.y_max > picture.height:
        raise InvalidRequest(
            f"the box ({body.x_min}, {body.y_min}) to ({body.x_max}, {body.y_max}) reaches outside of the picture, "
            f"which is {_size(picture)}; coordinates are pixels of the upright picture, origin top-left",
            field=field,
        )
    return Box(body.x_min, body.y_min, body.x_max, body.y_max)


def _size(picture: Picture) -> str:
    return f"{picture.width} wide and {picture.height} high"


def _route(body: RouteBody, policy: TenantPolicy) -> Route:
    return Route(
        strategy=policy.strategy if body.strategy is None else body.strategy,
        deployments=_names(body.deployments),
        providers=_names(body.providers),
        regions=_names(body.regions),
        max_charge=None if body.max_charge_usd is None else Money.from_usd(body.max_charge_usd),
        max_attempts=body.max_attempts,
        hedge_after=policy.hedge_after if body.hedge_after_seconds is None else body.hedge_after_seconds,
    )


def _names(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
