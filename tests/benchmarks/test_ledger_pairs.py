"""Both sides of the ledger's benchmark write what they say."""

from pathlib import Path

import pytest

from tests.benchmarks.ledger_pairs import CALLERS, KINDS, WORK, _ours, _plain_postgres, _plain_sqlite


def test_sqlite_sides_write(tmp_path: Path) -> None:
    """Each side gets pairs written in a tenth of a second."""
    assert _ours(f"sqlite:///{tmp_path / 'a.db'}", 2, 0.1) > 0
    assert _plain_sqlite(tmp_path / "b.db", 2, 0.1) > 0


@pytest.mark.needs("postgres")
def test_postgres_sides_write(postgres_url: str) -> None:
    """Each side gets pairs written in a tenth of a second, in one database."""
    assert _ours(postgres_url, 2, 0.1) > 0
    assert _plain_postgres(postgres_url, 2, 0.1) > 0


def test_every_comparison_has_an_aim() -> None:
    """One for each database and number of callers."""
    assert len(KINDS) * len(CALLERS) == len(WORK.aims)
