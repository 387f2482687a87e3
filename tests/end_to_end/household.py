"""A gateway in front of the sandbox: in this process on a thread of its own, or as a process that can be killed."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.app import create_app, sandbox_config
from gateway.sandboxed import RunningSandbox
from gateway.serving import running
from gateway.settings import Settings, settings_from_yaml
from tests.end_to_end.ledger import Account, read_ledger, rows_in
from tests.end_to_end.upstreams import until


@dataclass(frozen=True, slots=True)
class House:
    """A running gateway."""

    url: str
    state: Path
    """Where its ledger and its log are."""

    @property
    def key(self) -> str:
        """Its first key, an administrator's, as its state folder keeps it."""
        return key_in(self.state)

    def ledger(self) -> list[Account]:
        """Return every attempt in its ledger."""
        return read_ledger(self.state)

    def rows(self) -> int:
        """Return the number of its ledger's entries."""
        return rows_in(self.state)


class Winding:
    """A clock that goes as every clock does, and can be wound on."""

    def __init__(self) -> None:
        """Start at this machine's own."""
        self.ahead = 0.0

    def __call__(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic() + self.ahead


def configuration(
    sandbox: RunningSandbox,
    changes: Mapping[str, Mapping[Any, Any]] | None = None,
    endpoints: Mapping[str, str] | None = None,
) -> str:
    """
    Return the sandbox's configuration.

    Args:
        sandbox: whose.
        changes: sections to change; lists grow by what is given.
        endpoints: where deployments are asked instead, by their names.
    """
    document = yaml.safe_load(sandbox_config(sandbox.host, sandbox.port))
    for each in document["deployments"]:
        if each["name"] in (endpoints or {}):
            each["endpoint"] = (endpoints or {})[each["name"]]
    for section, values in (changes or {}).items():
        known = document.setdefault(section, {})
        for name, value in values.items():
            known[name] = [*known.get(name, ()), *value] if isinstance(value, list) else value
    return yaml.safe_dump(document)


@contextmanager
def gateway_running(
    sandbox: RunningSandbox,
    state: Path,
    *,
    changes: Mapping[str, Mapping[Any, Any]] | None = None,
    clock: Callable[[], float] = time.monotonic,
    database_url: str | None = None,
) -> Iterator[House]:
    """Run a gateway on a thread while the block lasts; its log goes to a file in *state*, as does its ledger."""
    state.mkdir(parents=True, exist_ok=True)
    environ = {"MASKGATE_STATE_DIR": str(state)}
    if database_url is not None:
        environ["MASKGATE_DATABASE_URL"] = database_url
    settings: Settings = settings_from_yaml(configuration(sandbox, changes), environ=environ)
    with (
        (state / "gateway.log").open("a", encoding="utf-8") as log,
        running(lambda: create_app(settings, log_to=log, show=lambda _key: None, clock=clock)) as url,
    ):
        yield House(url, state)
    assert_nothing_broke(state)


def key_in(state: Path) -> str:
    """Return the key that is kept in a state folder."""
    return (state / "key").read_text(encoding="ascii").strip()


def assert_nothing_broke(state: Path) -> None:
    """Demand that the gateway met no defect of its own, whatever its callers and providers did."""
    log = (state / "gateway.log").read_text(encoding="utf-8")
    assert [line for line in log.splitlines() if '"level":"error"' in line or "Traceback" in line] == []


@dataclass(frozen=True, slots=True)
class Process:
    """A gateway that is a process of its own."""

    house: House
    process: subprocess.Popen[str]
    said: str
    """What stood on its standard error until it was ready."""


@contextmanager
def gateway_process(
    sandbox: RunningSandbox,
    state: Path,
    *,
    changes: Mapping[str, Mapping[Any, Any]] | None = None,
    endpoints: Mapping[str, str] | None = None,
    workers: int = 1,
    ulimit: str = "",
) -> Iterator[Process]:
    """
    Run `maskgate serve` while the block lasts, in so many processes, unless the test ends it before.

    *ulimit* is what the shell's command of that name is given, to run it under other limits than ours.
    """
    state.mkdir(parents=True, exist_ok=True)
    file = state / "maskgate.yaml"
    file.write_text(configuration(sandbox, changes, endpoints), encoding="utf-8")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKGATE_")}
    with (state / "gateway.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [
                *(("bash", "-c", f'ulimit {ulimit} && exec "$@"', "bash") if ulimit else ()),
                *(sys.executable, "-m", "gateway.cli.main", "serve"),
                *("--port", "0", "--config", str(file), "--workers", str(workers)),
            ],
            env=ours | {"MASKGATE_STATE_DIR": str(state)},
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        said = _until_ready(process)
        until((state / "key").exists)  # several processes say where they are before one of them has made it
        found = re.search(r"Maskgate on (http://[^ ,\n]+)", said)
        assert found is not None
        yield Process(House(found[1], state), process, said)
        assert_nothing_broke(state)
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=40)
        if process.poll() is None:
            process.kill()
        process.communicate()


def _until_ready(process: subprocess.Popen[str]) -> str:
    """Return what a gateway says until it answers requests."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if "Maskgate on" in line:
            return said
    pytest.fail(f"the gateway ended without having started: {said}")
