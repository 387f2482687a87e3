"""
What the documents leave open about Runflow: each reading of it can be switched to.

None of these readings has been recorded from the service: all are invented but for the bodies of the balance, of which
docs.runflow.io shows two (api-reference, concepts/pricing; read 2026-11-20).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from providers.sandbox.faults.fields import Field, choice, flag, read_fields


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


@dataclass(frozen=True, slots=True)
class Habits:
    """How one region behaves where its documents are silent."""

    smart_format: str = "png"
    """In what format Smart Segmentation writes its mask: `png` or `webp`."""
    smart_polarity: str = "normal"
    """`normal`: white is what was asked for; `inverted`: black is."""
    smart_extensions: bool = True
    """Whether Smart Segmentation refuses an `image_url` that does not end in a picture's extension."""
    balance: str = "decimal"
    """How the balance is told: `decimal` dollars as a string, or whole `cents`."""


FIELDS: Mapping[str, Field] = {
    "smart_format": choice("format of Smart Segmentation's mask", "png", "webp"),
    "smart_polarity": choice("whether white or black is what was asked for", "normal", "inverted"),
    "smart_extensions": Field(
        flag, "whether image_url has to end in a picture's extension (default true)", required=False, default=True
    ),
    "balance": choice("how the balance is told", "decimal", "cents"),
}


def read_habits(value: Mapping[str, Any]) -> Habits:
    """
    Read habits; those that are not named are the usual ones.

    Raises:
        ValueError: naming the field and what it has to be.
    """
    return Habits(**read_fields(value, FIELDS))
