"""How long a disk takes for a commit's flush."""

from pathlib import Path

from tests.benchmarks.flushes import flush_figures


def test_the_middle_is_not_above_the_99th_and_nothing_is_left(tmp_path: Path) -> None:
    """Two figures in milliseconds come of it, and no file."""
    figures = flush_figures(tmp_path, count=20, pause_seconds=0.0)
    assert 0.0 < figures["p50_ms"] <= figures["p99_ms"]
    assert [] == list(tmp_path.iterdir())
