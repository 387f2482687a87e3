"""What a benchmark found, as rows of one table on the screen and of one JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Aim:
    """What the design asks of a figure: at least, or at most, so much."""

    value: float
    unit: str = "x"
    """`x` for a ratio to the other side, `ms` for milliseconds, `us` for microseconds, or what is counted."""
    at_most: bool = False

    def met_by(self, figure: float) -> bool:
        """Whether *figure* is as good as this asks."""
        return figure <= self.value if self.at_most else figure >= self.value

    def __str__(self) -> str:
        """Write it as the table shows it."""
        return f"{'<=' if self.at_most else '>='} {self.value:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: our work, what it stands beside, and what came of it."""

    work: str
    beside: str
    aim: Aim
    figures: tuple[float, ...] = ()
    """One figure a round, in the aim's unit."""
    detail: Mapping[str, object] = field(default_factory=dict)
    """What else was measured: requests a second, latencies, CPU."""
    fault: str | None = None
    """Why there is no figure; None where there is one."""

    @property
    def ratio(self) -> float | None:
        """The median of the rounds; None when the benchmark failed."""
        return median(self.figures) if self.figures and self.fault is None else None

    @property
    def spread(self) -> float | None:
        """The distance between the best and the worst round as a part of the median."""
        if self.ratio is None:
            return None
        return (max(self.figures) - min(self.figures)) / abs(self.ratio) if self.ratio else 0.0

    @property
    def met(self) -> bool:
        """Whether the aim was reached; a benchmark that failed reached none."""
        return self.ratio is not None and self.aim.met_by(self.ratio)


def failed(work: str, asked: Sequence[tuple[str, Aim]], fault: str) -> list[Row]:
    """Return a row without a figure for each comparison that *work* was to make."""
    return [Row(work, beside, aim, fault=fault) for beside, aim in asked]


def to_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """
    Return the rows as `bench.json` holds them.

    `ratio`, `aim` and `spread` are numbers in the row's `unit`; `at_most` says on which side of the aim it is met.
    """
    return [
        {
            "work": row.work,
            "beside": row.beside,
            "ratio": row.ratio,
            "aim": row.aim.value,
            "met": row.met,
            "spread": row.spread,
            "unit": row.aim.unit,
            "at_most": row.aim.at_most,
            "rounds": list(row.figures),
            "fault": row.fault,
            "detail": dict(row.detail),
        }
        for row in rows
    ]


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write `bench.json`, making its folder when there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(to_json(rows), indent=2) + "\n", encoding="utf-8")


def to_table(rows: Sequence[Row]) -> Table:
    """Return the rows as the table that stands on the screen."""
    table = Table(title="Maskgate beside others")
    for heading in ("work", "beside", "measured", "aim", "met", "spread"):
        table.add_column(heading, justify="right" if heading in {"measured", "aim", "spread"} else "left")
    table.add_column("detail", overflow="fold")
    for row in rows:
        table.add_row(
            row.work,
            row.beside,
            "failed" if row.ratio is None else f"{row.ratio:.3g} {row.aim.unit}",
            str(row.aim),
            "yes" if row.met else "no",
            "" if row.spread is None else f"{row.spread:.0%}",
            row.fault or "\n".join(f"{name}: {_short(value)}" for name, value in row.detail.items()),
        )
    return table


def _short(value: object) -> str:
    """Write a detail in as few characters as tell it: `cpu_ms` 0.29 becomes `0.29 cpu ms`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_short(item)} {str(name).replace('_', ' ')}" for name, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
