"""Pieces are joined to the byte, whichever way they go."""

from __future__ import annotations

import os

import numpy as np
import pytest

from gateway.api.joining import LARGE_BYTES, joined

BYTES = np.random.default_rng(5).integers(0, 256, LARGE_BYTES + 3, np.uint8).tobytes()


@pytest.mark.parametrize("size", [0, 1, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 3])
@pytest.mark.parametrize("step", [65_536, 1_000_003])
@pytest.mark.parametrize("in_memory", [True, False])
def test_joined(size: int, step: int, *, in_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small and large, through a file in memory and, where the system has none, through one on disk."""
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    pieces = [BYTES[:size][start : start + step] for start in range(0, size, step)]
    assert BYTES[:size] == joined(pieces)
