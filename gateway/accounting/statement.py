"""
A provider's statement: a CSV file with one row for each call that it has billed. Read whole or refused whole. Pure.

The first row names the columns. Three are read, under the names that providers give them or under those that the
operator says; others are passed over.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from providers.contract import NOTHING, Money

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_REF = 256
_MOST_PROBLEMS = 20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


class Column(StrEnum):
    """What is read from each row."""

    ID = "id"
    """The provider's name for the call."""
    TIME = "time"
    """When it was billed, with its zone."""
    AMOUNT = "amount"
    """Decimal dollars."""


#: How providers name the columns, in small letters, with spaces where they have lines.
ALIASES: Mapping[Column, frozenset[str]] = {
    Column.ID: frozenset({"id", "provider id", "job", "job id", "run", "run id"}),
    Column.TIME: frozenset({"time", "timestamp", "created", "created at", "billed at"}),
    Column.AMOUNT: frozenset({"amount", "amount usd", "usd", "cost", "cost usd", "price", "price usd"}),
}


@dataclass(frozen=True, slots=True)
class Billed:
    """One call that the provider has billed."""

    line: int
    """Where it stands in the file, from 1."""
    ref: str
    """The provider's name for the call."""
    at: int
    """Microseconds since 1970, UTC."""
    cost: Money


class StatementRefused(Exception):
    """A statement that cannot be read as it is. Nothing of it is used."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Say what is wrong in which line."""
        shown = list(problems[:_MOST_PROBLEMS])
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        super().__init__("; ".join(shown))
        self.problems = tuple(problems)


def read_statement(lines: Iterable[str], names: Mapping[Column, str] | None = None) -> tuple[Billed, ...]:
    """
    Read a statement.

    Args:
        lines: of the file, with their ends.
        names: the columns' names in this file, where they are none of the `ALIASES`.

    Raises:
        StatementRefused: naming every line that cannot be read, or that repeats an id.
    """
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        places = _places(header, names or {})
        problems: list[str] = []
        read: dict[str, Billed] = {}
        for cells in reader:
            if cells:
                _read_row(cells, reader.line_num, places, len(header), read, problems)
    except csv.Error as error:
        raise StatementRefused([f"line {reader.line_num}: not CSV: {error}"]) from error
    if problems:
        raise StatementRefused(problems)
    return tuple(read.values())


def read_moment(text: str) -> int:
    """
    Return a moment in ISO 8601 with its zone in microseconds since 1970, UTC.

    >>> read_moment("1970-01-01T01:00:00.000001+01:00")
    1

    Raises:
        ValueError: it is none, or has no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"not a moment in ISO 8601: {text!r}; write 2026-04-05T12:30:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"a moment without its zone: {text!r}; add Z, or an offset such as +02:00")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _places(header: Sequence[str], names: Mapping[Column, str]) -> dict[Column, int]:
    """Find the three columns."""
    plain = [_plain(cell.removeprefix("\ufeff")) for cell in header]
    found: dict[Column, int] = {}
    problems = []
    for column in Column:
        wanted = {_plain(names[column])} if column in names else ALIASES[column]
        here = [place for place, name in enumerate(plain) if name in wanted]
        if len(here) == 1:
            found[column] = here[0]
            continue
        told = "more than one column" if here else "no column"
        problems.append(
            f"line 1: {told} for the {column}; say which with --column {column}=NAME, of {', '.join(plain)}"
        )
    if problems:
        raise StatementRefused(problems)
    if len(set(found.values())) < len(found):
        raise StatementRefused(["line 1: one column is named for two meanings; each needs its own"])
    return found


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.strip().lower()))


def _read_row(
    cells: Sequence[str],
    line: int,
    places: Mapping[Column, int],
    width: int,
    read: dict[str, Billed],
    problems: list[str],
) -> None:
    """Add a row to what is read, or what is wrong with it to the problems."""
    if len(cells) != width:
        problems.append(f"line {line}: {len(cells)} cells under {width} columns")
        return
    values = {column: cells[place].strip() for column, place in places.items()}
    try:
        ref = _ref(values[Column.ID])
        billed = Billed(line, ref, read_moment(values[Column.TIME]), _cost(values[Column.AMOUNT]))
    except ValueError as error:
        problems.append(f"line {line}: {error}")
        return
    if ref in read:
        problems.append(f"line {line}: the id {ref!r} stands in line {read[ref].line} already; a call has one row")
        return
    read[ref] = billed


def _ref(text: str) -> str:
    if not text:
        raise ValueError("no id; every row names its call")
    if len(text) > _LONGEST_REF or not text.isprintable():
        raise ValueError(f"an id of at most {_LONGEST_REF} printable characters, got {text[:40]!r}")
    return text


def _cost(text: str) -> Money:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"not a decimal number of dollars: {text!r}; write it without a currency, as 0.005")
    cost = Money.from_usd(text)
    if cost < NOTHING:
        raise ValueError(f"an amount below zero: {text}; take a credit off the row of the call that it is for")
    return cost
