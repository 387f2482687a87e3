"""
Many pieces of bytes into one, without keeping every other thread waiting.

Why not `bytes.join`: it fills fresh memory under Python's lock, and 15 MB of it, which the kernel has to find and clear
page by page, have stopped all threads for up to 50 ms. The kernel copies without the lock, so large ones go through it:
into a file in memory and back.
"""

from __future__ import annotations

import os
import tempfile

#: Below this a join takes less than a millisecond.
LARGE_BYTES = 2**20


def joined(pieces: list[bytes]) -> bytes:
    """
    Return the pieces as one. Belongs on a worker thread where they may be large.

    A large list is emptied on the way, so that no piece is in memory longer than it has to be.

    Raises:
        OSError: there is no memory, or no disk where the system knows no files in memory.
    """
    size = sum(map(len, pieces))
    if size < LARGE_BYTES:
        return b"".join(pieces)
    if not hasattr(os, "memfd_create"):  # not on Linux
        with tempfile.TemporaryFile(buffering=0) as file:
            return _through(file.fileno(), pieces, size)
    descriptor = os.memfd_create("maskgate", os.MFD_CLOEXEC)
    try:
        return _through(descriptor, pieces, size)
    finally:
        os.close(descriptor)


def _through(descriptor: int, pieces: list[bytes], size: int) -> bytes:
    pieces.reverse()
    while pieces:
        piece = pieces.pop()
        if os.write(descriptor, piece) != len(piece):
            raise OSError(f"no room for {size} bytes")
    whole = os.pread(descriptor, size, 0)
    if len(whole) != size:
        raise OSError(f"of {size} bytes {len(whole)} came back")
    return whole
