"""
Segmentation without any weights, by OpenCV: good on flat scenes, poor on photographs, the same every time.

- automatic: a few colours are found, connected pixels of one colour are an instance (`colours.py`);
- a box: GrabCut on the box and a margin around it (`cutout.py`);
- points alone: a flood fill in Lab from every positive point (`flood.py`).

Why deterministic without a lock: OpenCV keeps the state of its random numbers per thread (`theRNG`), so the seed that
is set right before a call holds for that call whatever other threads do. How many threads OpenCV itself uses
(`cv2.setNumThreads`) is left to the process; it changes the time a picture takes and not its masks.

Source: https://docs.opencv.org/4.x/d2/de8/group__core__array.html (theRNG, setRNGSeed), read 2026-11; tried with 5.0.0.
"""

from __future__ import annotations

from typing import assert_never

import cv2
import numpy as np
import numpy.typing as npt

from providers.contract import (
    AutomaticPrompt,
    Box,
    Capabilities,
    ExemplarsPrompt,
    Instance,
    Limits,
    ListPrice,
    Mask,
    Model,
    ObjectPrompt,
    Point,
    PriceUnit,
    PromptKind,
    Question,
    TextPrompt,
)
from providers.local.colours import colour_labels
from providers.local.cutout import cut_out
from providers.local.flood import flood
from providers.local.scaling import Pixels, grown, shrunk

_WORK_SIDE = 1024
"""Pixels; pictures with a longer side are worked on at this size."""
_SMALLEST_SHARE = 0.001
"""Of the picture; smaller components are noise."""

#: Ten times what it took at most of a CPU core: 1.0 s, for everything in a picture of 12 megapixels.
LONGEST_SECONDS = 10.0

#: Measured on 41 objects of known masks in real photographs; the README has the table.
WARNING = (
    "The local model `classic` works without learned weights: masks by a box are usable (mean IoU on photographs "
    "0.72), those by points (0.25 to 0.48) and of everything (0.24) mostly are not."
)


class ClassicEngine:
    """The engine `classic`: object prompts by points and by box, and everything there is. It reads no text."""

    @property
    def name(self) -> str:
        """The engine's name, which is its model's."""
        return "classic"

    @property
    def model(self) -> Model:
        """What can be asked of it."""
        return Model(
            name=self.name,
            family="classic",
            capabilities=Capabilities(
                prompt_kinds=frozenset({PromptKind.OBJECT, PromptKind.AUTOMATIC}),
                points=True,
                boxes=True,
                limits=Limits(max_side=16_384),
            ),
            # Its own electricity is its owner's to price; without any price it would take no traffic.
            list_price=ListPrice(usd="0", unit=PriceUnit.SECOND, valid_from="2026-01-01", source="your own machine"),
            longest_seconds=LONGEST_SECONDS,
            last_resort=True,
            warnings=(WARNING,),
        )

    def segment(self, rgb: Pixels, question: Question) -> list[Instance]:
        """
        Answer a question about the picture *rgb*.

        Raises:
            ValueError: the prompt is none of the kinds in `model`.
        """
        match question.prompt:
            case AutomaticPrompt():
                masks = self.automatic(rgb, max_masks=question.max_masks)
            case ObjectPrompt(points=points, box=box):
                masks = [self.from_points(rgb, points) if box is None else self.from_box(rgb, box, points)]
            case TextPrompt() | ExemplarsPrompt():
                raise ValueError(f"classic reads no {question.prompt.kind} prompt; ask by points, by box, or automatic")
            case _:
                assert_never(question.prompt)
        return [Instance(mask, score=None) for mask in masks if mask.area]

    def automatic(self, rgb: Pixels, *, max_masks: int) -> list[Mask]:
        """
        Return the connected areas of about one colour, the largest first.

        Args:
            rgb: `(height, width, 3)`.
            max_masks: how many to return at most.
        """
        labels = colour_labels(shrunk(rgb, _WORK_SIDE))
        smallest = max(1.0, _SMALLEST_SHARE * labels.size)
        found: list[tuple[int, int, int]] = []
        parts: list[npt.NDArray[np.int32]] = []
        for colour in range(int(labels.max()) + 1):
            _, numbered, stats, _ = cv2.connectedComponentsWithStats(
                (labels == colour).astype(np.uint8), connectivity=4
            )
            parts.append(numbered.astype(np.int32, copy=False))
            areas = stats[1:, cv2.CC_STAT_AREA].tolist()
            found.extend((-area, colour, part) for part, area in enumerate(areas, start=1) if area >= smallest)
        size = (rgb.shape[0], rgb.shape[1])
        return [
            Mask.from_bitmap(grown((parts[colour] == part).astype(np.uint8), size))
            for _, colour, part in sorted(found)[:max_masks]
        ]

    def from_box(self, rgb: Pixels, box: Box, points: tuple[Point, ...] = ()) -> Mask:
        """
        Return what stands out in a box from what is around it; nothing outside the box, but near positive points.

        Args:
            rgb: `(height, width, 3)`.
            box: in pixels of the picture; what lies outside the picture is left out.
            points: surely on the object or surely off it; those farther from the box than a quarter of its sides are
                left out.
        """
        return Mask.from_bitmap(cut_out(rgb, box, points))

    def from_points(self, rgb: Pixels, points: tuple[Point, ...]) -> Mask:
        """
        Return the areas of about one colour around the positive points that hold none of the negative ones.

        Args:
            rgb: `(height, width, 3)`.
            points: in pixels of the picture; those outside it are left out. With no positive one the mask is empty.
        """
        height, width = rgb.shape[:2]
        small = shrunk(rgb, _WORK_SIDE)
        across, down = small.shape[1] / width, small.shape[0] / height
        inside = [point for point in points if 0 <= point.x < width and 0 <= point.y < height]
        filled = flood(
            small,
            seeds=[(int(point.x * across), int(point.y * down)) for point in inside if point.positive],
            off=[(int(point.x * across), int(point.y * down)) for point in inside if not point.positive],
        )
        return Mask.from_bitmap(grown(filled, (height, width)))
