"""Faults of a service that answers a job in multipart: Prodia."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from providers.sandbox.faults.fields import Field, one_of, text, whole
from providers.sandbox.faults.rules import INVENTED, PRODIA, Kind, Rule, Stage


class PartsForm(StrEnum):
    """How the parts of a reply can differ."""

    REVERSED = "reversed"
    """The outputs before the job."""
    DUPLICATE_NAMES = "duplicate_names"
    """All outputs have one file name."""
    FOREGROUND = "foreground"
    """The outputs are named `mask` and `foreground` in turn instead of `output`."""
    NO_FILENAME = "no_filename"
    """No part has a file name."""
    THOUSAND = "thousand"
    """A thousand outputs."""
    JOB_ONLY = "job_only"
    """No output at all, although something was found."""
    NONE = "none"
    """No part at all, only the closing delimiter."""


_REFERENCE = "docs.prodia.com reference/price (when the job has one)"


def _rule(
    stage: Stage, means: str, fields: Mapping[str, Field] | None = None, source: str = INVENTED, *, billed: bool = True
) -> Rule:
    """Return the rule of a fault that Prodia alone has."""
    return Rule(stage, means, fields or {}, providers=PRODIA, source=source, billed=billed)


def _bytes(default: int, means: str) -> Field:
    """Return a field that takes a number of bytes."""
    return Field(whole(1, 50_000_000), f"{means} (default {default})", required=False, default=default)


RULES: Mapping[Kind, Rule] = {
    Kind.BAD_MULTIPART: _rule(
        Stage.SPOIL,
        "Processes and bills; the multipart answer has no closing delimiter.",
    ),
    Kind.PARTS: _rule(
        Stage.WITHIN,
        "Processes and bills; the parts of the reply are others.",
        {"form": Field(one_of(*PartsForm), f"one of {', '.join(PartsForm)}")},
        "what Prodia's own client accepts, and reports of its users (foreground); the rest is invented",
    ),
    Kind.STATE_FAILED: _rule(
        Stage.WITHIN,
        "Answers 200 with a job whose state is failed, and nothing found; nothing is billed.",
        {"message": Field(text(10_000), "its error", required=False, default="inference failed")},
        "docs.prodia.com reference/async (the state); on 200 it is invented",
        billed=False,
    ),
    Kind.NO_PRICE: _rule(Stage.WITHIN, "Processes and bills; the job names no price though asked.", None, _REFERENCE),
    Kind.NO_METRICS: _rule(Stage.WITHIN, "Processes and bills; the job has no metrics.", None, _REFERENCE),
    Kind.PREAMBLE: _rule(
        Stage.SPOIL,
        "Processes and bills; text stands before the first delimiter and after the last.",
        {"bytes": _bytes(1_000_000, "how much of it, in bytes, on either side")},
        "RFC 2046, section 5.1.1 (it is to be ignored)",
    ),
    Kind.MANY_HEADERS: _rule(
        Stage.SPOIL,
        "Processes and bills; the first part has so many headers.",
        {"count": Field(whole(1, 100_000), "how many (default 10000)", required=False, default=10_000)},
    ),
    Kind.NO_BOUNDARY: _rule(Stage.SPOIL, "Processes and bills; the content type names no boundary."),
    Kind.WRONG_BOUNDARY: _rule(Stage.SPOIL, "Processes and bills; the content type names another boundary."),
    Kind.RAW_PNG: _rule(
        Stage.WITHIN,
        "Processes and bills; the reply is the first mask itself, whatever was accepted.",
        None,
        "clients of the service that ask for image/png",
    ),
    Kind.JSON_REPLY: _rule(
        Stage.WITHIN,
        "Processes and bills; the reply is the job alone, as JSON, whatever was accepted.",
        None,
        "Prodia's own client, version 1.4.0 (it had code for such replies)",
    ),
}
