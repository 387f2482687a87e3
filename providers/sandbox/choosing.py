"""Which objects of a known scene an ask means, and what the classic engine makes of it on any other picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from providers.contract import Box, Mask, ObjectPrompt, Point
from providers.sandbox.scene import Rgb, Scene

_MOST_MASKS = 256
"""The most segments of an unknown picture. Invented."""


class Engine(Protocol):
    """What segments pictures that are no scene: the local classic engine."""

    def automatic(self, rgb: Rgb, *, max_masks: int) -> list[Mask]:
        """Return the segments of a whole picture."""
        ...

    def from_box(self, rgb: Rgb, box: Box, points: tuple[Point, ...] = ()) -> Mask:
        """Return the thing in *box*."""
        ...

    def from_points(self, rgb: Rgb, points: tuple[Point, ...]) -> Mask:
        """Return the thing under *points*."""
        ...


@dataclass(frozen=True, slots=True)
class Ask:
    """What to find: by text, as single objects, everything, or several of these together."""

    text: str = ""
    objects: tuple[ObjectPrompt, ...] = ()
    automatic: bool = False


def chosen(scene: Scene, ask: Ask) -> list[int]:
    """Return the indices of the objects that *ask* names, each once."""
    chosen = list(range(len(scene.objects))) if ask.automatic else list(scene.named(ask.text))
    chosen += [index for prompt in ask.objects if (index := _under(scene, prompt)) is not None]
    return list(dict.fromkeys(chosen))


def _under(scene: Scene, prompt: ObjectPrompt) -> int | None:
    """Return the object that lies under the positive points and fills the box best; None when none does either."""

    def fit(index: int) -> tuple[int, float]:
        mask = scene.objects[index].mask
        hits = sum(1 if point.positive else -1 for point in prompt.points if mask.bitmap[point.y, point.x])
        return hits, _overlap(mask.box, prompt.box)

    height, width = scene.size
    if any(not (0 <= point.x < width and 0 <= point.y < height) for point in prompt.points):
        return None
    best = max(range(len(scene.objects)), key=fit)
    hits, overlap = fit(best)
    wanted = any(point.positive for point in prompt.points)
    return best if (hits > 0 if wanted else overlap > 0) else None


def _overlap(one: Box | None, other: Box | None) -> float:
    """Return the intersection over union of two boxes; 0 where one is missing."""
    if one is None or other is None:
        return 0.0
    width = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    height = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    both = max(0, width) * max(0, height)
    return both / (one.area + other.area - both)


def segments(engine: Engine, rgb: Rgb, ask: Ask) -> list[Mask]:
    """Return the classic engine's segments: all for a text that it cannot read, one for each object."""
    masks = engine.automatic(rgb, max_masks=_MOST_MASKS) if ask.automatic or ask.text.strip() else []
    for prompt in ask.objects:
        if prompt.box is not None:
            masks = [*masks, engine.from_box(rgb, prompt.box, prompt.points)]
        else:
            masks = [*masks, engine.from_points(rgb, prompt.points)]
    return [mask for mask in masks if mask.area]
