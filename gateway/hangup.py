"""SIGHUP, by which operators have a service read its configuration again."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable


def on_hangup(act: Callable[[], None]) -> Callable[[], None]:
    """
    Have SIGHUP do that, and return what undoes it. Called on a running loop.

    Only the main thread can; a gateway on another one has a program around it that signals are for.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, act)

    def undo() -> None:
        loop.remove_signal_handler(signal.SIGHUP)

    return undo
