"""Usage reports as values, read out of the API's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from providers.contract import Money


@dataclass(frozen=True, slots=True)
class UsageTally:
    """Numbers of attempts, and money."""

    attempts: int
    settled: int
    released: int
    held: int
    open: int
    charged: Money
    """Owed, for what is settled."""
    cost: Money
    """What the providers are owed for it."""
    held_amount: Money
    """The most that may still be owed for what is held."""
    open_amount: Money
    """Reserved for attempts that have not ended."""


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One line of a report."""

    group: Mapping[str, str | None]
    """What the report is divided by, and the value here."""
    tally: UsageTally


@dataclass(frozen=True, slots=True)
class Usage:
    """What was spent."""

    lines: tuple[UsageLine, ...]
    total: UsageTally
    document: Mapping[str, Any] = field(repr=False)
    """The report as it came."""
    next_cursor: str | None = None
    """What leads to the next page of lines; None on the last one."""


def read_usage(document: Mapping[str, Any]) -> Usage:
    """
    Read a report's JSON.

    Raises:
        KeyError, TypeError, ValueError: it is not a report of this API.
    """
    lines = tuple(UsageLine(line["group"], _read_tally(line)) for line in document["lines"])
    return Usage(lines, _read_tally(document["total"]), document, document.get("next_cursor"))


def joined(pages: Sequence[Usage]) -> Usage:
    """Return one report of all lines of its pages; the sum is that of the last one."""
    last = pages[-1]
    lines = [line for page in pages for line in page.document["lines"]]
    return Usage(tuple(line for page in pages for line in page.lines), last.total, {**last.document, "lines": lines})


def _read_tally(document: Mapping[str, Any]) -> UsageTally:
    return UsageTally(
        attempts=document["attempts"],
        settled=document["settled"],
        released=document["released"],
        held=document["held"],
        open=document["open"],
        charged=Money(document["charged_microusd"]),
        cost=Money(document["cost_microusd"]),
        held_amount=Money(document["held_microusd"]),
        open_amount=Money(document["open_microusd"]),
    )
