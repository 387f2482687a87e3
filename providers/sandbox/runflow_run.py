"""
Runs of the fake Runflow: from queued to their end.

Timing is invented (some milliseconds, settable); the statuses and their order are documented. A run is billed at the
moment it succeeds, a failed one never. Nobody can cancel a run: the public API ships without it.

Source: docs.runflow.io concepts/runs, concepts/pricing, concepts/errors; read 2026-11-20.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from providers.contract import Box
from providers.sandbox.books import Books
from providers.sandbox.choosing import Ask
from providers.sandbox.config import RUNFLOW_MICROUSD
from providers.sandbox.pictures import PictureSource
from providers.sandbox.runflow_input import RunInput, RunRequest
from providers.sandbox.segmenting import BadPicture, Found, Opened, Piece, Segmenter
from providers.sandbox.shelf import Shelf

_log = logging.getLogger(__name__)

EXTENSIONS = {"png": "png", "webp": "webp", "jpeg": "jpg"}

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
        self.ended: Callable[[Run], Coroutine[Any, Any, None]] | None = None
        """What to do with a run that has ended: deliver its callback."""

    def create(self, request: RunRequest) -> Run:
        """Queue a run and return it at once."""
        now = self._clock()
        run = Run(uuid7(now), request, now)
        self._runs.put(run.id, run, size=len(request.input.image_url))
        task = asyncio.get_running_loop().create_task(self._work(run))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return run

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

    def output(self, path: str) -> bytes | None:
        """Return an output file; None when it never was or is forgotten."""
        return self._outputs.get(path)

    async def stop(self) -> None:
        """End all work."""
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)

    async def _work(self, run: Run) -> None:
        """Lead a run to its end."""
        await asyncio.sleep(self._run_seconds / 3)
        run.status = "dispatching"
        await asyncio.sleep(self._run_seconds / 3)
        run.status, run.started_at = "running", self._clock()
        await asyncio.sleep(self._run_seconds / 3)
        try:
            run.result = await self._segment(run)
        except BadPicture as error:
            run.failure = Failure("INPUT_VALIDATION_FAILED", str(error), "preprocess")
        except Exception as error:  # noqa: BLE001 - a run must end: nobody awaits this task, its caller polls
            _log.exception("a sandbox run ended in a fault of the sandbox's own")
            run.failure = Failure("INTERNAL_ERROR", f"{type(error).__name__}: {error}", "dispatch")
        run.completed_at = self._clock()
        run.status = "failed" if run.failure is not None else "succeeded"
        if run.failure is None:
            self._books.write(self._upstream, run.id, client_ref=run.request.client_ref, microusd=RUNFLOW_MICROUSD)
        if self.ended is not None and run.request.callback_url is not None:
            await self.ended(run)

    async def _segment(self, run: Run) -> Result:
        """Fetch the picture, find what is asked for and keep the files."""
        wanted = run.request.input
        picture = await self._segmenter.open(await self._pictures.bring(wanted.image_url))
        _refuse_outside(wanted, picture)
        found = await self._segmenter.find(picture, Ask(text=wanted.prompt, objects=wanted.objects))
        return await self._keep(run.id, wanted, picture, found)

    async def _keep(self, run_id: str, wanted: RunInput, picture: Opened, found: Found) -> Result:
        """Encode the masks and the preview, which is the first mask once more under a name of its own."""
        pieces = found.pieces[: wanted.max_masks if wanted.return_multiple_masks else 1]
        masks = tuple(
            [await self._artifact(run_id, f"mask_{n}", wanted, picture, piece) for n, piece in enumerate(pieces)]
        )
        preview = await self._artifact(run_id, "preview", wanted, picture, pieces[0]) if pieces else None
        return Result(picture.width, picture.height, masks, preview, found.by)

    async def _artifact(self, run_id: str, name: str, wanted: RunInput, picture: Opened, piece: Piece) -> Artifact:
        """Keep one file."""
        data = await self._segmenter.encode(picture, piece, wanted.output_format, apply_mask=wanted.apply_mask)
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
