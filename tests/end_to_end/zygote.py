"""
A process that has imported the gateway and becomes a new one on demand: in a tenth of a second instead of three.

It has no thread and no loop when it forks, so what it becomes is a gateway like any other: a process of its own, in a
process group of its own, that `kill -9` ends as it ends any other. Each is given a listening socket that its orderer
keeps, so that a gateway and its successor have one address.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from gateway.app import create_app
from gateway.serving import serve
from gateway.settings import settings_from_yaml
from providers.transport import trusted

ROOT = Path(__file__).parents[2]
MOST_BYTES = 65_536
START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Order:
    """What kind of gateway is wanted."""

    configuration: str
    """YAML."""
    database_url: str
    folder: str
    """For its state and its log."""
    ahead_seconds: float
    """How far its calendar is ahead of this machine's: what would have to be waited for is over at once."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A gateway that answers requests."""

    pid: int
    pidfd: int
    """Names the process for as long as it is open, so that no other one can be meant."""
    shown_keys: tuple[str, ...]

    def kill(self) -> None:
        """End it as a power cut does, and wait until it is gone."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        gone, _, _ = select.select([self.pidfd], [], [], START_SECONDS)
        assert gone, f"the gateway {self.pid} outlived kill -9"
        os.close(self.pidfd)


class Zygote:
    """The process that forks, as its orderer sees it."""

    def __init__(self, orders: socket.socket) -> None:
        """Order over a socket that keeps messages apart."""
        self._orders = orders

    async def gateway(self, order: Order, listener: socket.socket) -> Forked:
        """Have a gateway started, and return it as soon as it answers."""
        ready, told = os.pipe()
        try:
            socket.send_fds(self._orders, [json.dumps(asdict(order)).encode()], [listener.fileno(), told])
            os.close(told)
            pid = int(self._orders.recv(MOST_BYTES))  # nobody is waited for but the fork
            pidfd = os.pidfd_open(pid)
            said = await asyncio.to_thread(os.read, ready, MOST_BYTES)
        finally:
            os.close(ready)
        assert said, f"the gateway ended without having started:\n{(Path(order.folder) / 'gateway.log').read_text()}"
        return Forked(pid, pidfd, tuple(json.loads(said)))


@contextmanager
def zygote_running() -> Iterator[Zygote]:
    """Run the process that forks while the block lasts; its gateways end with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MASKGATE_")}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            env=environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        )
    try:
        yield Zygote(ours)
    finally:
        ours.close()
        process.wait(timeout=START_SECONDS)


def fork_on_demand(orders: socket.socket) -> None:
    """Take orders until nobody can give any; then end every gateway that is left."""
    alive: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, MOST_BYTES, 2)
        alive = {pid for pid in alive if os.waitpid(pid, os.WNOHANG) == (0, 0)}
        if not message:
            break
        pid = os.fork()
        if pid == 0:
            orders.close()
            become_gateway(Order(**json.loads(message)), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        alive.add(pid)
        orders.send(str(pid).encode())
    for pid in alive:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def become_gateway(order: Order, listener: int, told: int) -> None:
    """Be a gateway until somebody ends this process."""
    os.setsid()
    shown: list[str] = []
    environ = {"MASKGATE_STATE_DIR": order.folder, "MASKGATE_DATABASE_URL": order.database_url}
    with (Path(order.folder) / "gateway.log").open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 2)
        try:
            app = create_app(
                settings_from_yaml(order.configuration, environ=environ),
                wall=lambda: time.time() + order.ahead_seconds,
                log_to=log,
                show=shown.append,
            )
            listening = socket.socket(fileno=listener)
            serve(app, [listening], started=lambda: tell(told, shown))
        finally:
            log.flush()
            os._exit(0)  # what the parent has left to clean up is the parent's


def tell(told: int, shown: list[str]) -> None:
    """Say that requests are answered, and which keys were shown."""
    os.write(told, json.dumps(shown).encode())
    os.close(told)


if __name__ == "__main__":
    known = functools.cache(trusted)
    known()  # the authorities' certificates are read before any fork, not after each
    pytest.MonkeyPatch().setattr("gateway.app.trusted", known)
    fork_on_demand(socket.socket(fileno=int(sys.argv[1])))
