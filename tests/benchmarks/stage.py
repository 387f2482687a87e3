"""What every benchmark is given: where to run, how long, and room for files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.processes import Cores
from tests.benchmarks.table import Aim, Row


@dataclass(frozen=True, slots=True)
class Stage:
    """The circumstances of one benchmark."""

    folder: Path
    """Empty, and gone afterwards."""
    kept: Path
    """Outlives the run: what is costly to make."""
    cores: Cores
    rounds: int
    seconds: int
    """One contender's turn."""


@dataclass(frozen=True, slots=True)
class Work:
    """One benchmark: its name in the table, what it compares with and aims at, and the measuring of it."""

    name: str
    aims: tuple[tuple[str, Aim], ...]
    measure: Callable[[Stage], list[Row]]
