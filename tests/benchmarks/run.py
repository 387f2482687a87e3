"""
Run the benchmarks and print one table: `python tests/benchmarks/run.py [--quick] [--only W7] [--out FILE]`.

A new benchmark is one file with a `WORK`, and its place in `WORKS`, or in `LONG_WORKS` where it takes minutes. Exit
status 1 says that a benchmark failed, so that no figure came of it; an aim that is not reached is in the table and is
no failure.
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

from tests.benchmarks import (  # noqa: E402 - as above
    ledger_pairs,
    load_dead_provider,
    load_overload,
    load_rate_limit,
    load_slow_region,
    load_throttled,
    load_two_tenants,
    ranking_cost,
    w1_json,
    w4_mask,
    w5_region_dies,
    w7_one_connection,
)
from tests.benchmarks.contender import WrongAnswer  # noqa: E402 - as above
from tests.benchmarks.processes import NotRunnable, require, two_cores  # noqa: E402 - as above
from tests.benchmarks.stage import Stage, Work  # noqa: E402 - as above
from tests.benchmarks.table import Row, failed, to_table, write_json  # noqa: E402 - as above
from tests.benchmarks.wrk import LoadFailed  # noqa: E402 - as above

WORKS = (w1_json.WORK, w4_mask.WORK, w5_region_dies.WORK, w7_one_connection.WORK, ledger_pairs.WORK, ranking_cost.WORK)
#: What takes minutes each, and is measured only where `--only` names it.
LONG_WORKS = (
    load_dead_provider.WORK,
    load_throttled.WORK,
    load_slow_region.WORK,
    load_overload.WORK,
    load_two_tenants.WORK,
    load_rate_limit.WORK,
)
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
    works = chosen(asked.only)
    if not works:
        log.error("no benchmark's name begins with %s; there are: %s", asked.only, [each.name for each in chosen([""])])
        return 1
    rounds, seconds = (3, 2) if asked.quick else (5, 8)
    rows: list[Row] = []
    for work in works:
        log.info("%s: %d rounds of %d s", work.name, rounds, seconds)
        with tempfile.TemporaryDirectory(prefix="maskgate-bench-") as folder:
            rows += _measured(work, Stage(Path(folder), KEPT, cores, rounds, seconds))
    Console(width=None if sys.stdout.isatty() else 160).print(to_table(rows))
    write_json(rows, asked.out)
    return 1 if any(row.fault for row in rows) else 0


def chosen(names: Sequence[str] | None) -> list[Work]:
    """Return the works whose names begin as one of these does; without any, all that do not take long."""
    if not names:
        return list(WORKS)
    return [work for work in (*WORKS, *LONG_WORKS) if work.name.startswith(tuple(names))]


def _measured(work: Work, stage: Stage) -> list[Row]:
    try:
        return work.measure(stage)
    except (LoadFailed, NotRunnable, WrongAnswer) as fault:
        log.error("%s FAILED: %s", work.name, fault)  # noqa: TRY400 - as above
        return failed(work.name, work.aims, str(fault))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Maskgate beside others.")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 2 seconds instead of 5 of 8: a first look")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="only works whose name begins so, e.g. W7 or load"
    )
    parser.add_argument("--out", type=Path, default=KEPT / "bench.json", help="where the JSON goes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
