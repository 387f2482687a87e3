"""
Sandbox upstreams in a process of their own, beside a gateway.

So that neither is slow where the other is busy, and no fault of a picture's decoder there ends the gateway. The process
ends when whoever started it does, however that ends: it reads a pipe whose other end nobody else holds.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from gateway.app import open_sandbox
from gateway.serving import StartFailed

HOST = "127.0.0.1"

#: Control port and one for each upstream.
PORTS = 4

#: How often free ports are looked for: somebody may take one before the sandbox does.
ROUNDS = 10

#: Seconds that the process gets to end by itself.
PATIENCE = 10


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """Where it is."""

    host: str
    port: int
    """The control port; the upstreams have the next ones."""
    control_url: str


@contextmanager
def sandbox_running() -> Iterator[RunningSandbox]:
    """
    Run a sandbox on free ports of loopback for as long as the block lasts.

    Raises:
        StartFailed: it found no ports, or something is wrong with it.
    """
    command = [sys.executable, "-P", "-m", "gateway.sandboxed"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise StartFailed("the sandbox did not start; what it wrote to standard error says why")
            yield RunningSandbox(**json.loads(line))
        finally:
            process.stdin.close()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


async def _run() -> None:
    """Run a sandbox, say where it is on standard output, and end with standard input."""
    for rounds_left in reversed(range(ROUNDS)):
        port = _free_ports()
        try:
            sandbox = await open_sandbox(host=HOST, port=port)
            break
        except OSError:
            if not rounds_left:
                raise
    else:
        raise AssertionError("the last round raises")
    try:
        sys.stdout.write(json.dumps(asdict(RunningSandbox(HOST, port, sandbox.control_url))) + "\n")
        sys.stdout.flush()
        await _end_of_input()
    finally:
        await sandbox.stop()


async def _end_of_input() -> None:
    """Wait until the other end of standard input is closed."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(65_536):
        pass
    transport.close()


def _free_ports() -> int:
    """Return the first of the ports in a row that a sandbox needs. Nobody listens on them, for the moment."""
    while True:
        with socket.socket() as first:
            first.bind((HOST, 0))
            port: int = first.getsockname()[1]
            if port + PORTS <= 65536 and all(_is_free(port + step) for step in range(1, PORTS)):
                return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


if __name__ == "__main__":
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, signal.SIG_IGN)  # they come to the whole group; the gateway first ends what is in flight
    asyncio.run(_run())
