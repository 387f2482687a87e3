"""
The decoder process itself: reads a job, calls its function, sends the reply, until the pipe ends.

It ends with the gateway, however that ends: by the end of the pipe, and on Linux by a signal, also while it is at work.
Of the gateway it has nothing but its end of the pipe: no socket, no file, and no environment with keys in it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from providers.decoders.messages import READY, Broke, NoMemory, Raised, Reply, Returned, read_job, reply_bytes

#: Source: prctl(2), read 2026-12.
_PR_SET_PDEATHSIG = 1

#: Files that one job may have open: the standard ones, the pipe, libraries, and what a codec opens.
_MOST_FILES = 64


def main(pipe: int, gateway_pid: int, memory_bytes: int) -> None:
    """
    Work until the pipe ends.

    Args:
        pipe: the descriptor of our end.
        gateway_pid: who started us.
        memory_bytes: of address space, the libraries' included.
    """
    if not _dies_with(gateway_pid):
        return
    _limit(memory_bytes)
    no_memory, trim = reply_bytes(NoMemory()), _trimmer()
    with Connection(pipe) as connection:
        _load_codecs()
        connection.send_bytes(READY)
        while True:
            try:
                data = connection.recv_bytes()
            except EOFError:
                return
            except MemoryError:
                connection.send_bytes(no_memory)
                return  # the rest of the job is still in the pipe
            try:
                sent = _reply(data)
            except MemoryError:
                sent = no_memory
            del data
            connection.send_bytes(sent)
            del sent
            trim()


def _dies_with(gateway_pid: int) -> bool:
    """Have the kernel kill us when the gateway dies; return whether it lives."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to a whole group; the gateway says when to end
        signal.signal(each, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == gateway_pid


def _limit(memory_bytes: int) -> None:
    """Bound what the process may take."""
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
    ):
        hard = resource.getrlimit(kind)[1]
        bounded = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bounded, bounded))


def _load_codecs() -> None:
    """Load what nearly every job needs, before the first one's time begins."""
    import cv2
    import numpy as np
    from PIL import Image

    cv2.setNumThreads(1)  # the processes fill the cores already
    Image.preinit()
    np.zeros(1)


def _trimmer() -> Any:
    """Return what gives freed memory back to the system; glibc keeps it otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return (lambda: trim(0)) if trim is not None else (lambda: None)


def _reply(data: bytes) -> bytes:
    """Do a job, and return what came of it."""
    function = None
    try:
        function, args = read_job(data)
        reply: Reply = Returned(function(*args))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is belongs to whoever asked, on the other side of the pipe
        reply = _what_of(error, function)
    try:
        return reply_bytes(reply)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - what cannot be pickled is a defect, whichever way pickle says so
        return reply_bytes(Broke(traceback.format_exc()))


def _what_of(error: Exception, function: Callable[..., Any] | None) -> Reply:
    """Return what to say of an exception."""
    if _is_of_memory(error):
        return NoMemory()
    roots = {"builtins", "gateway", "providers", getattr(function, "__module__", "").partition(".")[0]}
    if type(error).__module__.partition(".")[0] in roots:
        return Raised(error)
    return Broke("".join(traceback.format_exception(error)))


def _is_of_memory(error: Exception) -> bool:
    """Whether OpenCV had too little memory, by its own code or by what the C++ library said."""
    import cv2

    return isinstance(error, cv2.error) and (getattr(error, "code", 0) == cv2.Error.STS_NO_MEM or "alloc" in str(error))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
