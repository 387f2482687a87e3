"""
The fake Prodia over HTTP: one synchronous call, multipart both ways, and the same asynchronously.

Written from the documents and sharing no code with the adapter, so that one misreading cannot hide in both.

Source: docs.prodia.com reference/inference, reference/price, reference/async; what the npm client `prodia` 1.6.0 sends;
read 2026-11-20. Invented: the texts of errors other than 401's, and that a type which has no asynchronous form is
refused in the words used here.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import orjson
from aiohttp import web

from providers.sandbox.answer import Answer, text_answer
from providers.sandbox.faults import Steps
from providers.sandbox.multipart import BadMultipart, Part, boundary_of, read_parts, write_parts
from providers.sandbox.prodia_async import AsyncJob, AsyncJobs
from providers.sandbox.prodia_habits import ProdiaHabits
from providers.sandbox.prodia_job import TYPES, Job, JobRefused, NoSuchType, read_job, refused
from providers.sandbox.prodia_reply import file_name, job_part, reply
from providers.sandbox.prodia_work import File, Work
from providers.sandbox.strikes import Strikes, struck

STEPS = Steps(provider="prodia", names=("job", "poll", "download"), billable="job", pictures="job", poll="poll")

_LARGEST_BODY = 64_000_000
_TEXTS = {401: "token is invalid", 429: "too many requests"}

Call = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error_answer(status: int) -> Answer:
    """Return an error of the service itself: plain text (only 401's is documented); a 429 says when to come back."""
    headers = {"Retry-After": "1"} if status == 429 else None
    return text_answer(_TEXTS.get(status, f"error {status}"), status=status, headers=headers)


class _Denied(Exception):
    """There is no token."""


class Prodia:
    """The calls of the service."""

    def __init__(self, work: Work) -> None:
        """Have jobs done by *work*."""
        self.habits = ProdiaHabits()
        self.strict = False
        self._work = work
        self._async = AsyncJobs(work)
        self._at_work: set[asyncio.Task[Any]] = set()

    def app(self, strikes: Strikes) -> web.Application:
        """Return the application; a route's name up to its dot is the step that faults are laid on."""
        app = web.Application(middlewares=[strikes.layer, self._said], client_max_size=_LARGEST_BODY)
        app.add_routes(
            [
                web.post("/v2/job", self._post_job, name="job"),
                web.post("/v2/job/async", self._post_async, name="job.begin"),
                web.get("/v2/job/async/{id}/job.state.current", self._get_state, name="poll.state"),
                web.get("/v2/job/async/{id}/job.json", self._get_job, name="poll.job"),
                web.get("/v2/job/async/{id}/output", self._list_outputs, name="poll.outputs"),
                web.get("/v2/job/async/{id}/output/{file}", self._get_output, name="download"),
            ]
        )
        return app

    async def stop(self) -> None:
        """End all jobs."""
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)

    @web.middleware
    async def _said(self, request: web.Request, handler: Call) -> web.StreamResponse:
        """Demand a token, and write every error: jobs' in multipart, the rest (unknown route, say) in plain text."""
        try:
            _demand_token(request)
            return await handler(request)
        except _Denied:
            return error_answer(401)
        except NoSuchType:
            if self.habits.unknown_type == "429":
                return error_answer(429)
            return self._refused(JobRefused("type: unknown job type"))
        except JobRefused as error:
            return self._refused(error)
        except web.HTTPException as error:
            return error_answer(error.status)

    async def _post_job(self, request: web.Request) -> Answer:
        """Do a job and answer with its outputs."""
        job = await self._job(request)
        accept, priced = request.headers.get("Accept", ""), _priced(request)
        # A job that has begun is done and billed even when its caller leaves, which cancels this coroutine.
        return await asyncio.shield(self._begin(self._done(job, request, accept, priced=priced)))

    async def _done(self, job: Job, request: web.Request, accept: str, *, priced: bool) -> Answer:
        """Do a job and write its answer."""
        faults = struck(request)
        try:
            done = await self._work.do(job, str(uuid.uuid4()), faults)
        except JobRefused as error:
            return self._refused(error)
        return reply(done, accept, priced=priced, faults=faults)

    async def _post_async(self, request: web.Request) -> Answer:
        """Begin a job and answer at once."""
        job = await self._job(request)
        if job.type not in self.habits.async_types:
            raise JobRefused(f"type: {job.type} has no async form", {"type": job.type})
        begun = self._async.create(job)
        self._begin(self._async.do(begun, struck(request)))
        return Answer(begun.record(priced=False), media_type="application/json", status=201)

    async def _get_state(self, request: web.Request) -> Answer:
        """Say in one word how far a job is."""
        job = self._known(request)
        return Answer(job.state.encode(), media_type="text/plain; charset=utf-8", shows=job.shows)

    async def _get_job(self, request: web.Request) -> Answer:
        """Return a job's record."""
        job = self._known(request)
        return Answer(job.record(priced=_priced(request)), media_type="application/json", shows=job.shows)

    async def _list_outputs(self, request: web.Request) -> Answer:
        """Return the names of a job's outputs."""
        return Answer(orjson.dumps(list(_named(self._known(request)))), media_type="application/json")

    async def _get_output(self, request: web.Request) -> Answer:
        """Return one output."""
        file = _named(self._known(request)).get(request.match_info["file"])
        if file is None:
            raise web.HTTPNotFound
        return Answer(file.data, media_type=file.media_type)

    async def _job(self, request: web.Request) -> Job:
        """Read the job of a call."""
        parts = _parts(await request.read(), request.headers.get("Content-Type", ""))
        return read_job(parts, strict=self.strict)

    def _known(self, request: web.Request) -> AsyncJob:
        """Return the job of the path, or end in 404: it never was, or is forgotten."""
        job = self._async.get(request.match_info["id"])
        if job is None:
            raise web.HTTPNotFound
        return job

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something that goes on without its caller."""
        task = asyncio.ensure_future(work)
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return task

    def _refused(self, error: JobRefused) -> Answer:
        """Answer 400 with the reason in a job record, in multipart whatever was accepted."""
        content_type, body = write_parts((job_part(refused(error, at=self._work.clock())),))
        return Answer(body, media_type=content_type, status=400)


def _demand_token(request: web.Request) -> None:
    """
    Demand a token; any that is not empty will do.

    Raises:
        _Denied: there is none.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if request.match_info.http_exception is None and (scheme.lower() != "bearer" or not token.strip()):
        raise _Denied


def _priced(request: web.Request) -> bool:
    """Say whether the price is asked for."""
    return request.query.get("price") == "true"


def _named(job: AsyncJob) -> dict[str, File]:
    """Return the outputs of a job by their names."""
    made = TYPES[job.job.type].makes
    return {file_name(number, made=made): file for number, file in enumerate(job.files)}


def _parts(body: bytes, content_type: str) -> tuple[Part, ...]:
    """Return the parts of a form; a JSON body is a job without any input."""
    boundary = boundary_of(content_type)
    if boundary is None:
        return (Part("job", "job.json", "application/json", body),)
    try:
        return read_parts(body, boundary)
    except BadMultipart as error:
        raise JobRefused(f"body: not multipart/form-data: {error}") from error
