"""Sandbox upstreams in a thread with a loop of its own, so that a busy gateway does not make its providers slow."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.app import open_sandbox
from gateway.serving import StartFailed

HOST = "127.0.0.1"

#: Control port and one for each upstream.
PORTS = 4

#: How often free ports are looked for: somebody may take one before the sandbox does.
ROUNDS = 10


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
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    started: Future[RunningSandbox] = Future()
    thread = threading.Thread(target=_run, args=(loop, stop, started), name="sandbox", daemon=True)
    thread.start()
    try:
        yield started.result()
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join()


def _run(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, started: Future[RunningSandbox]) -> None:
    """Run the sandbox in this thread until *stop* is set."""

    async def run() -> None:
        for rounds_left in reversed(range(ROUNDS)):
            port = _free_ports()
            try:
                sandbox = await open_sandbox(host=HOST, port=port)
            except OSError:
                if not rounds_left:
                    raise
                continue
            try:
                started.set_result(RunningSandbox(HOST, port, sandbox.control_url))
                await stop.wait()
            finally:
                await sandbox.stop()
            return

    try:
        loop.run_until_complete(run())
    except Exception as error:
        if started.done():
            raise
        failure = StartFailed(f"the sandbox did not start: {error}")
        failure.__cause__ = error
        started.set_exception(failure)
    finally:
        loop.close()


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
