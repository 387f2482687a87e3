"""
Runs of the fake Runflow: from queued to their end.

Timing is invented (some milliseconds, settable); the statuses and their order are documented. A run is billed at the
moment it succeeds, a failed one never. Nobody but an administrator can cancel a run: the public API ships without it;
and that neither stops the work nor gives the money back, so a run that was cancelled is billed when its work is done.

Source: docs.runflow.io concepts/runs, concepts/pricing, concepts/errors, guides/cancel-a-run; read 2026-11-20. That a
partly succeeded run is billed, and in which moment a cancelled one is, are invented; so is that Smart Segmentation
brings one mask, the union of all that its prompt names, unless its habits say otherwise (the page says "one or more"),
and no output at all where that is nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from providers.contract import Box, Money
from providers.sandbox.books import Books
from providers.sandbox.choosing import Ask
from providers.sandbox.faults import Fault, Kind, find
from providers.sandbox.pictures import PictureSource
from providers.sandbox.runflow_input import RunInput, RunRequest
from providers.sandbox.runflow_products import SMART
from providers.sandbox.segmenting import BadPicture, Opened, Piece, Segmenter
from providers.sandbox.shelf import Shelf

_log = logging.getLogger(__name__)

EXTENSIONS = {"png": "png", "webp": "webp", "jpeg": "jpg"}

ENDS = frozenset({"succeeded", "partial_succeeded", "failed", "canceled", "cancelled"})
"""The statuses in which a run stays, cancelled in either of its spellings."""

WITH_OUTPUT = frozenset({"succeeded", "partial_succeeded"})

MOST_RUNS = 20_000
MOST_OUTPUT_BYTES = 512_000_000


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file that a run made."""

    path: str
    """Where it is served, without the signature."""
    media_type: str
    size: int
    """In bytes."""
    score: float
    box: Box | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a succeeded run found."""

    width: int
    height: int
    masks: tuple[Artifact, ...]
    preview: Artifact | None
    by: str
    """`scene` or `classic`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed."""

    code: str
    message: str
    stage: str


@dataclass(slots=True)
class Run:
    """One run; its status moves on by itself."""

    id: str
    request: RunRequest
    created_at: float
    """Seconds since the epoch, as the two below."""
    status: str = "queued"
    started_at: float | None = None
    completed_at: float | None = None
    result: Result | None = None
    failure: Failure | None = None
    faults: tuple[Fault, ...] = ()
    """Those that struck the call by which it was created: they go with it to its end."""
    end_shown: bool = False
    """Whether the last reading under `status_back` showed its end."""
    ended: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set once it has ended."""
    told: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set once its callback was delivered, or given up, or there is none to deliver."""

    @property
    def microusd(self) -> int:
        """What it costs where it succeeds, in micro-dollars."""
        price = find(self.faults, Kind.PRICE)
        return self.request.product.microusd if price is None else Money.from_usd(price["dollars"]).microusd


def uuid7(seconds: float) -> str:
    """Return a UUIDv7 of that moment (concepts/callbacks names the version)."""
    stamp = int(seconds * 1000).to_bytes(6)
    tail = int.from_bytes(os.urandom(10))
    tail = (tail & ~(0xF << 76)) | (0x7 << 76)
    tail = (tail & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(bytes=stamp + tail.to_bytes(10)))


class Runs:
    """All runs of one upstream."""

    def __init__(
        self,
        upstream: str,
        *,
        segmenter: Segmenter,
        pictures: PictureSource,
        books: Books,
        clock: Callable[[], float],
        run_seconds: float,
    ) -> None:
        """Bill in *books* under the name *upstream*; a run takes at least *run_seconds*."""
        self._upstream = upstream
        self._segmenter = segmenter
        self._pictures = pictures
        self._books = books
        self._clock = clock
        self._run_seconds = run_seconds
        self._runs: Shelf[Run] = Shelf(most=MOST_RUNS, most_bytes=MOST_OUTPUT_BYTES)
        self._outputs: Shelf[bytes] = Shelf(most=8 * MOST_RUNS, most_bytes=MOST_OUTPUT_BYTES)
        self._at_work: set[asyncio.Task[None]] = set()
        self.tell: Callable[[Run], Coroutine[Any, Any, None]] | None = None
        """What to do with a run that has ended: deliver its callback."""

    def create(self, request: RunRequest, faults: tuple[Fault, ...] = ()) -> Run:
        """Queue a run, whose fate *faults* decide, and return it at once."""
        now = self._clock()
        run = Run(uuid7(now), request, now, faults=faults)
        self._runs.put(run.id, run, size=len(request.input.image_url))
        self._begin(self._work(run))
        return run

    def cancel(self, run: Run) -> bool:
        """Say that a run is cancelled, unless it has ended: its work goes on. Return whether that changed anything."""
        if run.status in ENDS:
            return False
        self._end(run, "canceled")
        return True

    def tell_again(self, run: Run) -> None:
        """Deliver the callback of a run once more."""
        if self.tell is not None:
            self._begin(self.tell(run))

    def get(self, run_id: str) -> Run | None:
        """Return a run; None when it never was or is forgotten."""
        return self._runs.get(run_id)

    def newest(self, *, most: int, client_ref: str | None, status: str | None) -> list[Run]:
        """Return the newest runs, of one reference or status where that is given."""
        found: list[Run] = []
        for run in self._runs.newest_first():
            if client_ref in (None, run.request.client_ref) and status in (None, run.status):
                found.append(run)
                if len(found) == most:
                    break
        return found

    def newest_first(self) -> Iterator[Run]:
        """Go through all runs, the newest first."""
        return self._runs.newest_first()

    def output(self, path: str) -> bytes | None:
        """Return an output file; None when it never was or is forgotten."""
        return self._outputs.get(path)

    async def stop(self) -> None:
        """End all work."""
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside the calls."""
        task = asyncio.get_running_loop().create_task(work)
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def _work(self, run: Run) -> None:
        """Lead a run to its end."""
        stuck = find(run.faults, Kind.STUCK)
        for status in ("queued", "dispatching", "running"):
            if run.status not in ENDS:
                run.status = status
            if status == "running":
                run.started_at = self._clock()
            if stuck is not None and stuck["status"] == status:
                return
            await asyncio.sleep(self._run_seconds / 3)
        cancelled, failed = find(run.faults, Kind.CANCELLED), find(run.faults, Kind.RUN_FAILED)
        if cancelled is not None:
            self._end(run, cancelled["spelling"])
        elif failed is not None:
            told = failed.told
            run.failure = Failure(told["failure_code"], told["failure_message"], told["failure_stage_code"])
            self._end(run, "failed")
        else:
            await self._infer(run)

    async def _infer(self, run: Run) -> None:
        """Do what a run is for, and bill it."""
        try:
            run.result = await self._segment(run)
        except BadPicture as error:
            run.failure = Failure("INPUT_VALIDATION_FAILED", str(error), "preprocess")
        except Exception as error:  # noqa: BLE001 - a run must end: nobody awaits this task, its caller polls
            _log.exception("a sandbox run ended in a fault of the sandbox's own")
            run.failure = Failure("INTERNAL_ERROR", f"{type(error).__name__}: {error}", "dispatch")
        if run.failure is not None:
            self._end(run, "failed")
            return
        self._books.write(self._upstream, run.id, client_ref=run.request.client_ref, microusd=run.microusd)
        self._end(run, "succeeded" if find(run.faults, Kind.PARTIAL_SUCCEEDED) is None else "partial_succeeded")

    def _end(self, run: Run, status: str) -> None:
        """End a run that has not ended yet, and have its callback delivered; late callbacks are dropped."""
        if run.status in ENDS:
            return
        run.status, run.completed_at = status, self._clock()
        run.ended.set()
        if self.tell is not None and run.request.callback_url is not None:
            self._begin(self.tell(run))
        else:
            run.told.set()

    async def _segment(self, run: Run) -> Result:
        """Fetch the picture, find what is asked for and keep the files."""
        wanted = run.request.input
        picture = await self._segmenter.open(await self._pictures.bring(wanted.image_url))
        _refuse_outside(wanted, picture)
        found = await self._segmenter.find(picture, Ask(text=wanted.prompt, objects=wanted.objects))
        if run.request.product is SMART and not wanted.return_multiple_masks:
            found = await self._segmenter.union(picture, found)
        pieces = found.pieces[: wanted.max_masks if wanted.return_multiple_masks else 1]
        pieces = await self._miscounted(picture, pieces, run.faults)
        return await self._keep(run, picture, pieces, found.by)

    async def _miscounted(
        self, picture: Opened, pieces: tuple[Piece, ...], faults: tuple[Fault, ...]
    ) -> tuple[Piece, ...]:
        """Return as many pieces as the faults make of them."""
        if find(faults, Kind.PARTIAL_SUCCEEDED) is not None and len(pieces) > 1:
            pieces = pieces[:-1]
        return await self._segmenter.miscounted(picture, pieces, faults)

    async def _keep(self, run: Run, picture: Opened, pieces: tuple[Piece, ...], by: str) -> Result:
        """Encode the masks and the preview, which is the first mask once more under a name of its own."""
        wanted = run.request.input
        files = [
            await self._segmenter.encode(
                picture, piece, wanted.output_format, apply_mask=wanted.apply_mask, inverted=wanted.inverted
            )
            for piece in pieces
        ]
        masks = tuple(
            self._artifact(run.id, f"mask_{n}", wanted, piece, file)
            for n, (piece, file) in enumerate(zip(pieces, files, strict=True))
        )
        preview = self._artifact(run.id, "preview", wanted, pieces[0], files[0]) if pieces else None
        return Result(picture.width, picture.height, masks, preview, by)

    def _artifact(self, run_id: str, name: str, wanted: RunInput, piece: Piece, data: bytes) -> Artifact:
        """Keep one file."""
        path = f"/outputs/{run_id}/{name}.{EXTENSIONS[wanted.output_format]}"
        self._outputs.put(path, data, size=len(data))
        return Artifact(path, f"image/{wanted.output_format}", len(data), piece.score, piece.mask.box)


def _refuse_outside(wanted: RunInput, picture: Opened) -> None:
    """Refuse prompts that lie outside of the picture (invented: nothing says what the service does)."""
    for prompt in wanted.objects:
        inside = all(point.x < picture.width and point.y < picture.height for point in prompt.points)
        box = prompt.box
        if not inside or (box is not None and (box.x_max > picture.width or box.y_max > picture.height)):
            raise BadPicture(f"a point or box lies outside of the {picture.width}x{picture.height} picture")
