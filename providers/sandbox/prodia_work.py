"""
What a Prodia job does, whichever way it was asked for.

Invented: a job goes on and is billed when its caller leaves, and one that brings nothing is a billed success; and every
job that makes a picture makes the same one, which the sandbox knows exactly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from providers.contract import Money
from providers.sandbox.books import Books
from providers.sandbox.choosing import Ask
from providers.sandbox.config import UpstreamPlan
from providers.sandbox.faults import Fault, Kind, find
from providers.sandbox.prodia_job import TYPES, Job, JobRefused, Told, record, refuse_size
from providers.sandbox.scene import Scene
from providers.sandbox.segmenting import BadPicture, Segmenter


@dataclass(frozen=True, slots=True)
class File:
    """One output."""

    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a job."""

    job: Job
    told: Told
    files: tuple[File, ...]
    by: str
    """`scene` or `classic`; empty where nothing was looked for."""
    microusd: int
    """What was billed, in micro-dollars."""

    def record(self, *, priced: bool, faults: tuple[Fault, ...] = ()) -> bytes:
        """Return the job's record, with its price where that is asked for and no fault keeps it back."""
        priced = priced and self.told.state == "completed" and find(faults, Kind.NO_PRICE) is None
        told = replace(
            self.told,
            microusd=self.microusd if priced else None,
            metrics=self.told.metrics and find(faults, Kind.NO_METRICS) is None,
        )
        return record(self.job, told)


class Work:
    """Does jobs and bills them."""

    def __init__(
        self,
        plan: UpstreamPlan,
        *,
        segmenter: Segmenter,
        books: Books,
        clock: Callable[[], float],
        run_seconds: float,
        generated: Scene,
    ) -> None:
        """Bill in *books*; a job takes at least *run_seconds*; one that makes a picture brings *generated*."""
        self.clock = clock
        self._generated = generated
        self._plan = plan
        self._segmenter = segmenter
        self._books = books
        self._run_seconds = run_seconds

    async def do(self, job: Job, job_id: str, faults: tuple[Fault, ...] = ()) -> Done:
        """
        Do a job; bill it where it completes.

        Raises:
            JobRefused: its picture is none that the type takes.
        """
        started = self.clock()
        await asyncio.sleep(self._run_seconds)
        failed = find(faults, Kind.STATE_FAILED)
        if failed is not None:
            told = Told(job_id, started, self.clock(), "failed", error=failed["message"])
            return Done(job, told, (), "", 0)
        files, by = await self._files(job, faults)
        microusd = TYPES[job.type].microusd
        price = find(faults, Kind.PRICE)
        if price is not None:
            microusd = Money.from_usd(price["dollars"]).microusd
        if microusd:
            self._books.write(self._plan.name, job_id, client_ref=None, microusd=microusd)
        return Done(job, Told(job_id, started, self.clock()), files, by, microusd)

    async def _files(self, job: Job, faults: tuple[Fault, ...]) -> tuple[tuple[File, ...], str]:
        """Return what a job brings, and where its masks come from."""
        if TYPES[job.type].makes:
            return (File("image/jpeg", await self._segmenter.jpeg_of(self._generated, job.resolution)),), ""
        return ((), "") if job.picture is None else await self._segment(job, job.picture, faults)

    async def _segment(self, job: Job, data: bytes, faults: tuple[Fault, ...]) -> tuple[tuple[File, ...], str]:
        """Return the masks, and who found them."""
        try:
            picture = await self._segmenter.open(data)
            refuse_size(job, picture)
            found = await self._segmenter.find(picture, Ask(text=job.prompt, automatic=not TYPES[job.type].prompted))
        except BadPicture as error:
            raise JobRefused(f"input: {error}", {"type": job.type}) from error
        sure = tuple(piece for piece in found.pieces if piece.score >= job.threshold)
        files = []
        for piece in await self._segmenter.miscounted(picture, sure, faults):
            png = await self._segmenter.encode(picture, piece, "png", apply_mask=False)
            files.append(await self._file(png, faults))
        return tuple(files), found.by

    async def _file(self, png: bytes, faults: tuple[Fault, ...]) -> File:
        """Return a mask in the form in which the faults want it."""
        form = find(faults, Kind.MASK_FORM)
        return File("image/png", png) if form is None else File(*await self._segmenter.reform(png, form["form"]))
