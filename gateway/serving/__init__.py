"""
Put an app behind a real socket: in the foreground until a signal, in several processes, or in a thread for a while.

Every way uses the same server settings. Why proxies' headers are not read: whether a caller is on loopback decides
whether it needs a key, and a header that anybody can write must not decide that.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from gateway.admission.descriptors import raise_limit
from gateway.serving.edge import Edge
from gateway.serving.limits import EdgeLimits
from gateway.stop import STOP_SECONDS


class StartFailed(Exception):
    """The app did not start. The message says why; the cause is the app's own exception, where there is one."""


class AddressTaken(StartFailed):
    """The address could not be listened on."""


def listen(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """
    Return a listening socket.

    Args:
        host: an address or a name of this machine; `0.0.0.0` or `::` for every one of its addresses.
        port: 0 for a free one.
        option: what another port is named with.

    Raises:
        AddressTaken: it cannot be had; the message says why.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise AddressTaken(f"cannot listen on {host}:{port}: {error.strerror}. Name another with {option}.") from error
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the base URL under which a listening socket is reached from this machine."""
    host, port = listener.getsockname()[:2]
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def serve(app: FastAPI, listeners: Sequence[socket.socket], *, started: Callable[[], None]) -> None:
    """
    Serve *app* until SIGINT or SIGTERM, let requests in flight finish, and return. Called in the main thread.

    Args:
        app: one app, in this process.
        listeners: where; closed at the end.
        started: called once, when requests are answered.

    Raises:
        StartFailed: the app's own start-up failed.
    """
    failures: list[Exception] = []

    def settled() -> None:
        spare_the_collector()
        started()

    watched = with_start_told(app, started=settled, failed=failures.append)
    # Once it has stopped, uvicorn sends itself the signal again: it must not kill us before our caller has cleaned up.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        uvicorn.Server(_settings(watched)).run(sockets=list(listeners))
    except KeyboardInterrupt:
        return
    except SystemExit as ended:
        raise _start_failed(failures) from ended
    finally:
        signal.signal(signal.SIGTERM, before)
        for listener in listeners:
            listener.close()


def spare_the_collector() -> None:
    """
    Leave what is there after the start out of garbage collection, and collect less often: for a process of our own.

    A request leaves a few hundred objects and hardly a cycle behind; at Python's own threshold every fourth request
    paid for a walk over all modules, about a seventh of the processor's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class _Supervisor(Multiprocess):
    """uvicorn's own starts every process anew on SIGHUP, which closes connections and empties caches."""

    def handle_hup(self) -> None:
        """Hand SIGHUP on to the processes."""
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGHUP)


def serve_in_processes(factory: str, listeners: Sequence[socket.socket], *, processes: int) -> None:
    """
    Serve the app that *factory* makes, in that many processes that share their sockets, until SIGINT or SIGTERM.

    SIGHUP is handed on to every one of them: what it means is the app's to say.

    Args:
        factory: `module:function`, imported and called in each process.
        listeners: shared by all of them; closed at the end.
        processes: two or more. One that dies is replaced; one that cannot start ends them all.

    Raises:
        StartFailed: one could not start; it has said why on stderr.
    """
    supervisor = _Supervisor(_settings(factory, processes=processes), sockets=list(listeners))
    try:
        supervisor.run()
    finally:
        for listener in listeners:
            listener.close()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise StartFailed("one of its processes could not start")


@contextmanager
def running(
    app_factory: Callable[[], FastAPI],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    also: Sequence[socket.socket] = (),
    limits: EdgeLimits | None = None,
) -> Iterator[str]:
    """
    Serve an app in a thread with a loop of its own, for as long as the block lasts, and give its base URL.

    Args:
        app_factory: called once, in this thread.
        host: where to listen.
        port: 0 for a free one.
        also: where else it is served; closed at the end.
        limits: of its connections; the usual ones where None.

    Raises:
        StartFailed: the address is taken, or the app's own start-up failed.
    """
    settled = threading.Event()
    failures: list[Exception] = []
    app = with_start_told(app_factory(), started=settled.set, failed=failures.append)
    listener = listen(host, port)
    server = uvicorn.Server(_settings(app, limits=limits))

    def run() -> None:
        try:
            server.run(sockets=[listener, *also])
        except SystemExit:  # how uvicorn says that the app did not start; the reason is in failures
            failures.append(StartFailed("the app ended before it had started"))
        finally:
            settled.set()

    thread = threading.Thread(target=run, name="gateway", daemon=True)
    thread.start()
    settled.wait()
    try:
        if failures:
            raise _start_failed(failures)
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def with_start_told(app: FastAPI, *, started: Callable[[], None], failed: Callable[[Exception], None]) -> FastAPI:
    """
    Have *app* tell how its start-up went, and the server keep silent about it until then.

    Args:
        app: changed in place, and returned.
        started: called when it has started.
        failed: called with its exception when it has not.
    """
    lifespan = app.router.lifespan_context
    server_log = logging.getLogger("uvicorn.error")

    @asynccontextmanager
    async def told(served: FastAPI) -> AsyncIterator[Any]:
        server_log.setLevel(logging.CRITICAL)
        async with AsyncExitStack() as stack:
            try:
                state = await stack.enter_async_context(lifespan(served))
            except Exception as error:
                failed(error)
                raise
            server_log.setLevel(logging.WARNING)
            started()
            yield state

    app.router.lifespan_context = told
    return app


def _settings(app: FastAPI | str, *, processes: int = 1, limits: EdgeLimits | None = None) -> uvicorn.Config:
    """Return the server's settings: the same for every way to serve; processes started later inherit the limit."""
    raise_limit()
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=processes,
        loop="gateway.serving.accepting:ServingLoop",
        http=cast("Any", Edge(limits)),  # uvicorn calls it for each connection, as it would its own class
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def _start_failed(failures: list[Exception]) -> StartFailed:
    """Return what to raise for an app that did not start."""
    if not failures:
        return StartFailed("the server ended before it had started")
    cause = failures[0]
    error = StartFailed(str(cause) or type(cause).__name__)
    error.__cause__ = cause
    return error
