"""
The API key that is kept in the state folder, for the commands that run on the gateway's machine.

The file is readable by its owner alone, and is believed only where that still holds: a key that others could read is
no longer a secret, and one that others could write would be somebody else's.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KEY_FILE = "key"
#: Group's and everybody's rights: none of them may be set.
OTHERS = 0o077
#: A key has 35 characters; more is something else.
MOST_BYTES = 512


class UnsafeKeyFile(Exception):
    """The file must not be used. The message names it and the remedy."""


class KeyFile:
    """A key that is on disk under a name of its own until it is kept under the usual one."""

    def __init__(self, prepared: Path, place: Path) -> None:
        """Belong to a file that was *prepared*, and is kept at *place*."""
        self._prepared = prepared
        self.place = place
        """Where the key is once it is kept."""

    def keep(self) -> None:
        """Put the key in its place, in one step."""
        self._prepared.replace(self.place)


@contextmanager
def key_file_prepared(folder: Path, key: str) -> Iterator[KeyFile]:
    """
    Write a key to disk, and remove it again at the end of the block unless it was kept.

    It is written before it is good for anything, so that a key which is good is never one that nobody knows.

    Args:
        folder: the state folder; made where it is missing, for its owner alone.
        key: the secret.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(prefix=".key-", dir=folder)  # which makes it with the mode 0600
    prepared = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
        yield KeyFile(prepared, folder / KEY_FILE)
    finally:
        with suppress(FileNotFoundError):
            prepared.unlink()


def read_key_file(folder: Path) -> str | None:
    """
    Return the key in the state folder; None where there is none.

    Raises:
        UnsafeKeyFile: it belongs to somebody else, others can read or write it, or it is no plain file.
    """
    path = folder / KEY_FILE
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror})"
        raise UnsafeKeyFile(f"{reason}; name a key with --key or MASKGATE_KEY") from error
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeKeyFile(f"{path} is no plain file; name a key with --key or MASKGATE_KEY")
        if status.st_uid != os.geteuid():
            raise UnsafeKeyFile(f"{path} belongs to another user, so its key is not used; name one with --key")
        if status.st_mode & OTHERS:
            raise UnsafeKeyFile(f"{path} can be read or changed by others, so its key is not used; chmod 600 {path}")
        text = file.read(MOST_BYTES + 1)
    key = text.decode("ascii", errors="replace").strip()
    if len(text) > MOST_BYTES or not key.isascii() or not key.isprintable() or " " in key:
        raise UnsafeKeyFile(f"{path} holds no key; write one into it, or name one with --key or MASKGATE_KEY")
    return key or None
