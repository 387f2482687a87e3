"""What every test may ask for, and what is left out where a server is not installed."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers import transport
from tests.servers import PACKAGES, Postgres, Redis, find, start_postgres, start_redis
from tests.tiers import printed

#: The files that take longest, the longest first. Each is run by one process: what is begun last must not be long.
LONGEST = (
    "tests/deploy/test_image.py",
    "tests/gateway/accounting/test_ledger_model.py",
    "tests/end_to_end/test_fault_table.py",
    "tests/providers/contract_suite/test_contract_faults.py",
    "tests/end_to_end/test_kills.py",
    "tests/end_to_end/test_database_outages.py",
    "tests/end_to_end/test_reloads.py",
    "tests/end_to_end/test_mass_kills.py",
    "tests/gateway/cli/test_serving_commands.py",
    "tests/end_to_end/test_failover_load.py",
    "tests/end_to_end/test_budgets.py",
    "tests/end_to_end/test_concurrency.py",
    "tests/providers/contract_suite/test_contract_endings.py",
    "tests/gateway/store/test_crashes.py",
    "tests/gateway/accounting/test_million_rows.py",
    "tests/end_to_end/test_rivals_bugs.py",
    "tests/providers/contract_suite/test_contract_answers.py",
    "tests/gateway/fitting/test_round_trip.py",
    "tests/gateway/accounting/test_reconciling.py",
)


def _absence(server: str) -> str:
    """Return why a test is left out."""
    return f"no {server} here: apt-get install {PACKAGES[server]}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take what `make soak` is asked for."""
    soak = parser.getgroup("soak", "long runs (make soak)")
    soak.addoption("--rounds", type=int, default=20, help="how many seeds each test gets; 20")
    soak.addoption("--seed", type=int, default=1_000_000, help="the first of them; 1000000, which no other tier has")


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> Iterator[int]:
    """The seeds of one tier, see tests/tiers.py."""
    chosen: range | None = request.param
    if chosen is None:
        first = request.config.getoption("--seed")
        chosen = range(first, first + request.config.getoption("--rounds"))
    return printed(chosen)


def pytest_configure(config: pytest.Config) -> None:
    """
    Have every test begin alike, and quickly.

    The authorities' certificates are read once: for each of a thousand gateways it would be 40 ms of a processor. And
    a shell that runs us in the background has us ignore interrupts, which the commands that we start would inherit.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    patch = pytest.MonkeyPatch()
    patch.setattr(transport, "trusted", functools.cache(transport.trusted))
    config.add_cleanup(patch.undo)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest files; leave out soaks that nobody asked for, and by name what lacks its server."""
    if "soak" not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("soak")])
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
    places = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONGEST)))
    absent = {server for server in PACKAGES if find(server) is None}
    for item in items:
        for mark in item.iter_markers("needs"):
            for server in mark.args:
                if server not in PACKAGES:
                    raise pytest.UsageError(f"{item.nodeid} needs {server!r}; known are {', '.join(PACKAGES)}")
                if server in absent:
                    item.add_marker(pytest.mark.skip(reason=_absence(server)))


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking over what is there before the first test: thousands of tests."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was left out, also where other processes ran the tests."""
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for server, package in PACKAGES.items():
        tests = sum(_absence(server) in reason for reason in reasons)
        if tests:
            terminalreporter.write_line(
                f"LEFT OUT: {tests} tests that need {server}; install it with: apt-get install {package}", yellow=True
            )


#: Where files are in memory, on Linux. Hundreds of databases are made and dropped, which disks are slow at.
MEMORY = Path("/dev/shm")
ROOM_BYTES = 6 * 2**30


def _in_memory() -> Path | None:
    """Return where the servers' files can be kept in memory; None where there is too little of it."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM_BYTES
    return MEMORY if roomy else None


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder that another user can reach, for the servers' files."""
    folder = Path(tempfile.mkdtemp(prefix="maskgate-servers-", dir=_in_memory()))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _fresh(folder: Path, name: str) -> Path:
    made = folder / f"{name}-{uuid.uuid4().hex[:8]}"
    made.mkdir()
    return made


@pytest.fixture(scope="session")
def redis_server(server_folder: Path) -> Iterator[Redis]:
    """A redis-server for the whole session; a test that needs it to be empty flushes it."""
    redis = start_redis(_fresh(server_folder, "redis"))
    yield redis
    redis.stop()


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL server for the whole session; nobody stops it."""
    postgres = start_postgres(_fresh(server_folder, "postgres"))
    yield postgres
    postgres.stop()


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """The address of an empty database, which is dropped afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres_server.create(name)
    postgres_server.drop(name)


@pytest.fixture
def own_redis(server_folder: Path) -> Iterator[Redis]:
    """A redis-server that the test may stop, freeze, fill and make read-only."""
    redis = start_redis(_fresh(server_folder, "redis"))
    yield redis
    if redis.process is not None:
        redis.send(signal.SIGCONT)
    redis.stop()


@pytest.fixture
def own_postgres(server_folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL server that the test may stop, freeze and crash."""
    postgres = start_postgres(_fresh(server_folder, "postgres"))
    yield postgres
    postgres.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    url: str = request.getfixturevalue("postgres_url")
    return url
