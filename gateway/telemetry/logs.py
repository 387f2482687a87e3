"""
One JSON line per request on standard output.

What may be in it is listed here, field by field: no header, no URL, no prompt, no message of an upstream. What is never
put in need not be taken out. A defect of our own has a line beside it, with its trace.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

import orjson
import structlog


def make_logger(target: TextIO | None = None) -> Any:
    """Return a logger that writes one JSON object a line to *target*."""
    return structlog.wrap_logger(
        structlog.PrintLogger(target or sys.stdout),
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
