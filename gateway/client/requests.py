"""What a caller asks, written as the API's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from providers.contract import AutomaticPrompt, Box, ExemplarsPrompt, ObjectPrompt, Prompt, TextPrompt


@dataclass(frozen=True, slots=True)
class Options:
    """Everything about a request besides picture and prompts. None leaves it to the gateway."""

    max_masks: int | None = None
    """The most instances for each prompt."""
    min_score: float | None = None
    """In [0, 1]."""
    masks: Literal["rle", "png", "polygon", "none"] = "rle"
    strategy: str | None = None
    deployments: Sequence[str] | None = None
    providers: Sequence[str] | None = None
    regions: Sequence[str] | None = None
    max_charge_usd: str | None = None
    """The most that the whole request may cost: dollars as a decimal string."""
    deadline_seconds: float | None = None
    max_attempts: int | None = None
    cache: Literal["use", "refresh", "skip"] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def request_json(image_url: str | None, prompts: Sequence[Prompt], options: Options) -> dict[str, Any]:
    """
    Return the body of a request.

    Args:
        image_url: where the gateway fetches the picture; None when its bytes go as a part of their own.
        prompts: 1 to 16.
        options: the rest; what is None is left out.
    """
    route = {
        "strategy": options.strategy,
        "deployments": _list(options.deployments),
        "providers": _list(options.providers),
        "regions": _list(options.regions),
        "max_charge_usd": options.max_charge_usd,
        "deadline_seconds": options.deadline_seconds,
        "max_attempts": options.max_attempts,
    }
    return _given(
        {
            "image": {"url": image_url} if image_url is not None else None,
            "prompts": [prompt_json(prompt) for prompt in prompts],
            "max_masks": options.max_masks,
            "min_score": options.min_score,
            "output": {"masks": options.masks},
            "route": _given(route) or None,
            "cache": {"mode": options.cache} if options.cache else None,
            "tags": dict(options.tags) or None,
            "metadata": dict(options.metadata) or None,
        }
    )


def prompt_json(prompt: Prompt) -> dict[str, Any]:
    """Return one prompt as the API has it."""
    match prompt:
        case TextPrompt(text=text):
            return {"kind": "text", "text": text}
        case ObjectPrompt(points=points, box=box):
            return _given(
                {
                    "kind": "object",
                    "points": [{"x": point.x, "y": point.y, "positive": point.positive} for point in points] or None,
                    "box": box_json(box) if box is not None else None,
                }
            )
        case ExemplarsPrompt(boxes=boxes, text=text):
            examples = [{**box_json(example.box), "positive": example.positive} for example in boxes]
            return _given({"kind": "exemplars", "boxes": examples, "text": text})
        case AutomaticPrompt():
            return {"kind": "automatic"}


def box_json(box: Box) -> dict[str, int]:
    """Return a box as the API has it."""
    return {"x_min": box.x_min, "y_min": box.y_min, "x_max": box.x_max, "y_max": box.y_max}


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _list(names: Sequence[str] | None) -> list[str] | None:
    return list(names) if names is not None else None
