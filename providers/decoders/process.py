"""
One decoder process, as the gateway sees it. Used by one thread at a time, but for `kill`.

It is a fresh process and no fork: a fork of a threaded server has locks that nobody will ever open, all of its memory
and its listening sockets.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from providers.contract import DecodersBusy, DecodingFailed
from providers.decoders.messages import READY

#: The longest that a process may take to load its libraries, in seconds; about 0.4 on an idle machine.
_START_SECONDS = 30.0

#: How long one that has closed its pipe may take to be gone, and between two looks whether it is; in seconds.
_END_SECONDS = 0.5
_LOOK_SECONDS = 0.002

#: Longest reply that is read: a picture without loss, of as many pixels as the gateway takes.
_MOST_REPLY_BYTES = 1 << 30

#: Of the environment, what a process needs to find and load its libraries: no key, no address.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONHOME")

#: One thread is enough for each: there are as many processes as cores.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class KilledFromOutside(DecodersBusy):
    """Somebody has killed the process, as the kernel does where memory is short: that says nothing of the bytes."""


class DecoderProcess:
    """A process that is started when it is first asked, and again after it has died."""

    def __init__(self, *, memory_bytes: int) -> None:
        """Start nothing yet; *memory_bytes* is the address space that it may take, its libraries' included."""
        self._memory_bytes = memory_bytes
        self._guard = threading.Lock()  # between a reap and a kill, which must not hit a stranger of the same number
        self._running: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._doomed = False
        """Whether it was killed, and may not be gone yet."""
        self.used_at = 0.0
        """When it last had something to do, in monotonic seconds."""

    @property
    def alive(self) -> bool:
        """Whether it has been started and has not ended."""
        with self._guard:
            return self._running is not None and self._running.poll() is None

    def start(self) -> None:
        """
        See to it that the process runs. Blocks.

        Raises:
            DecodersBusy: it cannot be started: no descriptor, no memory, too many processes.
        """
        if self._pipe is not None and not self._doomed and self.alive:
            return
        self.end()
        try:
            self._spawn()
        except (OSError, EOFError) as error:
            self.end()
            raise DecodersBusy(f"no decoder process could be started: {error}") from error

    def ask(self, job: bytes) -> bytes:
        """
        Send a job and return the reply. Blocks until it comes or the process has ended.

        Raises:
            DecodingFailed: the process has died of it.
            KilledFromOutside: the process was killed, by `kill` or by somebody else.
        """
        assert self._pipe is not None
        try:
            self._pipe.send_bytes(job)
            return self._pipe.recv_bytes(_MOST_REPLY_BYTES)
        except (OSError, EOFError):
            status = self.end()
        if status is None:
            raise DecodingFailed("its decoder broke off")
        if status == -signal.SIGKILL:
            raise KilledFromOutside("decoder processes are killed from outside; the machine may be short of memory")
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise DecodingFailed(f"its decoder crashed ({how})")

    def kill(self) -> None:
        """End the process at once, whatever it does; from any thread."""
        with self._guard:
            if self._running is not None and self._running.poll() is None:
                self._doomed = True
                self._running.kill()

    def let_go(self) -> None:
        """Have the process end by itself, if it has nothing to do; returns at once."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def end(self) -> int | None:
        """
        End the process, if there is one.

        Returns:
            The status with which it had ended by itself, as `subprocess` has it; None where it had to be killed.
        """
        self.let_go()
        status = self._status_in(_END_SECONDS)
        if status is None:
            self.kill()
            self._status_in(_START_SECONDS)
        self._running = None
        self._doomed = False
        return status

    def _status_in(self, seconds: float) -> int | None:
        """Return the status of the process once it has one; None where it has none in *seconds*."""
        until = time.monotonic() + seconds
        while self._running is not None:
            with self._guard:
                status = self._running.poll()
            if status is not None or time.monotonic() >= until:
                return status
            time.sleep(_LOOK_SECONDS)
        return 0

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            command = [sys.executable, "-m", "providers.decoders.child"]
            command += [str(theirs.fileno()), str(os.getpid()), str(self._memory_bytes)]
            self._running = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # codecs complain there about every odd file
                pass_fds=(theirs.fileno(),),
                env=_environment(),
            )
            self._pipe = Connection(ours.detach())
        if not self._pipe.poll(_START_SECONDS):
            raise OSError(f"it was not ready within {_START_SECONDS:.0f} seconds")
        if self._pipe.recv_bytes() != READY:
            raise OSError("it said something else than that it was ready")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # which not every system has
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _environment() -> dict[str, str]:
    """Return what a decoder process finds in its environment; it imports what we would, from where we would."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**kept, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
