"""
Work on an answer that is already paid for.

Why it waits where the workers are busy: refusing new requests is how a full gateway sheds load, and dropping an answer
that somebody has paid for sheds money.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from providers.contract import Deadline, Means, ProviderFailed, WorkersBusy

T = TypeVar("T")

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
                raise ProviderFailed(
                    "the answer came, and no worker was free to read it in time; give the workers more threads",
                    elsewhere=False,
                    may_have_charged=True,
                ) from busy
        await means.sleep(min(_PAUSE_SECONDS, deadline.remaining()))
