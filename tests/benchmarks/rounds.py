"""
Take turns.

Why interleaved: a shared machine drifts by tens of per cent within minutes. A B C A B C lets every contender see the
same weather, and a ratio taken inside one round leaves the drift out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def take_turns(contenders: Mapping[str, Callable[[], T]], *, rounds: int) -> dict[str, list[T]]:
    """Run every contender once a round, in the order given; return each one's findings, round by round."""
    found: dict[str, list[T]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            found[name].append(run())
    return found
