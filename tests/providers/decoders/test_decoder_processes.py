"""Work in decoder processes comes back, is bounded in time and memory, and costs nobody but its own caller."""

from __future__ import annotations

import asyncio
import ctypes
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from providers.contract import (
    Deadline,
    DecodersBusy,
    DecodingFailed,
    DecodingLate,
    Mask,
    Resource,
    longest_seconds,
    shortage_of,
)
from providers.decoders import DecoderProcesses
from providers.decoders.messages import Returned, read_reply, reply_bytes
from providers.decoders.pool import DecoderDefect
from tests.decoders import shared_decoders
from tests.shortages import no_descriptors

ROOT = Path(__file__).parents[3]
MEBIBYTE = 2**20


@pytest.fixture
def hasty() -> Iterator[DecoderProcesses]:
    """Two processes in which nothing may take longer than a quarter of a second."""
    pool = DecoderProcesses(
        processes=2, memory_bytes=1024 * MEBIBYTE, clock=time.monotonic, idle_seconds=0.2, longest=lambda _: 0.25
    )
    yield pool
    pool.close()


async def run(
    pool: DecoderProcesses, function: Callable[..., Any], *args: Any, tenant: str = "any", seconds: float = 60
) -> Any:
    """Run a function for a tenant."""
    return await pool.run(function, *args, pixels=1, deadline=Deadline.after(seconds, time.monotonic), tenant=tenant)


async def test_a_result_comes_back_from_another_process() -> None:
    """Plain values, bytes and masks come back as they are; what was raised is raised here."""
    pool, mask = shared_decoders(), Mask.from_bitmap(np.eye(9, 7))
    assert os.getpid() != await run(pool, os.getpid)
    assert (mask,) == await run(pool, tuple, [mask])
    with pytest.raises(ValueError, match="invalid literal"):
        await run(pool, int, "x")


@pytest.mark.parametrize(
    ("function", "args", "words"),
    [
        (ctypes.string_at, (1,), r"crashed \(SIGSEGV\)"),
        (os.abort, (), r"crashed \(SIGABRT\)"),
        (os._exit, (3,), r"crashed \(status 3\)"),
        (bytes, (2**33,), "more memory than the 1536 MB"),
        (eval, ("(lambda: 1).__code__",), None),
        (eval, ("(_ for _ in ()).throw(__import__('zlib').error('x'))",), None),
    ],
)
async def test_what_dies_costs_its_own_caller(
    function: Callable[..., Any], args: tuple[Any, ...], words: str | None
) -> None:
    """A crash and a lack of memory are the bytes' fault, what is no result of ours is a defect; the next one works."""
    kind: type[Exception] = DecoderDefect if words is None else DecodingFailed
    with pytest.raises(kind, match=words):
        await run(shared_decoders(), function, *args)
    assert 3 == await run(shared_decoders(), operator.add, 1, 2)


async def test_time_ends_the_work_and_not_only_the_waiting(hasty: DecoderProcesses) -> None:
    """At its own bound, at the call's deadline and when its caller goes, the process is killed."""
    for seconds, kind in ((60, DecodingFailed), (0.1, DecodingLate)):
        await run(hasty, operator.add, 1, 2)
        worker = await run(hasty, os.getpid)
        with pytest.raises(kind):
            await run(hasty, time.sleep, 60, seconds=seconds)
        await until(partial(is_gone, worker))
    await run(hasty, operator.add, 1, 2)
    worker = await run(hasty, os.getpid)
    call = asyncio.create_task(run(hasty, time.sleep, 60))
    await asyncio.sleep(0.1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: is_gone(worker))


async def test_a_process_that_died_idle_or_was_killed_is_replaced(hasty: DecoderProcesses) -> None:
    """Killed between two calls or once at work nobody notices; twice is our own trouble, and not the bytes' fault."""
    os.kill(await run(hasty, os.getpid), signal.SIGKILL)
    assert 3 == await run(hasty, operator.add, 1, 2)
    with pytest.raises(DecodersBusy, match="killed from outside"):
        await run(hasty, eval, "__import__('os').kill(__import__('os').getpid(), 9)")


async def test_idle_processes_are_given_back(hasty: DecoderProcesses) -> None:
    """After a while without work there is none; the next call starts one again."""
    worker = await run(hasty, os.getpid)
    await until(lambda: hasty.alive == 0)
    assert worker != await run(hasty, os.getpid)


async def test_a_tenant_holds_half_of_the_processes() -> None:
    """One that fills its half waits for itself alone; another is served beside it."""
    pool = shared_decoders()
    await asyncio.gather(*(run(pool, time.sleep, 0.2, tenant=tenant) for tenant in ("many", "one")))
    busy = [asyncio.create_task(run(pool, time.sleep, 0.7, tenant="many")) for _ in range(3)]
    await asyncio.sleep(0)
    await run(pool, operator.add, 1, 2, tenant="one")
    assert not any(call.done() for call in busy[1:])
    with pytest.raises(DecodersBusy, match="until the deadline"):
        await run(pool, operator.add, 1, 2, tenant="many", seconds=0.1)
    await asyncio.gather(*busy)


async def test_short_work_of_a_tenant_goes_before_long_work() -> None:
    """What may take five seconds stands back behind what may take two and has come a little later."""
    pool, order = shared_decoders(), list[int]()

    async def done(pixels: int) -> None:
        await pool.run(time.sleep, 0.05, pixels=pixels, deadline=Deadline.after(60, time.monotonic), tenant="one")
        order.append(pixels)

    await asyncio.gather(*map(done, (9, 10**9, 10**9 + 1, 8)))
    assert [9, 8, 10**9, 10**9 + 1] == order


async def test_a_decoder_holds_nothing_of_the_gateway() -> None:
    """No key of its environment, and no file but the null device and its pipe."""
    os.environ["RUNFLOW_API_KEY"] = "secret"
    try:
        environment = await run(shared_decoders(), eval, "dict(__import__('os').environ)")
    finally:
        del os.environ["RUNFLOW_API_KEY"]
    assert not [name for name in environment if "KEY" in name or "TOKEN" in name or "MASKGATE" in name]
    held = [await run(shared_decoders(), _target, number) for number in range(64)]
    held = [file for file in held if file not in {None, "/dev/null"}]
    assert 1 == len(held)
    assert held[0].startswith("socket:")


SERVER = """
import asyncio, os, time
from providers.contract import Deadline
from providers.decoders import DecoderProcesses
async def main():
    pool = DecoderProcesses(processes=1, memory_bytes=2**30, clock=time.monotonic)
    print(await pool.run(os.getpid, pixels=1, deadline=Deadline.after(60, time.monotonic), tenant=""), flush=True)
    await pool.run(time.sleep, 60, pixels=10**9, deadline=Deadline.after(60, time.monotonic), tenant="")
asyncio.run(main())
"""


def test_decoders_die_with_the_gateway() -> None:
    """A gateway that is killed leaves no decoder behind, not even one that is at work."""
    with subprocess.Popen([sys.executable, "-c", SERVER], cwd=ROOT, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        worker = int(server.stdout.readline())
        assert not is_gone(worker)
        server.kill()
    end = time.monotonic() + 20
    while not is_gone(worker):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_reply_names_nothing_that_could_be_called() -> None:
    """What a decoder process that was taken over may send is data; and masks whose runs fill their picture."""
    mask = Mask.from_bitmap(np.eye(5))
    assert Returned(mask) == read_reply(reply_bytes(Returned(mask)))
    false = reply_bytes(Returned(mask)).replace((5).to_bytes(8, "little"), (6).to_bytes(8, "little"), 1)
    for sent in (
        b"cos\nsystem\n(S'true'\ntR.",
        reply_bytes(Returned(print)),
        false,
        b"",
        reply_bytes(Returned(1))[:-3],
    ):
        with pytest.raises(ValueError, match=r"."):
            read_reply(sent)


def test_time_follows_from_the_pixels_up_to_five_seconds() -> None:
    """Small files may take two seconds, and none takes more than five."""
    assert [2.0, 3.0, 5.0, 5.0] == [longest_seconds(pixels) for pixels in (0, 4_000_000, 12_000_000, 10**9)]


def _target(number: int) -> str | None:
    """Return what a descriptor of this process is; None where it is closed."""
    try:
        return str(Path(f"/proc/self/fd/{number}").readlink())
    except FileNotFoundError:
        return None


def is_gone(pid: int) -> bool:
    """Whether a process has ended: reaped, or a zombie whose parent is gone, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def until(true: Callable[[], bool]) -> None:
    """Wait until it is true."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - a process of another's has no event to wait for
            await asyncio.sleep(0.01)


async def test_a_process_that_cannot_be_started_is_our_own_shortage() -> None:
    """Where there is no descriptor for its pipe, that is what is missing; the next one is started."""
    with closing(DecoderProcesses(processes=1, memory_bytes=1536 * MEBIBYTE, clock=time.monotonic)) as fresh:
        with no_descriptors(), pytest.raises(DecodersBusy) as raised:
            await run(fresh, operator.add, 1, 2)
        assert Resource.DESCRIPTORS is shortage_of(raised.value)
        assert 3 == await run(fresh, operator.add, 1, 2)
