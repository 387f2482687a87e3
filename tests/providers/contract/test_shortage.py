"""What this machine has run out of is told from every other trouble, however deep a library has put it."""

import errno
import os
import resource
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from providers.contract import OwnShortage, ProviderFailed, Resource, shortage_of


def raised_from(cause: BaseException) -> Exception:
    """Return an error whose cause's cause is that one."""
    middle, error = ConnectionError("no connection"), ProviderFailed("failed")
    middle.__cause__, error.__cause__ = cause, middle
    return error


def connector_error(number: int) -> Exception:
    """Return what aiohttp makes of a socket that could not be had."""
    key = aiohttp.client_reqrep.ConnectionKey("a", 80, False, None, None, None, None)  # type: ignore[arg-type]
    return aiohttp.ClientConnectorError(key, OSError(number, os.strerror(number)))


OURS: dict[str, tuple[BaseException, Resource]] = {
    "a socket of too many": (OSError(errno.EMFILE, "Too many open files"), Resource.DESCRIPTORS),
    "a system of too many": (OSError(errno.ENFILE, "Too many open files in system"), Resource.DESCRIPTORS),
    "one inside aiohttp's": (connector_error(errno.EMFILE), Resource.DESCRIPTORS),
    "one behind causes": (raised_from(OSError(errno.EMFILE, "")), Resource.DESCRIPTORS),
    "one of a group": (ExceptionGroup("", [ValueError(), OSError(errno.EMFILE, "")]), Resource.DESCRIPTORS),
    "memory of Python's": (MemoryError(), Resource.MEMORY),
    "memory of the kernel's": (OSError(errno.ENOMEM, ""), Resource.MEMORY),
    "memory for a socket": (OSError(errno.ENOBUFS, ""), Resource.MEMORY),
    "memory for a look-up": (socket.gaierror(socket.EAI_MEMORY, ""), Resource.MEMORY),
    "a full disk": (OSError(errno.ENOSPC, ""), Resource.DISK),
    "a quota": (OSError(errno.EDQUOT, ""), Resource.DISK),
    "a file at its limit": (OSError(errno.EFBIG, ""), Resource.DISK),
    "a thread": (RuntimeError("can't start new thread"), Resource.THREADS),
    "what says so": (OwnShortage("", Resource.CONNECTIONS), Resource.CONNECTIONS),
}

OTHERS: dict[str, BaseException] = {
    "a refused connection": ConnectionRefusedError(errno.ECONNREFUSED, ""),
    "a name without an address": socket.gaierror(socket.EAI_NONAME, ""),
    "a look-up that failed while all is well": socket.gaierror(socket.EAI_AGAIN, ""),
    "a defect": RuntimeError("dictionary changed size during iteration"),
    "a file that is not there": FileNotFoundError(errno.ENOENT, ""),
    "one inside aiohttp's": connector_error(errno.ECONNREFUSED),
}


@pytest.mark.parametrize("what", OURS)
def test_what_has_run_out_here_is_named(what: str) -> None:
    """Whatever has wrapped it, the resource is known."""
    error, missing = OURS[what]
    assert missing == shortage_of(error)


@pytest.mark.parametrize("what", OTHERS)
def test_other_trouble_is_none_of_ours(what: str) -> None:
    """What somebody else did, or a defect, is no shortage."""
    assert shortage_of(OTHERS[what]) is None


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Take every descriptor while the block lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
    taken: list[int] = []
    try:
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_does_not_say_why_is_looked_into(tmp_path: Path) -> None:
    """SQLite's "unable to open" and a look-up that failed mean descriptors while there are none, and only then."""
    with no_descriptor_left():
        with pytest.raises(sqlite3.OperationalError, match="unable to open") as raised:
            sqlite3.connect(tmp_path / "ledger.db").execute("CREATE TABLE a (b)")
        assert Resource.DESCRIPTORS == shortage_of(raised.value)
        assert Resource.DESCRIPTORS == shortage_of(socket.gaierror(socket.EAI_AGAIN, ""))
    assert shortage_of(raised.value) is None


def test_a_full_database_is_a_full_disk(tmp_path: Path) -> None:
    """A database that may not grow says that there is no room."""
    database = sqlite3.connect(tmp_path / "ledger.db")
    database.execute("CREATE TABLE a (b)")
    database.execute("PRAGMA max_page_count=3")
    with pytest.raises(sqlite3.OperationalError) as raised:
        database.execute("INSERT INTO a VALUES (zeroblob(1000000))")
    database.close()
    assert Resource.DISK == shortage_of(raised.value)
