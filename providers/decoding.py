"""
Work on an answer that is already paid for.

Why it waits where the workers are busy: refusing new requests is how a full gateway sheds load, and dropping an answer
that somebody has paid for sheds money. What stands in the way is never the provider's fault, but for its own bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from providers.contract import Deadline, DecodersBusy, DecodingLate, Means, ProviderFailed, WorkersBusy

T = TypeVar("T")
Args = TypeVarTuple("Args")

#: How long to wait for a free place, in seconds.
_PAUSE_SECONDS = 0.02


async def decoded(means: Means, work: Callable[[], T], *, pixels: int, deadline: Deadline) -> T:
    """
    Run *work* on the workers, and wait for a place there until *deadline*.

    Raises:
        ProviderFailed: there was none; `may_have_charged` is set.
    """
    while True:
        try:
            return await means.workers.run(work, pixels=pixels)
        except WorkersBusy as busy:
            if deadline.passed:
                raise _unread("no worker was free to read it in time; give the workers more threads") from busy
        await means.sleep(min(_PAUSE_SECONDS, deadline.remaining()))


async def decoded_apart(
    means: Means, function: Callable[[*Args], T], *args: *Args, pixels: int, deadline: Deadline, tenant: str
) -> T:
    """
    Run *function* in a decoder process, as `contract.Decoders` does, and wait for a place there until *deadline*.

    Raises:
        DecodingFailed: the bytes broke their decoder.
        ProviderFailed: there was no place, or no time for the whole of it; `may_have_charged` is set.
    """
    while True:
        try:
            return await means.decoders.run(function, *args, pixels=pixels, deadline=deadline, tenant=tenant)
        except DecodingLate as late:
            raise _unread("the deadline passed while it was read; ask for less, or give more time") from late
        except DecodersBusy as busy:
            if deadline.passed:
                raise _unread(f"it could not be read in time: {busy}") from busy
        await means.sleep(min(_PAUSE_SECONDS, deadline.remaining()))


def _unread(why: str) -> ProviderFailed:
    """Return the error for an answer that was not read."""
    return ProviderFailed(f"the answer came, and {why}", elsewhere=False, may_have_charged=True)
