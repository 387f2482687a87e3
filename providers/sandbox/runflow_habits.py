"""
What the documents leave open about Runflow: each reading of it can be switched to.

None of these readings has been recorded from the service: all are invented but for two of which docs.runflow.io says
two things (read 2026-11-20): the body of the balance (api-reference, concepts/pricing) and when a callback is tried
again. models/meta/sam-3/image has three attempts with 1 s and 2 s between them, on 5xx and network errors only;
concepts/callbacks has an "exponential schedule" on anything but a 2xx, whose five attempts are invented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from providers.sandbox.faults.fields import Field, choice, flag, measure, read_fields


class Variant(StrEnum):
    """Where the masks of an output stand."""

    MODEL_DATA = "a"
    """`outputs` is the preview; `model_data` holds image, masks, metadata, scores and boxes."""
    OUTPUTS_WITH_PREVIEW = "b"
    """`outputs` is the preview and then the masks; `model_data` holds metadata, scores and boxes."""
    OUTPUTS_ONLY = "c"
    """`outputs` is the masks, and there is nothing else."""
    LEGACY = "d"
    """The output is fal's own, flat."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How outputs are written."""

    variant: Variant = Variant.MODEL_DATA
    json_strings: bool = False
    """Whether the model's own fields are JSON text instead of JSON, as the older pages type them."""


_PAUSES: Mapping[str, tuple[float, ...]] = {"model_page": (1.0, 2.0), "concepts": (1.0, 2.0, 4.0, 8.0)}


@dataclass(frozen=True, slots=True)
class Habits:
    """How one region behaves where its documents are silent."""

    smart_format: str = "png"
    """In what format Smart Segmentation writes its mask: `png` or `webp`."""
    smart_masks: str = "each"
    """Whether Smart Segmentation brings all that is named in `one` mask, or `each` thing in its own."""
    smart_polarity: str = "normal"
    """`normal`: white is what was asked for; `inverted`: black is."""
    smart_extensions: bool = True
    """Whether Smart Segmentation refuses an `image_url` that does not end in a picture's extension."""
    balance: str = "decimal"
    """How the balance is told: `decimal` dollars as a string, or whole `cents`."""
    callback_retries: str = "model_page"
    """By which document callbacks are tried again: `model_page` or `concepts`."""
    callback_pace: float = 1.0
    """What the pauses between those attempts are multiplied by: below 1 for the impatient."""

    @property
    def callback_pauses(self) -> tuple[float, ...]:
        """Seconds between the attempts to deliver a callback."""
        return tuple(pause * self.callback_pace for pause in _PAUSES[self.callback_retries])

    def callback_is_final(self, status: int | None) -> bool:
        """Say whether an answer of *status*, or None where none came, ends the attempts."""
        if self.callback_retries == "concepts":
            return status is not None and 200 <= status < 300
        return status is not None and status < 500


FIELDS: Mapping[str, Field] = {
    "smart_format": choice("format of Smart Segmentation's mask", "png", "webp"),
    "smart_masks": choice("whether all that is named comes in one mask, or each thing in its own", "each", "one"),
    "smart_polarity": choice("whether white or black is what was asked for", "normal", "inverted"),
    "smart_extensions": Field(
        flag, "whether image_url has to end in a picture's extension (default true)", required=False, default=True
    ),
    "balance": choice("how the balance is told", "decimal", "cents"),
    "callback_retries": choice("by which document callbacks are tried again", "model_page", "concepts"),
    "callback_pace": measure("what the pauses between those attempts are multiplied by", least=0, most=10, default=1),
}


def read_habits(value: Mapping[str, Any]) -> Habits:
    """
    Read habits; those that are not named are the usual ones.

    Raises:
        ValueError: naming the field and what it has to be.
    """
    return Habits(**read_fields(value, FIELDS))
