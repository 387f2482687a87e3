"""
Where a pixel of the upright picture lies in the fitted one, and back. Pure, in whole numbers.

A fitted picture is the upright one, scaled and then padded at its right and its bottom. So both origins are the same
corner, and each axis is one fraction: `content / source`. Pixel x covers x to x + 1, and its centre is x + 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

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

Sides = tuple[int, int]
"""`(width, height)` in pixels."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How one picture was brought to another size. All sides are `(width, height)` in pixels."""

    source: Sides
    """The upright picture."""
    content: Sides
    """What the whole of it became: the same, smaller, or each side the same whole number of times as long."""
    canvas: Sides
    """The fitted picture: the content, and what was added at its right and its bottom."""

    @property
    def size(self) -> tuple[int, int]:
        """`(height, width)` of the upright picture, the order of masks."""
        return self.source[1], self.source[0]

    @property
    def scaled(self) -> bool:
        """Whether a pixel is no longer a pixel."""
        return self.source != self.content

    @property
    def blocks(self) -> int:
        """How many pixels of the fitted picture one pixel is wide and high; 1 where it was not scaled up."""
        return max(1, self.content[0] // self.source[0])

    @property
    def padded(self) -> bool:
        """Whether the fitted picture is larger than what it shows."""
        return self.content != self.canvas

    @property
    def factor(self) -> float:
        """How long a side is now, as a share of what it was; of the longer side, which rounding changes least."""
        longer = 0 if self.source[0] >= self.source[1] else 1
        return self.content[longer] / self.source[longer]

    def point(self, point: Point) -> Point:
        """Return the fitted pixel that holds the centre of *point*."""
        x, y = (_holding(place, *axis) for place, axis in zip((point.x, point.y), self._axes(), strict=True))
        return Point(x, y, point.positive)

    def box(self, box: Box) -> Box:
        """Return the smallest box of whole fitted pixels around *box*; it has at least one."""
        (from_x, to_x), (from_y, to_y) = self._axes()
        return Box(
            box.x_min * to_x // from_x,
            box.y_min * to_y // from_y,
            min(to_x, -(-box.x_max * to_x // from_x)),
            min(to_y, -(-box.y_max * to_y // from_y)),
        )

    def prompt(self, prompt: Prompt) -> Prompt:
        """Return *prompt* in the fitted picture's coordinates."""
        match prompt:
            case TextPrompt() | AutomaticPrompt():
                return prompt
            case ObjectPrompt(points, box):
                return ObjectPrompt(tuple(map(self.point, points)), None if box is None else self.box(box))
            case ExemplarsPrompt(boxes, text):
                return ExemplarsPrompt(tuple(ExemplarBox(self.box(each.box), each.positive) for each in boxes), text)
            case _:
                assert_never(prompt)

    def _axes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return how long each axis was and is."""
        return (self.source[0], self.content[0]), (self.source[1], self.content[1])


def _holding(place: int, before: int, after: int) -> int:
    """Return the pixel that holds the centre of the pixel *place* once *before* pixels have become *after*."""
    return min(after - 1, (2 * place + 1) * after // (2 * before))
