"""How commands print: JSON for programs, tables for people. Facts go to stdout, what is said of them to stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def print_json(document: Any) -> None:
    """Print one JSON document on one line."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """
    Print a table, or only its heading where there are no rows.

    Args:
        columns: headings.
        rows: as many cells as there are columns in each.
        right: the columns whose cells are figures.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        figures = column in right
        table.add_column(column, justify="right" if figures else "left", overflow="fold", no_wrap=figures or place == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # A pipe has no width of its own: there nothing is folded.
    Console(width=None if sys.stdout.isatty() else 1000).print(table)


def dollars(microusd: int) -> str:
    """Write micro-dollars as dollars, exactly."""
    from providers.contract import Money

    return f"${Money(microusd).usd}"
