"""What is wrong in a configuration, and where."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong in a configuration file."""

    path: str
    """Where, as `deployments[0].price.usd`."""
    line: int | None
    column: int | None
    message: str

    def __str__(self) -> str:
        """Write it as a compiler would: place, then what is wrong."""
        place = f"line {self.line}, column {self.column}: " if self.line is not None else ""
        return f"{place}{self.path}: {self.message}" if self.path else f"{place}{self.message}"


class SettingsError(Exception):
    """A configuration that cannot be used; its text lists every problem, one a line."""

    def __init__(self, problems: list[ConfigProblem], *, source: str) -> None:
        """Hold *problems* of the file or variable named *source*."""
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.problems = problems
