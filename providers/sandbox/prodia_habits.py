"""
What the documents leave open about Prodia: each reading of it can be switched to.

Source: docs.prodia.com reference/async (only permitted types may be used asynchronously; which these are is not said,
so that a ping is one and segmentation is none is invented); Prodia's own client (429 for a job of no or an unknown
type, and that it is to become 400); read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from providers.sandbox.faults.fields import Field, choice, read_fields
from providers.sandbox.prodia_job import PING, TYPES


@dataclass(frozen=True, slots=True)
class ProdiaHabits:
    """How Prodia behaves where its documents are silent."""

    async_types: tuple[str, ...] = (PING,)
    """The types of job that may be done asynchronously."""
    unknown_type: str = "429"
    """Status of the answer to a job of no or an unknown type: `429`, or `400` with the reason."""


def _types(value: Any) -> tuple[str, ...]:
    """Read a list of types."""
    if not isinstance(value, list) or not all(name in TYPES for name in value):
        raise ValueError(f"a list of {', '.join(TYPES)}")
    return tuple(value)


FIELDS: Mapping[str, Field] = {
    "async_types": Field(_types, "types that may be done asynchronously", required=False, default=(PING,)),
    "unknown_type": choice("status for a job of no or an unknown type", "429", "400"),
}


def read_prodia_habits(value: Mapping[str, Any]) -> ProdiaHabits:
    """
    Read habits; those that are not named are the usual ones.

    Raises:
        ValueError: naming the field and what it has to be.
    """
    return ProdiaHabits(**read_fields(value, FIELDS))
