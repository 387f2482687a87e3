"""
What a caller says to find: four kinds, each exactly one thing.

Why exemplars and objects are apart although both hold boxes: "this one thing" and "things like these" sent in one
field is the commonest silent error of segmentation APIs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PromptKind(StrEnum):
    """The four kinds of prompt."""

    TEXT = "text"
    OBJECT = "object"
    EXEMPLARS = "exemplars"
    AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True)
class Point:
    """A pixel of the upright picture, on the thing (*positive*) or off it."""

    x: int
    y: int
    positive: bool = True


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open rectangle of pixels: `x_min <= x < x_max`, `y_min <= y < y_max`, origin top-left."""

    x_min: int
    y_min: int
    x_max: int
    y_max: int

    @property
    def area(self) -> int:
        """Its area in pixels."""
        return (self.x_max - self.x_min) * (self.y_max - self.y_min)


@dataclass(frozen=True, slots=True)
class ExemplarBox:
    """A box around one example, of what to find (*positive*) or of what not to."""

    box: Box
    positive: bool = True


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """Every instance of what the phrase names."""

    text: str
    kind: PromptKind = PromptKind.TEXT


@dataclass(frozen=True, slots=True)
class ObjectPrompt:
    """This one thing: under the points, in the box, or both. At least one of them is given."""

    points: tuple[Point, ...] = ()
    box: Box | None = None
    kind: PromptKind = PromptKind.OBJECT


@dataclass(frozen=True, slots=True)
class ExemplarsPrompt:
    """Everything that looks like these."""

    boxes: tuple[ExemplarBox, ...]
    text: str | None = None
    kind: PromptKind = PromptKind.EXEMPLARS


@dataclass(frozen=True, slots=True)
class AutomaticPrompt:
    """Everything there is."""

    kind: PromptKind = PromptKind.AUTOMATIC


Prompt = TextPrompt | ObjectPrompt | ExemplarsPrompt | AutomaticPrompt
