"""CSV that a spreadsheet shows and does not run."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

#: What a cell begins with that a spreadsheet takes for a formula. Source: https://owasp.org/www-community/attacks/CSV_Injection
#: The last four are full-width.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

#: Dollars as `Money.usd` writes them: a number, whatever sign it has.
DOLLARS = re.compile(r"-[0-9]+\.[0-9]{6}", re.ASCII)

Cell = str | int | None


def csv_text(rows: Iterable[Sequence[Cell]]) -> str:
    r"""
    Return rows as CSV. None is an empty cell; text that could be a formula gets a `'` before it; amounts stay.

    >>> csv_text([["team", "=1+1", -5, None]])
    "team,'=1+1,-5,\r\n"
    """
    target = io.StringIO()
    csv.writer(target).writerows([_safe(cell) for cell in row] for row in rows)
    return target.getvalue()


def _safe(cell: Cell) -> Cell:
    if isinstance(cell, str) and cell.startswith(FORMULA) and not DOLLARS.fullmatch(cell):
        return f"'{cell}"
    return cell
