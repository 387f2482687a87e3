"""What SIGHUP does to a gateway."""

import asyncio
import os
import signal
import threading

from gateway.hangup import on_hangup


async def test_hangup_acts_until_it_is_undone() -> None:
    """A signal to this process does what it was given, and afterwards what it did before."""
    seen: list[str] = []
    before = signal.signal(signal.SIGHUP, lambda *_: seen.append("before"))
    try:
        acted = asyncio.Event()
        undo = on_hangup(acted.set)
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(20):
            await acted.wait()
        undo()
        assert [] == seen
        assert signal.SIG_DFL is signal.getsignal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_gateway_on_another_thread_leaves_signals_alone() -> None:
    """Only the main thread takes signals; elsewhere nothing changes, and nothing is undone."""
    before = signal.getsignal(signal.SIGHUP)

    async def ask() -> None:
        on_hangup(lambda: None)()

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert before is signal.getsignal(signal.SIGHUP)
