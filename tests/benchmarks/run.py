"""
Run the benchmarks and print one table: `python tests/benchmarks/run.py [--quick] [--only W7] [--out FILE]`.

A new benchmark is one file with a `WORK`, and its place in `WORKS`. Exit status 1 says that a benchmark failed, so that
no figure came of it; an aim that is not reached is in the table and is no failure.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402 - the line above lets this file be run by its path

from tests.benchmarks import ledger_pairs, ranking_cost, w1_json, w4_mask, w7_one_connection  # noqa: E402 - as above
from tests.benchmarks.contender import WrongAnswer  # noqa: E402 - as above
from tests.benchmarks.processes import NotRunnable, require, two_cores  # noqa: E402 - as above
from tests.benchmarks.stage import Stage, Work  # noqa: E402 - as above
from tests.benchmarks.table import Row, failed, to_table, write_json  # noqa: E402 - as above
from tests.benchmarks.wrk import LoadFailed  # noqa: E402 - as above

WORKS = (w1_json.WORK, w4_mask.WORK, w7_one_connection.WORK, ledger_pairs.WORK, ranking_cost.WORK)
KEPT = ROOT / "bench-output"

log = logging.getLogger("benchmarks")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit status."""
    asked = _parse(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        cores = two_cores()
        require("wrk", package="wrk")
        require("taskset", package="util-linux")
        require("nginx", package="nginx-light")
    except NotRunnable as absence:
        log.error("%s", absence)  # noqa: TRY400 - the sentence is for the reader, a traceback is not
        return 1
    rounds, seconds = (3, 2) if asked.quick else (5, 8)
    rows: list[Row] = []
    for work in WORKS:
        if asked.only and not work.name.startswith(tuple(asked.only)):
            continue
        log.info("%s: %d rounds of %d s", work.name, rounds, seconds)
        with tempfile.TemporaryDirectory(prefix="maskgate-bench-") as folder:
            rows += _measured(work, Stage(Path(folder), KEPT, cores, rounds, seconds))
    Console(width=None if sys.stdout.isatty() else 160).print(to_table(rows))
    write_json(rows, asked.out)
    return 1 if any(row.fault for row in rows) else 0


def _measured(work: Work, stage: Stage) -> list[Row]:
    try:
        return work.measure(stage)
    except (LoadFailed, NotRunnable, WrongAnswer) as fault:
        log.error("%s FAILED: %s", work.name, fault)  # noqa: TRY400 - as above
        return failed(work.name, work.aims, str(fault))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Maskgate beside others.")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 2 seconds instead of 5 of 8: a first look")
    parser.add_argument("--only", action="append", metavar="NAME", help="only works whose name begins so, e.g. W7")
    parser.add_argument("--out", type=Path, default=KEPT / "bench.json", help="where the JSON goes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
