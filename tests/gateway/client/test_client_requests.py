"""What holds for requests as the client writes them."""

import orjson

from gateway.client import Options
from gateway.client.requests import request_json
from gateway.intake.body import SegmentationBody
from providers.contract import (
    AutomaticPrompt,
    Box,
    ExemplarBox,
    ExemplarsPrompt,
    ObjectPrompt,
    Point,
    Prompt,
    TextPrompt,
)

PROMPTS: list[Prompt] = [
    TextPrompt("left shoe"),
    ObjectPrompt(points=(Point(3, 4), Point(5, 6, positive=False)), box=Box(1, 2, 30, 40)),
    ExemplarsPrompt((ExemplarBox(Box(0, 0, 5, 5)), ExemplarBox(Box(9, 9, 12, 12), positive=False)), text="shoe"),
    AutomaticPrompt(),
]


def test_all_four_kinds_are_what_the_gateway_reads() -> None:
    """The gateway's own model takes every kind of prompt and every option as the client writes them."""
    options = Options(
        max_masks=3,
        min_score=0.25,
        masks="polygon",
        strategy="priority",
        deployments=("a", "b"),
        providers=("prodia",),
        regions=("eu",),
        max_charge_usd="0.02",
        deadline_seconds=7.5,
        max_attempts=2,
        cache="skip",
        tags={"team": "catalogue"},
        metadata={"order": 7},
    )
    body = SegmentationBody.model_validate_json(
        orjson.dumps(request_json("https://example.com/a.png", PROMPTS, options))
    )
    assert body.prompts is not None
    assert [prompt.kind for prompt in body.prompts] == ["text", "object", "exemplars", "automatic"]
    assert body.prompts[1].model_dump() == {
        "kind": "object",
        "points": [{"x": 3, "y": 4, "positive": True}, {"x": 5, "y": 6, "positive": False}],
        "box": {"x_min": 1, "y_min": 2, "x_max": 30, "y_max": 40},
    }
    assert body.route.deployments == ["a", "b"]
    assert (body.max_masks, body.min_score, body.output.masks, body.cache.mode) == (3, 0.25, "polygon", "skip")
    assert (body.route.max_charge_usd, body.route.deadline_seconds, body.tags) == ("0.02", 7.5, {"team": "catalogue"})


def test_what_is_not_given_is_left_to_the_gateway() -> None:
    """Without options only the prompts and the mask encoding are sent."""
    assert request_json(None, [TextPrompt("cup")], Options()) == {
        "prompts": [{"kind": "text", "text": "cup"}],
        "output": {"masks": "rle"},
    }
