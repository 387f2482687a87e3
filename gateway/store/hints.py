"""What replicas tell each other of a deployment's health, wherever it is kept meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class HintsUnavailable(Exception):
    """Nothing could be told or read, or not in time. The message says why."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What one replica has found of one deployment."""

    deployment: str
    replica: str
    """Whose it is; unlike any other's, those of earlier processes included."""
    number: int
    """Larger with each hint of that replica."""
    cause: str | None
    """Why its breaker is open, one word; None: it has closed again."""
    seconds: float
    """For how long the hint still holds."""


class HintBoard(Protocol):
    """Keeps the newest hint of each deployment until its time is over. It may lose all of them."""

    async def tell(self, hint: Hint) -> None:
        """
        Put up a hint, in the place of an earlier one of the same deployment, whoever's it is.

        Raises:
            HintsUnavailable: nobody knows whether it is there.
        """

    async def read(self, deployments: Sequence[str]) -> list[Hint]:
        """
        Return the hints of these deployments, of all replicas; none for those of whom nothing is told.

        Raises:
            HintsUnavailable: there is no answer.
        """
