"""
One JSON line per request on standard output.

What may be in it is listed here, field by field: no header, no URL, no prompt, no message of an upstream. What is never
put in need not be taken out. A defect of our own has a line beside it, with its trace.

A line that cannot be written, since the disk is full or its reader has gone, is dropped and counted: what it tells of
goes on.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

import orjson
import structlog


class Lines:
    """Writes lines for structlog, unbuffered: a buffer would keep what could not be written and raise at the end."""

    def __init__(self, target: TextIO, dropped: Callable[[], None]) -> None:
        """Write to *target*; *dropped* is called for each line that cannot be written."""
        self._target = target
        self._dropped = dropped
        self._broken = False  # a part of a line is out

    def write(self, line: str) -> None:
        """Write one line. Never raises for what is wrong with the target."""
        data = f"\n{line}\n" if self._broken else f"{line}\n"
        try:
            self._put(data)
        except (OSError, ValueError):  # the latter: it is closed
            self._dropped()

    debug = info = warning = error = critical = exception = msg = write

    def _put(self, data: str) -> None:
        try:
            descriptor = self._target.fileno()
        except io.UnsupportedOperation:  # in memory
            self._target.write(data)
            return
        left = memoryview(data.encode())
        while left:
            written = os.write(descriptor, left)
            left = left[written:]
            self._broken = bool(left)


def make_logger(target: TextIO | None = None, *, dropped: Callable[[], None] = lambda: None) -> Any:
    """Return a logger that writes one JSON object a line to *target*; *dropped* counts those that it does not take."""
    return structlog.wrap_logger(
        Lines(target or sys.stdout, dropped),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_line),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),  # unlike the plain one it has `exception` add the trace
        cache_logger_on_first_use=True,
    )


def _line(event: Any, **_options: Any) -> str:
    return orjson.dumps(event, default=str).decode()
