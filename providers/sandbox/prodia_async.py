"""
Prodia's asynchronous jobs: begun by one call, read by others until they expire.

Source: docs.prodia.com reference/async, guides/polling-async-jobs (the states `processing`, `processed` and `failed`,
which are not those of a job's record; 404 for a job that is unknown or has expired); read 2026-11-20. That a record
says `processing` while the job is done is invented.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, replace

from providers.sandbox.faults import Fault
from providers.sandbox.prodia_job import KEEP_SECONDS, Job, JobRefused, Told, record
from providers.sandbox.prodia_work import Done, File, Work
from providers.sandbox.shelf import Shelf

_log = logging.getLogger(__name__)

_MOST_JOBS = 5000
_MOST_BYTES = 256_000_000


@dataclass(slots=True)
class AsyncJob:
    """One job; its state moves on by itself."""

    job: Job
    told: Told
    faults: tuple[Fault, ...] = ()
    """Those that struck the call by which it was begun."""
    done: Done | None = None

    @property
    def state(self) -> str:
        """Its state in a word."""
        return {"processing": "processing", "completed": "processed", "failed": "failed"}[self.told.state]

    @property
    def files(self) -> tuple[File, ...]:
        """Its outputs, as far as there are any."""
        return self.done.files if self.done is not None else ()

    @property
    def shows(self) -> tuple[str, ...]:
        """The billed call that its reading shows."""
        return (self.told.id,) if self.told.state == "completed" else ()

    def record(self, *, priced: bool) -> bytes:
        """Return its record."""
        if self.done is not None:
            return self.done.record(priced=priced, faults=self.faults)
        return record(self.job, self.told)


class AsyncJobs:
    """All jobs that have not expired, and that there is room for."""

    def __init__(self, work: Work) -> None:
        """Have them done by *work*."""
        self._work = work
        self._jobs: Shelf[AsyncJob] = Shelf(most=_MOST_JOBS, most_bytes=_MOST_BYTES)

    def create(self, job: Job) -> AsyncJob:
        """Make room for a job and return it."""
        now = self._work.clock()
        begun = AsyncJob(job, Told(str(uuid.uuid4()), now, now, "processing", metrics=False))
        self._jobs.put(begun.told.id, begun, size=len(job.picture or b""))
        return begun

    async def do(self, begun: AsyncJob, faults: tuple[Fault, ...]) -> None:
        """Lead a job to its end."""
        begun.faults = faults
        try:
            done = await self._work.do(begun.job, begun.told.id, faults)
        except JobRefused as error:
            begun.told = self._failed(begun, str(error))
        except Exception as error:  # noqa: BLE001 - a job must end: nobody awaits this task, its caller polls
            _log.exception("a sandbox job ended in a fault of the sandbox's own")
            begun.told = self._failed(begun, type(error).__name__)
        else:
            begun.done, begun.told = replace(done, job=replace(done.job, picture=b"")), done.told
            self._jobs.put(begun.told.id, begun, size=sum(len(file.data) for file in done.files))
        begun.job = replace(begun.job, picture=b"")

    def get(self, job_id: str) -> AsyncJob | None:
        """Return a job; None when it never was, has expired or is forgotten."""
        job = self._jobs.get(job_id)
        return None if job is None or self._work.clock() > job.told.started + KEEP_SECONDS else job

    def _failed(self, begun: AsyncJob, error: str) -> Told:
        """Return what is told of a job that failed."""
        return replace(begun.told, updated=self._work.clock(), state="failed", error=error)
