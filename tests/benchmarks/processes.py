"""Start servers on cores of their own, wait until they answer, and end exactly these."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class NotRunnable(Exception):
    """Something that a benchmark needs is not on this machine, or does not start. The message names the remedy."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which CPU core does what."""

    load: int
    """The load generator and the upstream."""
    gateway: int
    """The one contender under test."""


def two_cores() -> Cores:
    """
    Return the first two cores that this process may use.

    Raises:
        NotRunnable: there is only one.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise NotRunnable("the benchmarks need 2 CPU cores: one for the gateway, one for load and upstream")
    return Cores(load=cores[0], gateway=cores[1])


def require(program: str, *, package: str) -> str:
    """
    Return the path of *program*.

    Raises:
        NotRunnable: it is not installed.
    """
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise NotRunnable(f"{program} is not installed; on Debian: apt-get install {package}")
    return found


def pinned(command: Sequence[str], *, core: int) -> list[str]:
    """Return *command*, to be run on one core; the process keeps its id, since taskset becomes the command."""
    return ["taskset", "-c", str(core), *command]


@contextmanager
def serving(
    command: Sequence[str],
    *,
    core: int,
    port: int,
    log: Path,
    environ: Mapping[str, str] | None = None,
    seconds: float = 60,
) -> Iterator[int]:
    """
    Run a server until the block ends; yield its process id once its port answers.

    Args:
        command: stays in the foreground.
        core: where it and all it starts run.
        port: of 127.0.0.1, where it listens.
        log: takes what it writes to stdout and stderr.
        environ: the whole environment; this process's own when None.
        seconds: how long it may take to listen.

    Raises:
        NotRunnable: it ended, or did not listen in time.
    """
    with log.open("wb") as sink:
        process = subprocess.Popen(
            pinned(command, core=core), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environ, cwd=log.parent
        )
    try:
        _wait_until_it_listens(process, port=port, log=log, seconds=seconds)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], *, port: int, log: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise NotRunnable(f"{process.args!r} ended with {process.returncode}: {_tail(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)  # nothing to await: another program decides when it listens
        else:
            return
    raise NotRunnable(f"{process.args!r} did not listen on port {port} within {seconds:g} s: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip()[-600:]
