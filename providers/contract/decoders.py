"""
Where bytes from outside meet a codec: processes of their own, which may crash, hang or run out of memory.

Law: nothing that a stranger has written is handed to Pillow or OpenCV in the serving process, neither on its event loop
nor in its threads. A function that decodes is run by `Decoders`, and costs its own question alone whatever it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple

from providers.contract.deadline import Deadline
from providers.contract.workers import WorkersBusy

T = TypeVar("T")
Args = TypeVarTuple("Args")


class DecodersBusy(WorkersBusy):
    """No decoder process was free in time, or none could be started: our own overload, and nobody else's fault."""


class DecodingFailed(Exception):
    """
    The bytes broke their decoder: it crashed, took too long or too much memory.

    The message is a clause about the file, for its sender: "decoding it took more than 5.0 seconds".
    """


class DecodingTooCostly(DecodingFailed):
    """It took more time or memory than it may: bytes that were made for that, or too much for this machine."""


class DecodingLate(Exception):
    """The call's deadline passed while its bytes were decoded; the work is ended. That says nothing of the bytes."""


class Decoders(Protocol):
    """A bounded pool of decoder processes."""

    async def run(
        self, function: Callable[[*Args], T], *args: *Args, pixels: int, deadline: Deadline, tenant: str
    ) -> T:
        """
        Call *function* in a decoder process, and return what it returns.

        When the caller is cancelled, the deadline passes or the pixels' time is up, the process is killed.

        Args:
            function: of a module, by its name: the process imports it.
            args: for it; pickled.
            pixels: how many it works on; see `longest_seconds`.
            deadline: of the whole call, waiting for a process included.
            tenant: on whose behalf; one holds at most half of the processes.

        Returns:
            What comes back through a pipe from a process that is not to be trusted: plain values, frozen dataclasses,
            enumerations and masks.

        Raises:
            DecodersBusy: no process until the deadline, or too many wait for one.
            DecodingFailed: the process died of it, or (`DecodingTooCostly`) took more time or memory than it may.
            DecodingLate: the deadline had passed, or passed while it was at work.
            Exception: what *function* raises, if its class is one of ours or of Python's own.
        """
        ...


def longest_seconds(pixels: int) -> float:
    """
    Return how long work on so many pixels may take in a decoder process: 2 seconds, and 1 more for every 4 million.

    Many times what honest files take (12 megapixels of JPEG: 0.1 s), since the machine may be busy; 5 at the most.

    >>> longest_seconds(4_000_000)
    3.0
    """
    return min(5.0, 2.0 + pixels / 4_000_000)
