"""What the reader of a run sees: a progress bar while it goes, then a table, then what failed."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.cli.printing import dollars, print_json, print_table
from gateway.cli.run import Outcome


class Summary:
    """Collects outcomes, and prints them. The bar is on stderr, and only where that is a terminal."""

    def __init__(self, *, total: int, json: bool) -> None:
        """Expect *total* pictures; print JSON lines as they come instead of a table at the end."""
        self.outcomes: list[Outcome] = []
        self._json = json
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("Segmenting", total=total)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        self._progress.stop()

    def add(self, outcome: Outcome) -> None:
        """Take in what became of one picture."""
        self.outcomes.append(outcome)
        self._progress.advance(self._task)
        if self._json:
            print_json(
                {
                    "picture": str(outcome.picture.path),
                    "kept": outcome.kept,
                    "answer": outcome.answer.document if outcome.answer is not None else None,
                    "problem": outcome.problem,
                }
            )

    @property
    def failed(self) -> list[Outcome]:
        """The pictures that have no answer, or only a part of one."""
        return [outcome for outcome in self.outcomes if outcome.problem is not None]

    def print(self) -> None:
        """Print the table, and name what failed."""
        if not self._json:
            answered = sorted((o for o in self.outcomes if o.answer is not None), key=lambda o: o.picture.name)
            if answered:
                print_table(COLUMNS, [_row(outcome) for outcome in answered], right=COLUMNS[1:3] + COLUMNS[5:])
                typer.echo(_total(answered))
        for outcome in self.failed:
            typer.echo(f"maskgate: {outcome.picture.path}: {outcome.problem}", err=True)


COLUMNS = ("picture", "instances", "best score", "deployment", "cache", "charge", "ms")


def _row(outcome: Outcome) -> list[str]:
    answer = outcome.answer
    assert answer is not None
    return [
        outcome.picture.name,
        str(len(answer.instances)),
        f"{answer.best_score:.3f}" if answer.best_score is not None else "-",
        ", ".join(answer.deployments),
        "kept" if outcome.kept else ", ".join(answer.caches),
        dollars(0 if outcome.kept else answer.cost.charged.microusd),
        f"{answer.total_ms:.0f}",
    ]


def _total(answered: list[Outcome]) -> str:
    """Say in one line what the whole run brought and cost."""
    fresh = [outcome.answer.cost for outcome in answered if outcome.answer is not None and not outcome.kept]
    parts = [
        f"{len(answered)} pictures" if len(answered) != 1 else "1 picture",
        f"{dollars(sum(cost.charged.microusd for cost in fresh))} charged",
    ]
    held, saved = sum(cost.held.microusd for cost in fresh), sum(cost.saved.microusd for cost in fresh)
    if held:
        parts.append(f"{dollars(held)} held until it is known whether it was billed")
    if saved:
        parts.append(f"{dollars(saved)} saved by the cache")
    return ", ".join(parts) + "."
