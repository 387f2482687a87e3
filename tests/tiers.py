"""What of many cases each tier runs: few in `make test`, more in `make test-all`, any number in `make soak`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import pytest


def by_tier(*, fast: int, slow: int) -> pytest.MarkDecorator:
    """
    Return the mark that gives a test its `seeds`, an iterator of whole numbers from which it makes all its chance.

    Args:
        fast: Seeds in `make test`: 0, 1, ... None are left for a 0.
        slow: Seeds in `make test-all`, the next ones.
    """
    tiers = [pytest.param(range(fast, fast + slow), id="more", marks=pytest.mark.slow)]
    if fast:
        tiers.insert(0, pytest.param(range(fast), id="few"))
    soak = pytest.param(None, id="soak", marks=pytest.mark.soak)
    return pytest.mark.parametrize("seeds", [*tiers, soak], indirect=True)


def printed(seeds: range) -> Iterator[int]:
    """Yield each seed after it was printed, so that the last one that a failed test shows is the one to play again."""
    for seed in seeds:
        sys.stdout.write(f"seed {seed}\n")
        yield seed


def sampled(cases: Iterable[Any], kind: Callable[[Any], Hashable]) -> list[Any]:
    """Return cases for `parametrize`, of which `make test` runs the first of each kind and `make test-all` the rest."""
    seen: set[Hashable] = set()
    params = []
    for case in cases:
        params.append(pytest.param(case, marks=[pytest.mark.slow] if kind(case) in seen else []))
        seen.add(kind(case))
    return params
