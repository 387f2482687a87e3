"""A checked body and a checked picture become one request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.body import SegmentationBody
from gateway.intake.normalize import normalize
from gateway.problems import InvalidRequest
from gateway.request import (
    CacheMode,
    CacheWish,
    Caller,
    Learned,
    MaskEncoding,
    Output,
    Route,
    SegmentationRequest,
    Strategy,
    TenantPolicy,
)
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
    TextPrompt,
)

PICTURE = Picture(b"file", "image/png", width=100, height=60, digest="blake3:0")
DEADLINE = Deadline.after(30, lambda: 0.0)


def normalized(**fields: Any) -> SegmentationRequest:
    """Normalize a body of these fields about a picture that is 100 wide and 60 high."""
    body = SegmentationBody.model_validate_json(json.dumps({"image": {"url": "https://example.com/a.png"}, **fields}))
    return normalize(body, PICTURE, request_id="seg_1", caller=Caller("acme", "key_1"), deadline=DEADLINE)


def box(x_min: int, y_min: int, x_max: int, y_max: int, **more: Any) -> dict[str, Any]:
    """Return a box as JSON."""
    return {"x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max, **more}


@pytest.mark.parametrize(
    ("body", "prompt"),
    [
        ({"kind": "text", "text": " left shoe "}, TextPrompt("left shoe")),
        (
            {"kind": "object", "points": [{"x": 3, "y": 4}, {"x": 5, "y": 6, "positive": False}]},
            ObjectPrompt((Point(3, 4), Point(5, 6, positive=False))),
        ),
        ({"kind": "object", "box": box(1, 2, 3, 4)}, ObjectPrompt(box=Box(1, 2, 3, 4))),
        (
            {"kind": "object", "box": box(1, 2, 3, 4), "points": [{"x": 2, "y": 2, "positive": False}]},
            ObjectPrompt((Point(2, 2, positive=False),), Box(1, 2, 3, 4)),
        ),
        (
            {"kind": "exemplars", "boxes": [box(1, 2, 3, 4), box(5, 6, 7, 8, positive=False)], "text": "shoe"},
            ExemplarsPrompt((ExemplarBox(Box(1, 2, 3, 4)), ExemplarBox(Box(5, 6, 7, 8), positive=False)), "shoe"),
        ),
        ({"kind": "automatic"}, AutomaticPrompt()),
    ],
)
def test_every_kind_of_prompt_becomes_its_value(body: dict[str, Any], prompt: Prompt) -> None:
    """What the caller wrote is what the question holds, with the place of its field."""
    request = normalized(prompts=[{"kind": "automatic"}, body])
    assert prompt == request.questions[1].prompt
    assert ("prompts[0]", "prompts[1]") == request.fields


def test_the_short_form_is_one_text_prompt() -> None:
    """`prompt` becomes a text prompt whose problems are of the field `prompt`."""
    request = normalized(prompt="left shoe")
    assert (TextPrompt("left shoe"), ("prompt",)) == (request.questions[0].prompt, request.fields)


def test_all_that_was_wished_is_in_the_request() -> None:
    """Route, cache, output, tags and metadata arrive in their typed form; tags are in one order."""
    request = normalized(
        prompt="x",
        max_masks=3,
        min_score=0.25,
        output={"masks": "png", "overlay": True},
        route={
            "strategy": "priority",
            "deployments": ["a", "b"],
            "providers": None,
            "regions": ["eu"],
            "max_charge_usd": "0.02",
            "max_attempts": 2,
            "hedge_after_seconds": "p95",
        },
        explain=True,
        cache={"mode": "refresh", "ttl_seconds": 60},
        tags={"b": "2", "a": "1"},
        metadata={"order": 7},
    )
    assert Output(MaskEncoding.PNG, overlay=True) == request.output
    assert CacheWish(CacheMode.REFRESH, 60) == request.cache
    assert (("a", "1"), ("b", "2")) == request.tags
    assert {"order": 7} == request.metadata
    assert (3, 0.25, PICTURE) == (
        request.questions[0].max_masks,
        request.questions[0].min_score,
        request.questions[0].picture,
    )
    places = frozenset({"a", "b"}), None, frozenset({"eu"})
    assert Route(Strategy.PRIORITY, *places, Money(20_000), 2, Learned.P95) == request.route
    assert request.explain
    assert ("seg_1", Caller("acme", "key_1"), DEADLINE) == (request.id, request.caller, request.deadline)


def test_without_wishes_the_defaults_hold() -> None:
    """A body of a picture and a phrase asks for ten masks as RLE, from the cheapest, from the cache where it can."""
    request = normalized(prompt="x")
    assert (10, None) == (request.questions[0].max_masks, request.questions[0].min_score)
    assert (Route(), CacheWish(), Output(), (), {}) == (
        request.route,
        request.cache,
        request.output,
        request.tags,
        request.metadata,
    )


def test_what_a_request_leaves_open_is_as_the_operator_has_set_it_for_the_tenant() -> None:
    """The tenant's strategy and hedging hold for a request that names none, and give way to one that does."""
    caller = Caller("acme", "key_1", policy=TenantPolicy(strategy=Strategy.FASTEST, hedge_after=0.5))
    for route, wished in (
        ({}, (Strategy.FASTEST, 0.5)),
        ({"strategy": None, "hedge_after_seconds": None}, (Strategy.FASTEST, 0.5)),
        ({"strategy": "cheapest", "hedge_after_seconds": 2}, (Strategy.CHEAPEST, 2.0)),
    ):
        body = {"image": {"url": "https://example.com/a.png"}, "prompt": "x", "route": route}
        read = SegmentationBody.model_validate_json(json.dumps(body))
        request = normalize(read, PICTURE, request_id="seg_1", caller=caller, deadline=DEADLINE)
        assert wished == (request.route.strategy, request.route.hedge_after)
        assert not request.explain


@pytest.mark.parametrize(
    ("prompt", "field", "words"),
    [
        ({"kind": "object", "points": [{"x": 100, "y": 0}]}, ".points[0]", r"\(100, 0\) lies outside"),
        ({"kind": "object", "points": [{"x": 0, "y": 0}, {"x": 0, "y": 60}]}, ".points[1]", r"\(0, 60\) lies outside"),
        ({"kind": "object", "points": [{"x": 59, "y": 99}]}, ".points[0]", "100 wide and 60 high"),
        ({"kind": "object", "box": box(0, 0, 101, 60)}, ".box", r"\(101, 60\) reaches outside"),
        ({"kind": "object", "box": box(0, 0, 100, 61)}, ".box", "100 wide and 60 high"),
        ({"kind": "object", "box": box(500, 500, 600, 600)}, ".box", "origin top-left"),
        ({"kind": "exemplars", "boxes": [box(0, 0, 5, 5), box(0, 0, 1, 61)]}, ".boxes[1]", "reaches outside"),
    ],
)
def test_what_lies_outside_of_the_picture_is_refused_with_its_place(
    prompt: dict[str, Any], field: str, words: str
) -> None:
    """The problem names the point or the box, and the size of the picture."""
    with pytest.raises(InvalidRequest, match=words) as refused:
        normalized(prompts=[{"kind": "automatic"}, prompt])
    assert f"prompts[1]{field}" == refused.value.field


def test_the_picture_s_border_belongs_to_it() -> None:
    """The last pixel may be pointed at, and a box may end where the picture ends, since boxes are half-open."""
    points = [{"x": 99, "y": 59}, {"x": 0, "y": 0}]
    request = normalized(prompts=[{"kind": "object", "points": points, "box": box(0, 0, 100, 60)}])
    assert ObjectPrompt((Point(99, 59), Point(0, 0)), Box(0, 0, 100, 60)) == request.questions[0].prompt


@given(st.integers(0, 150), st.integers(0, 90))
def test_a_point_is_taken_exactly_when_the_picture_has_that_pixel(x: int, y: int) -> None:
    """No pixel of the picture is refused, and nothing else is taken."""
    inside = x < 100 and y < 60
    try:
        request = normalized(prompts=[{"kind": "object", "points": [{"x": x, "y": y}]}])
    except InvalidRequest:
        assert not inside
    else:
        assert inside
        assert ObjectPrompt((Point(x, y),)) == request.questions[0].prompt
