"""Rows tell ratio, spread and whether the aim is met, and the JSON says the same as the table."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.benchmarks.table import Aim, Row, failed, to_json, to_table, write_json

RATIO = Aim(50)
ADDED = Aim(1.5, "ms", at_most=True)
DETAIL = {"maskgate": {"requests_per_second": 4250.0, "cpu_ms": 0.2345678}}


def test_the_figure_is_the_median_of_the_rounds() -> None:
    """One bad round does not move the figure; the spread tells of it."""
    row = Row("W1", "LiteLLM", RATIO, (52.0, 10.0, 54.0))

    assert row.ratio == 52.0
    assert pytest.approx(44 / 52) == row.spread


@pytest.mark.parametrize(
    ("aim", "figure", "met"), [(RATIO, 50.0, True), (RATIO, 49.9, False), (ADDED, 1.5, True), (ADDED, 1.6, False)]
)
def test_an_aim_is_met_on_its_own_side(aim: Aim, figure: float, *, met: bool) -> None:
    """A ratio has to reach its aim, added milliseconds have to stay below theirs."""
    assert met is Row("W", "other", aim, (figure,)).met


def test_a_failed_benchmark_has_no_figure_and_meets_nothing() -> None:
    """A fault leaves one row for each comparison, without ratio, unmet, with its reason."""
    rows = failed("W1", [("LiteLLM", RATIO), ("nginx", Aim(0.12))], "status 3")

    assert [(row.beside, row.ratio, row.spread, row.met, row.fault) for row in rows] == [
        ("LiteLLM", None, None, False, "status 3"),
        ("nginx", None, None, False, "status 3"),
    ]


def test_the_json_is_a_list_of_rows(tmp_path: Path) -> None:
    """`bench.json` holds work, beside, ratio, aim, met and spread of each row, and what else was measured."""
    out = tmp_path / "made" / "bench.json"
    rows = [Row("W1", "LiteLLM", RATIO, (51.0, 52.0, 53.0), DETAIL), *failed("W7", [("direct", ADDED)], "no wrk")]

    write_json(rows, out)

    first, second = json.loads(out.read_text(encoding="utf-8"))
    assert to_json(rows) == [first, second]
    assert {
        "work": "W1",
        "beside": "LiteLLM",
        "ratio": 52.0,
        "aim": 50,
        "met": True,
        "unit": "x",
    }.items() <= first.items()
    assert pytest.approx(2 / 52) == first["spread"]
    assert first["detail"] == DETAIL
    assert {"ratio": None, "met": False, "fault": "no wrk", "at_most": True, "unit": "ms"}.items() <= second.items()


def test_the_table_shows_figures_aims_and_faults() -> None:
    """The printed table names each figure beside its aim, and the fault where there is none."""
    shown = io.StringIO()
    rows = [Row("W1", "LiteLLM", RATIO, (51.0, 52.0, 53.0), DETAIL), *failed("W7", [("direct", ADDED)], "no wrk")]

    Console(width=200, file=shown).print(to_table(rows))

    text = shown.getvalue()
    for part in (
        "52 x",
        ">= 50 x",
        "yes",
        "4%",
        "4250 requests per second, 0.2346 cpu ms",
        "failed",
        "<= 1.5 ms",
        "no wrk",
    ):
        assert part in text
