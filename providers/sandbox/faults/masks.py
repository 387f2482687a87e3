"""Faults of what is found and of what it costs, the same for every provider."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from providers.sandbox.faults.fields import Field, dollars, one_of, whole
from providers.sandbox.faults.rules import Kind, Rule, Stage, Usual


class MaskForm(StrEnum):
    """How a mask file can differ from an 8-bit grey PNG of 0 and 255 at the size of the picture."""

    BIT_1 = "1bit"
    BIT_2 = "2bit"
    BIT_4 = "4bit"
    BIT_16 = "16bit"
    PALETTE = "palette"
    """White is index 0, black is index 1: only the palette tells them apart."""
    GREY_ALPHA = "grey_alpha"
    """The grey is 255 everywhere, the alpha is the mask."""
    RGBA = "rgba"
    """A cut-out: colours on the object, transparent black elsewhere."""
    JPEG = "jpeg"
    """Lossy, with the ringing that it leaves around edges."""
    WEBP = "webp"
    INVERTED = "inverted"
    ALL_BLACK = "all_black"
    ALL_WHITE = "all_white"
    OTHER_SIZE = "other_size"
    """Half as wide and half as high."""
    TRUNCATED = "truncated"
    BAD_CRC = "bad_crc"
    ZERO_BY_ZERO = "zero_by_zero"
    HUGE_HEADER = "huge_header"
    """A header of 65,535 by 65,535 pixels over a few bytes."""
    SOFT = "soft"
    """Blurred edges, with every value between 0 and 255."""


RULES: Mapping[Kind, Rule] = {
    Kind.BAD_PNG: Rule(
        Stage.SPOIL, "Processes and bills; the pictures in the answer cannot be decoded.", usual=Usual.PICTURES
    ),
    Kind.MASK_FORM: Rule(
        Stage.WITHIN,
        "Processes and bills; the mask files are of another form.",
        {"form": Field(one_of(*MaskForm), f"one of {', '.join(MaskForm)}")},
        usual=Usual.PICTURES,
        source="reports on fal's and Runflow's outputs (rgba, inverted, webp, jpeg); the rest is invented",
    ),
    Kind.TOO_MANY_MASKS: Rule(
        Stage.WITHIN,
        "Processes and bills; brings so many masks, whatever was asked for, each shifted by a pixel more.",
        {"count": Field(whole(1, 1000), "how many (default 33, where 32 is the most)", required=False, default=33)},
    ),
    Kind.DUPLICATE_MASKS: Rule(Stage.WITHIN, "Processes and bills; brings every mask twice."),
    Kind.PRICE: Rule(
        Stage.WITHIN,
        "Processes and bills another price, and says so where the provider names one.",
        {"dollars": Field(dollars, 'dollars as a string, such as "0.12"')},
        source='docs.runflow.io (both "$0.005/image" and "$0.12 per request"); for Prodia invented',
    ),
}
