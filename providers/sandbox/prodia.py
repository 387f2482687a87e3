"""
The fake Prodia over HTTP: one synchronous call, multipart both ways.

Written from the documents and sharing no code with the adapter, so that one misreading cannot hide in both.

Source: docs.prodia.com reference/inference, reference/price; what the npm client `prodia` 1.6.0 sends and accepts; read
2026-11-20. Invented: a job goes on and is billed when its caller leaves, `mask_N.png` as file names, the reply to
`Accept: image/*` when there are several masks (the first one) or none (multipart), and to an unknown type (its text).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from aiohttp import web

from providers.sandbox.answer import Answer, text_answer
from providers.sandbox.books import Books
from providers.sandbox.choosing import Ask
from providers.sandbox.config import PRODIA_MICROUSD, UpstreamPlan
from providers.sandbox.faults import Steps
from providers.sandbox.multipart import BadMultipart, Part, boundary_of, read_parts, write_parts
from providers.sandbox.prodia_job import TYPES, Job, JobRefused, NoSuchType, completed, read_job, refuse_size, refused
from providers.sandbox.segmenting import BadPicture, Segmenter
from providers.sandbox.strikes import Strikes

STEPS = Steps(names=("job",), billable="job", pictures="job", multipart=True)

_LARGEST_BODY = 64_000_000
_TEXTS = {401: "token is invalid", 429: "too many requests"}

Call = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error_answer(status: int) -> Answer:
    """Return an error of the service itself: plain text (only 401's is documented); a 429 says when to come back."""
    headers = {"Retry-After": "1"} if status == 429 else None
    return text_answer(_TEXTS.get(status, f"error {status}"), status=status, headers=headers)


@web.middleware
async def plain_errors(request: web.Request, handler: Call) -> web.StreamResponse:
    """Write the framework's own errors (unknown route, body too large) as plain text."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return error_answer(error.status)


class Prodia:
    """The one call."""

    def __init__(
        self,
        plan: UpstreamPlan,
        *,
        segmenter: Segmenter,
        books: Books,
        clock: Callable[[], float],
        run_seconds: float,
    ) -> None:
        """Bill in *books*; a job takes at least *run_seconds*."""
        self._plan = plan
        self._segmenter = segmenter
        self._books = books
        self._clock = clock
        self._run_seconds = run_seconds
        self._at_work: set[asyncio.Task[Answer]] = set()

    def app(self, strikes: Strikes) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[strikes.layer, plain_errors], client_max_size=_LARGEST_BODY)
        app.add_routes([web.post("/v2/job", self._post_job, name="job")])
        return app

    async def stop(self) -> None:
        """End all jobs."""
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)

    async def _post_job(self, request: web.Request) -> Answer:
        """Do a job and answer with its outputs."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return error_answer(401)
        body = await request.read()
        try:
            job = read_job(_parts(body, request.headers.get("Content-Type", "")))
        except NoSuchType:
            return error_answer(429)
        except JobRefused as error:
            return self._refused(error)
        # A job that has begun is done and billed even when its caller leaves, which cancels this coroutine.
        accept = request.headers.get("Accept", "")
        task = asyncio.ensure_future(self._done(job, accept, priced=request.query.get("price") == "true"))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return await asyncio.shield(task)

    async def _done(self, job: Job, accept: str, *, priced: bool) -> Answer:
        """Do a job, bill it and write its answer."""
        started = self._clock()
        await asyncio.sleep(self._run_seconds)
        try:
            picture = await self._segmenter.open(job.picture)
            refuse_size(job, picture)
            found = await self._segmenter.find(picture, Ask(text=job.prompt, automatic=not TYPES[job.type].prompted))
        except BadPicture as error:
            return self._refused(JobRefused(f"input: {error}", {"type": job.type}))
        except JobRefused as error:
            return self._refused(error)
        pieces = [piece for piece in found.pieces if piece.score >= job.threshold]
        masks = [await self._segmenter.encode(picture, piece, "png", apply_mask=False) for piece in pieces]
        job_id = str(uuid.uuid4())
        self._books.write(self._plan.name, job_id, client_ref=None, microusd=PRODIA_MICROUSD)
        # The one float of money in the tree: it is Prodia's own form of a price.
        price = {"product": TYPES[job.type].product, "dollars": PRODIA_MICROUSD / 1_000_000} if priced else None
        record = completed(job, job_id, started=started, ended=self._clock(), price=price)
        return _reply(record, masks, accept, job_id=job_id, by=found.by)

    def _refused(self, error: JobRefused) -> Answer:
        """Answer 400 with the reason in a job record, in multipart whatever was accepted."""
        content_type, body = write_parts((_job_part(refused(error, at=self._clock())),))
        return Answer(body, media_type=content_type, status=400)


def _parts(body: bytes, content_type: str) -> tuple[Part, ...]:
    """Return the parts of a form; a JSON body is a job without any input."""
    boundary = boundary_of(content_type)
    if boundary is None:
        return (Part("job", "job.json", "application/json", body),)
    try:
        return read_parts(body, boundary)
    except BadMultipart as error:
        raise JobRefused(f"body: not multipart/form-data: {error}") from error


def _job_part(record: bytes) -> Part:
    """Return the part that holds the job record."""
    return Part("job", "job.json", "application/json", record)


def _reply(record: bytes, masks: list[bytes], accept: str, *, job_id: str, by: str) -> Answer:
    """Write the answer in the form that *accept* asks for."""
    headers = {"X-Sandbox-Masks": by}
    wanted = accept.split(",", 1)[0].split(";", 1)[0].strip().lower()
    if wanted == "application/json":
        return Answer(record, media_type="application/json", headers=headers, shows=(job_id,))
    raw = wanted.startswith("image/") or (wanted in ("", "*/*") and len(masks) == 1)
    if raw and masks:
        return Answer(masks[0], media_type="image/png", headers=headers, shows=(job_id,))
    outputs = (Part("output", f"mask_{n}.png", "image/png", mask) for n, mask in enumerate(masks))
    content_type, body = write_parts((_job_part(record), *outputs))
    return Answer(body, media_type=content_type, headers=headers, shows=(job_id,))
