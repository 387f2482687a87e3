"""What a look at the ledger brings to light: see `verifying.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.store.chain import Head

#: Breaks that are told; a ledger with more of them is looked at by hand.
MOST_BREAKS = 100


@dataclass(frozen=True, slots=True)
class Break:
    """One place where the ledger is not what it should be."""

    law: str
    """What is broken, in a word."""
    expected: str
    found: str
    writer: str | None = None
    sequence: int | None = None
    attempt_id: str | None = None
    place: str | None = None
    """Where, if it is no entry: a usage line, the window of a budget."""

    def __str__(self) -> str:
        """Write it on one line: where, what, expected and found."""
        entry = None if self.writer is None else f"entry {self.sequence} of {self.writer}"
        attempt = None if self.attempt_id is None else f"attempt {self.attempt_id}"
        where = ", ".join(filter(None, (self.place, entry, attempt)))
        return f"{where}: {self.law}: expected {self.expected}, found {self.found}"


@dataclass(slots=True)
class Verification:
    """What was looked at, and what is broken; filled as the look goes on."""

    entries: int = 0
    attempts: int = 0
    days: int = 0
    """UTC days whose usage lines were added up."""
    windows: int = 0
    """Of budgets, whose figures were added up."""
    heads: list[Head] = field(default_factory=list)
    """The end of each writer's chain. Noted elsewhere, it proves later that nothing before it was changed."""
    breaks: list[Break] = field(default_factory=list)
    more: bool = False
    """Whether there are more breaks than are told."""

    @property
    def intact(self) -> bool:
        """Whether nothing is broken."""
        return not self.breaks

    def note(self, found: Iterable[Break]) -> None:
        """Take breaks in, as many as are told; the look goes on to its end all the same."""
        for each in found:
            if len(self.breaks) < MOST_BREAKS:
                self.breaks.append(each)
            else:
                self.more = True
