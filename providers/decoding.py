"""
Work on an answer that is already paid for.

Why it waits where the workers are busy: refusing new requests is how a full gateway sheds load, and dropping an answer
that somebody has paid for sheds money. What stands in the way is never the provider's fault, but for its own bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from providers.contract import (
    Deadline,
    DecodersBusy,
    DecodingLate,
    Fetched,
    Means,
    OwnShortage,
    Resource,
    WorkersBusy,
    shortage_of,
)

T = TypeVar("T")
Args = TypeVarTuple("Args")

#: How long to wait for a free place, in seconds.
_PAUSE_SECONDS = 0.02


async def decoded(means: Means, work: Callable[[], T], *, pixels: int, deadline: Deadline) -> T:
    """
    Run *work* on the workers, and wait until *deadline* for a place there and for what this machine is short of.

    Raises:
        OwnShortage: there was none; `may_have_charged` is set.
    """
    while True:
        try:
            return await means.workers.run(work, pixels=pixels)
        except WorkersBusy as busy:
            if deadline.passed:
                raise _paid_for("no worker was free to read it in time", Resource.WORKERS) from busy
        except (MemoryError, OSError, RuntimeError) as error:
            resource = shortage_of(error)
            if resource is None:
                raise
            if deadline.passed:
                raise _paid_for(f"there was no {resource.value} to read it with", resource) from error
        await means.sleep(min(_PAUSE_SECONDS, deadline.remaining()))


async def decoded_apart(
    means: Means, function: Callable[[*Args], T], *args: *Args, pixels: int, deadline: Deadline, tenant: str
) -> T:
    """
    Run *function* in a decoder process, as `contract.Decoders` does, and wait for a place there until *deadline*.

    Raises:
        DecodingFailed: the bytes broke their decoder.
        OwnShortage: there was no place, or no time for the whole of it; `may_have_charged` is set.
    """
    while True:
        try:
            return await means.decoders.run(function, *args, pixels=pixels, deadline=deadline, tenant=tenant)
        except DecodingLate as late:
            raise read_too_late() from late
        except DecodersBusy as busy:
            if deadline.passed:
                resource = shortage_of(busy) or Resource.WORKERS
                raise _paid_for(f"it could not be read in time: {busy}", resource) from busy
        await means.sleep(min(_PAUSE_SECONDS, deadline.remaining()))


async def brought(means: Means, url: str, *, max_bytes: int, deadline: Deadline) -> Fetched:
    """
    Fetch a part of the answer, and wait until *deadline* for what this machine is short of.

    Raises:
        FetchError: it did not come.
        OwnShortage: this machine was short of something until *deadline*; `may_have_charged` is set.
    """
    while True:
        try:
            return await means.fetcher.fetch(url, deadline=deadline, max_bytes=max_bytes)
        except OwnShortage as shortage:
            if deadline.passed:
                raise _paid_for("a part of it could not be fetched", shortage.shortage) from shortage
        await means.sleep(min(_PAUSE_SECONDS, deadline.remaining()))


def read_too_late() -> OwnShortage:
    """Return what it comes to that the deadline passed while an answer was read: the time is ours, the answer came."""
    return _paid_for("the deadline passed while it was read; ask for less, or give more time", Resource.WORKERS)


def _paid_for(what: str, resource: Resource) -> OwnShortage:
    return OwnShortage(f"the answer came, and {what}", resource, elsewhere=False, may_have_charged=True)
