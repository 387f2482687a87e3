"""The demonstration, as `make demo` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from gateway.demo import run_demo


def test_the_demo_ends_well_and_writes_its_overlays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every provider answers exactly, one after a failover, ledger equals books, and the overlays are pictures."""
    status = run_demo(tmp_path)

    printed = capsys.readouterr().out
    assert status == 0, printed
    assert "runflow-eu unreachable → runflow-us" in printed
    assert "Equal to the micro-dollar" in printed
    assert printed.count("1.000") == 6
    names = {"coffee-runflow.png", "coffee-failover.png", "coffee-prodia.png", "coffee-local.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (600, 400)
