"""
What this machine has run out of: descriptors, memory, room on disk, threads.

It is nobody's fault but ours, so it is never booked as a provider's failure or as the caller's. Every place that can
meet such an error asks `shortage_of`, and whoever calls providers raises `OwnShortage`.

Source: errno(3), getaddrinfo(3), https://www.sqlite.org/rescode.html, read 2026-12.
"""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
from collections.abc import Iterator
from enum import StrEnum

from providers.contract.errors import Outcome, ProviderError


class Resource(StrEnum):
    """What can run out: the closed set behind the metric's label."""

    DESCRIPTORS = "descriptors"
    MEMORY = "memory"
    DISK = "disk"
    THREADS = "threads"
    """Threads or processes."""
    CONNECTIONS = "connections"
    """Connections to upstreams, of which there are as many as descriptors allow: being full, not being broken."""
    WORKERS = "workers"
    """Threads and processes of ours that work on pictures: likewise."""


class OwnShortage(ProviderError):
    """
    A call that failed for want of something on this machine. Where nothing had left, nothing is billed.

    It says nothing about the deployment: neither breaker nor latency, limit or hint counts it.
    """

    outcome = Outcome.OWN_SHORTAGE

    def __init__(
        self,
        message: str,
        resource: Resource,
        *,
        elsewhere: bool | None = None,
        may_have_charged: bool | None = None,
        retry_after_seconds: float | None = None,
        upstream_ref: str | None = None,
    ) -> None:
        """
        Say what was missing.

        Args:
            message: one clause, without a URL's query.
            resource: what has run out.
            elsewhere: False where the call has been answered and is paid for, so that nobody else is asked.
            may_have_charged: True where the call had left before.
            retry_after_seconds: when it is worth trying again.
            upstream_ref: the provider's name for the call.
        """
        super().__init__(
            message,
            elsewhere=elsewhere,
            may_have_charged=may_have_charged,
            retry_after_seconds=retry_after_seconds,
            upstream_ref=upstream_ref,
        )
        self.shortage = resource


_BY_ERRNO = {
    errno.EMFILE: Resource.DESCRIPTORS,
    errno.ENFILE: Resource.DESCRIPTORS,
    errno.ENOMEM: Resource.MEMORY,
    errno.ENOBUFS: Resource.MEMORY,
    errno.ENOSPC: Resource.DISK,
    errno.EDQUOT: Resource.DISK,
    errno.EFBIG: Resource.DISK,
}

#: SQLite's primary codes, and those extended ones that say more than theirs. A file that cannot be opened is looked
#: into: SQLite does not say why.
_BY_SQLITE_CODE = {
    sqlite3.SQLITE_NOMEM: Resource.MEMORY,
    sqlite3.SQLITE_IOERR_NOMEM: Resource.MEMORY,
    sqlite3.SQLITE_FULL: Resource.DISK,
    sqlite3.SQLITE_IOERR_WRITE: Resource.DISK,
    sqlite3.SQLITE_IOERR_SHMSIZE: Resource.DISK,
}

#: How a look-up of a name fails when its socket or its files could not be opened.
_LOOK_UPS_CUT_SHORT = frozenset({socket.EAI_AGAIN, socket.EAI_SYSTEM, socket.EAI_FAIL})

_NO_THREAD = "can't start new thread"


def shortage_of(error: BaseException | None) -> Resource | None:
    """
    Return what this machine had run out of when *error* was raised; None where that is not why.

    An error that knows says so itself, in an attribute `shortage`.
    """
    return next((found for each in _with_causes(error) if (found := _named_by(each)) is not None), None)


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and what is kept inside: a driver's error, the members of a group."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = [each.__cause__, getattr(each, "orig", None), getattr(each, "os_error", None)]
        waiting += [one for one in inner if isinstance(one, BaseException)]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _named_by(error: BaseException) -> Resource | None:
    if isinstance(said := getattr(error, "shortage", None), Resource):
        return said
    if isinstance(error, MemoryError):
        return Resource.MEMORY
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return Resource.THREADS
    if isinstance(error, sqlite3.Error):
        return _named_by_sqlite(getattr(error, "sqlite_errorcode", None))
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_MEMORY:
            return Resource.MEMORY
        return _descriptors_if_short() if error.errno in _LOOK_UPS_CUT_SHORT else None
    return _BY_ERRNO.get(error.errno or 0) if isinstance(error, OSError) else None


def _named_by_sqlite(code: int | None) -> Resource | None:
    if code is None:
        return None
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_CANTOPEN:
        return _descriptors_if_short()
    return _BY_SQLITE_CODE.get(code) or _BY_SQLITE_CODE.get(primary)


def _descriptors_if_short() -> Resource | None:
    """Return `DESCRIPTORS` where none can be had now: for errors that do not say so themselves."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return _BY_ERRNO.get(error.errno or 0)
    return None
