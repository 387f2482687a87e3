"""
The decoder processes, and who may use them when.

Why not a library's pool. Measured on 2026-12-01 on two shared cores, uvloop, a process that sends back what it is told
to; middle of 200 calls, and processor time of the gateway's process for one call:

    bytes there / back       own             anyio.to_process   pebble
    5 kB / 2 kB              0.16 / 0.13 ms  0.18 / 0.14 ms     0.31 / 0.20 ms
    1 MB / 20 kB             0.92 / 0.33 ms  1.39 / 1.09 ms     2.01 / 0.66 ms
    10 MB / 10 MB            48 / 18 ms      63 / 33 ms         82 / 35 ms

anyio's stands on the event loop's streams, which cost three times the processor time for a picture; it imports the
gateway's main module into each process, leaves them its environment and the file that codecs print into as its pipe,
and unpickles whatever comes back. pebble polls ten times a second for ever, starts all processes at once, and shares
locks with processes that it kills. What is left to do without them is small: a thread waits for its process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar, TypeVarTuple

from providers.contract import Clock, Deadline, DecodingFailed, DecodingLate, DecodingTooCostly, longest_seconds
from providers.decoders.messages import Broke, NoMemory, Raised, Reply, Returned, job_bytes, read_reply
from providers.decoders.process import DecoderProcess, KilledFromOutside
from providers.decoders.turns import Turns

T = TypeVar("T")
Args = TypeVarTuple("Args")

#: Files of one tenant that may wait for a process.
_WAITING = 256

#: A process that had nothing to do for so long is ended, in seconds.
_IDLE_SECONDS = 60.0


class DecoderDefect(RuntimeError):
    """A function that was to decode has a defect; the message is its trace, from the decoder process."""


class DecoderProcesses:
    """Processes that are started when they are needed. Implements `contract.Decoders`, on one event loop."""

    def __init__(
        self,
        *,
        processes: int,
        memory_bytes: int,
        clock: Clock,
        idle_seconds: float = _IDLE_SECONDS,
        longest: Callable[[int], float] = longest_seconds,
    ) -> None:
        """
        Start nothing yet.

        Args:
            processes: at most; no more than there are cores.
            memory_bytes: the address space that each may take, its libraries' 300 MB included.
            clock: monotonic seconds.
            idle_seconds: a process that had nothing to do for so long is ended.
            longest: says how many seconds so many pixels may take.

        Raises:
            ValueError: no processes.
        """
        if processes < 1:
            raise ValueError(f"processes is {processes}; give the decoders at least 1")
        self._memory_bytes = memory_bytes
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._longest = longest
        self._turns = Turns(places=processes, waiting=_WAITING)
        self._free = [DecoderProcess(memory_bytes=memory_bytes) for _ in range(processes)]
        self._all = tuple(self._free)
        # The kernel ends a process with the thread that has started it; these live as long as the pool.
        self._threads = ThreadPoolExecutor(processes, "maskgate-decoder")
        self._look: asyncio.TimerHandle | None = None

    @property
    def alive(self) -> int:
        """How many processes there are."""
        return sum(process.alive for process in self._all)

    @property
    def busy(self) -> int:
        """How many processes are at work, or being killed."""
        return len(self._all) - len(self._free)

    async def run(
        self, function: Callable[[*Args], T], *args: *Args, pixels: int, deadline: Deadline, tenant: str
    ) -> T:
        """Call *function* in a decoder process; see `contract.Decoders`."""
        seconds = self._longest(pixels)
        await self._turns.take(tenant, deadline, seconds=seconds)
        if deadline.passed:
            self._turns.give(tenant)
            raise DecodingLate("the deadline had passed before it was decoded")
        process = self._free.pop()  # the one that was used last is the likeliest to be there
        loop = asyncio.get_running_loop()
        job = _Job(process, function, args, seconds, loop, loop.create_future())
        late = job.loop.call_later(deadline.remaining(), job.stop, _Stop.LATE)
        done = job.loop.run_in_executor(self._threads, job.work)
        done.add_done_callback(lambda _: self._release(process, tenant))
        try:
            # A killed process may take long to be gone, all of its memory with it: nobody waits for that.
            await asyncio.wait((done, job.called_off), return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            job.stop(_Stop.CANCELLED)
            raise
        finally:
            late.cancel()
        value: T = self._came_of(job, done.result() if done.done() else KilledFromOutside("it is being killed"))
        return value

    def close(self) -> None:
        """End every process, whatever it does, and the threads."""
        if self._look is not None:
            self._look.cancel()
        for process in self._all:
            process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in self._all:
            process.end()

    def _came_of(self, job: _Job, outcome: Reply | Exception) -> Any:
        """Return what a job's function returned, or raise what has become of it."""
        match outcome:
            case Returned(value):
                return value
            case Raised(error):
                raise error
            case Broke(trace):
                raise DecoderDefect(trace)
            case NoMemory():
                most = self._memory_bytes // 2**20
                raise DecodingTooCostly(f"decoding it takes more memory than the {most} MB that a decoder may have")
            case Exception():
                if job.stopped is _Stop.TOO_LONG:
                    raise DecodingTooCostly(f"decoding it took more than {job.seconds:.1f} seconds") from outcome
                if job.stopped is _Stop.LATE:
                    raise DecodingLate("the deadline passed while it was decoded") from outcome
                raise outcome

    def _release(self, process: DecoderProcess, tenant: str) -> None:
        """Take a process back, and have somebody look later whether it is still needed."""
        process.used_at = self._clock()
        self._free.append(process)
        self._turns.give(tenant)
        if self._look is None:
            loop = asyncio.get_running_loop()
            self._look = loop.call_later(self._idle_seconds, self._end_idle, loop)

    def _end_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the processes that nobody has needed for long; look again while there are others."""
        self._look = None
        idle_since = self._clock() - self._idle_seconds
        for process in self._free:
            if process.used_at <= idle_since:
                process.let_go()
        if self.alive:
            self._look = loop.call_later(self._idle_seconds, self._end_idle, loop)


class _Stop(Enum):
    """Why a job was not let to its end."""

    TOO_LONG = auto()
    LATE = auto()
    CANCELLED = auto()


@dataclass(slots=True)
class _Job:
    """One call of a function, in one process."""

    process: DecoderProcess
    function: Callable[..., Any]
    args: tuple[Any, ...]
    seconds: float
    """How long it may take once the process is there."""
    loop: asyncio.AbstractEventLoop
    called_off: asyncio.Future[None]
    """Done as soon as it is not let to its end."""
    stopped: _Stop | None = None
    timer: asyncio.TimerHandle | None = field(default=None, init=False)

    def work(self) -> Reply | Exception:
        """Have the process do it; in a thread. Return what stands in the way rather than raise it."""
        try:
            job = job_bytes(self.function, self.args)
            try:
                reply = self._reply_to(job)
            except KilledFromOutside:
                self.loop.call_soon_threadsafe(self._finish)
                reply = self._reply_to(job)  # once more, unless it was we
            return read_reply(reply, roots=frozenset({getattr(self.function, "__module__", "").partition(".")[0]}))
        except ValueError:
            self.process.end()
            return DecodingFailed("its decoder sent back what no decoder may")
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            return error
        finally:
            self.loop.call_soon_threadsafe(self._finish)

    def _reply_to(self, job: bytes) -> bytes:
        self.process.start()
        if self.stopped is not None:
            raise DecodingLate("it was called off")
        self.loop.call_soon_threadsafe(self._begin)
        return self.process.ask(job)

    def stop(self, why: _Stop) -> None:
        """End the process, and with it the job."""
        if self.stopped is None:
            self.stopped = why
            self.process.kill()
            self.called_off.cancel()

    def _begin(self) -> None:
        """Let its time run."""
        self.timer = self.loop.call_later(self.seconds, self.stop, _Stop.TOO_LONG)

    def _finish(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
