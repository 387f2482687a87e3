"""
The fake Runflow over HTTP, generation 3 of its endpoints: runs of SAM 3 and of Smart Segmentation.

Written from the documents and sharing no code with the adapter, so that one misreading cannot hide in both.

Source: docs.runflow.io concepts/{authentication,requests,runs}, guides/cancel-a-run, api-reference (runs); read
2026-11-20. `Idempotency-Key` is documented for batches and assumed for runs; Smart Segmentation's address follows the
pattern of all models; the body of the list of statuses is invented, and so is that only a key which calls itself an
inference key (`rf_live_`) may not cancel.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web
from blake3 import blake3

from providers.sandbox.answer import Answer, json_answer, mask_headers, write_json
from providers.sandbox.config import UpstreamPlan
from providers.sandbox.faults import Fault, Kind, Steps, find
from providers.sandbox.runflow_calls import origin, read_json, valid
from providers.sandbox.runflow_errors import RunflowError, demand_key, envelope
from providers.sandbox.runflow_habits import Habits, Writing
from providers.sandbox.runflow_input import LARGEST_ASSET, RunRequest, read_cancellation, read_run, read_smart_run
from providers.sandbox.runflow_record import View, record
from providers.sandbox.runflow_run import WITH_OUTPUT, Artifact, Run, Runs
from providers.sandbox.runflow_twists import has_nan
from providers.sandbox.segmenting import to_data_uri
from providers.sandbox.shelf import Shelf
from providers.sandbox.signing import Signer
from providers.sandbox.strikes import Strikes, struck

STEPS = Steps(
    provider="runflow",
    names=("create", "poll", "upload", "download", "asset", "callback", "admin", "account"),
    billable="create",
    pictures="download",
    poll="poll",
)

_MOST_KEYS = 20_000
_STATUSES = ("queued", "dispatching", "running", "succeeded", "partial_succeeded", "failed", "canceled")
_LONG_AGO_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class _Replay:
    """The first answer under an idempotency key."""

    body: str
    """Digest of the request that it answered."""
    answer: bytes


class Runflow:
    """The runs of one region."""

    def __init__(self, plan: UpstreamPlan, *, runs: Runs, signer: Signer, output_seconds: int) -> None:
        """Serve *runs*; output addresses are good for *output_seconds*."""
        self.writing = Writing()
        self.habits = Habits()
        self.strict = True
        self._plan = plan
        self._runs = runs
        self._signer = signer
        self._output_seconds = output_seconds
        self._replays: Shelf[_Replay] = Shelf(most=_MOST_KEYS, most_bytes=64_000_000)

    def app(self, strikes: Strikes, *routes: web.RouteDef) -> web.Application:
        """Return the application with further *routes*; a route's name up to its dot is the step faults are laid on."""
        app = web.Application(middlewares=[strikes.layer, envelope], client_max_size=2 * LARGEST_ASSET)
        app.add_routes(
            [
                web.post("/v1/models/meta/sam-3/image/runs", self._create, name="create"),
                web.post("/v1/models/runflow/smart-segmentation/runs", self._create_smart, name="create.smart"),
                web.get("/v1/runs", self._list, name="poll.list"),
                web.get("/v1/runs/statuses", self._statuses, name="poll.statuses"),
                web.get("/v1/runs/{id}", self._get, name="poll.run"),
                web.post("/v1/admin/runs/{id}/cancellation", self._cancel, name="admin.cancellation"),
                *routes,
            ]
        )
        return app

    def view(self, base: str, faults: tuple[Fault, ...], *, inline: bool = False) -> View:
        """
        Return how runs are told to a caller.

        Args:
            base: origin under which that caller reaches the files.
            faults: those that strike the telling.
            inline: whether the run asked for its files as data: URIs.
        """
        inline = inline or find(faults, Kind.DATA_URLS) is not None
        address = partial(self._data_uri if inline else self._signed, base=base, faults=faults)
        return View(self._plan.name, self._plan.region, self.writing, address, faults)

    async def _create(self, request: web.Request) -> Answer:
        """Queue a run of SAM 3."""
        return await self._queue(request, lambda value: read_run(value, strict=self.strict))

    async def _create_smart(self, request: web.Request) -> Answer:
        """Queue a run of Smart Segmentation."""
        return await self._queue(request, lambda value: read_smart_run(value, self.habits, strict=self.strict))

    async def _queue(self, request: web.Request, read: Callable[[Any], RunRequest]) -> Answer:
        """Queue a run, or replay the answer that the same key had before."""
        api_key = demand_key(request)
        body = await request.read()
        faults = struck(request)
        status = find(faults, Kind.CREATE_STATUS)
        code = 201 if status is None else status["status"]
        name = f"{api_key}\n{request.path}\n{request.headers.get('Idempotency-Key', '')}"
        keyed = "Idempotency-Key" in request.headers
        digest = blake3(body).hexdigest()
        known = self._replays.get(name) if keyed else None
        if known is not None:
            if known.body != digest:
                raise RunflowError(409, message="This Idempotency-Key was used with another body.")
            return Answer(known.answer, media_type="application/json", status=code)
        wanted = valid(read, read_json(body))
        refuse_data(wanted, faults)
        answer = await self._started(wanted, request, faults)
        if keyed:
            self._replays.put(name, _Replay(digest, answer), size=len(answer))
        return Answer(answer, media_type="application/json", status=code)

    async def _started(self, wanted: RunRequest, request: web.Request, faults: tuple[Fault, ...]) -> bytes:
        """Queue a run and return its record as it was at that moment."""
        before = next(self._runs.newest_first(), None)
        run = self._runs.create(wanted, faults)
        told = self._record(run, request, status=run.status)
        if find(faults, Kind.DUPLICATE_RUN_ID) is not None and before is not None:
            told["id"] = before.id
        answer = write_json(told)
        callback = find(faults, Kind.CALLBACK)
        if callback is not None and callback["early"]:
            await run.told.wait()
        return answer

    async def _get(self, request: web.Request) -> Answer:
        """Return one run."""
        demand_key(request)
        faults = struck(request)
        run = self._runs.get(request.match_info["id"])
        if run is None or find(faults, Kind.RUN_LOST) is not None:
            raise RunflowError(404, code="RUN_NOT_FOUND", message="No such run.")
        status = _told_status(run, faults)
        found = run.result is not None and status in WITH_OUTPUT
        return json_answer(
            self._record(run, request, status=status),
            headers=mask_headers(run.result.by) if run.result is not None and found else None,
            shows=(run.id,) if found else (),
            nan=has_nan(faults),
        )

    async def _list(self, request: web.Request) -> Answer:
        """Return the newest runs, by reference or status where a filter is given."""
        demand_key(request)
        faults = struck(request)
        limit = request.query.get("limit", "100")
        if not limit.isdecimal() or not 1 <= int(limit) <= 500:
            raise RunflowError(422, errors=[{"field": "limit", "message": "must be an integer from 1 to 500"}])
        client_ref, status = _filter(request.query.get("q", ""))
        lost = find(faults, Kind.RUN_LOST)
        runs = (
            self._runs.newest(most=int(limit), client_ref=client_ref, status=status)
            if lost is None or lost["listed"]
            else []
        )
        items = [self._record(run, request, status=run.status) for run in runs]
        if fields := request.query.get("fields"):
            items = [{name: item[name] for name in fields.split(",") if name in item} for item in items]
        return json_answer(
            {"items": items, "next_pq": None, "prev_pq": None},
            shows=tuple(run.id for run in runs if run.status in WITH_OUTPUT),
            nan=has_nan(faults),
        )

    async def _statuses(self, request: web.Request) -> Answer:
        """Return all statuses that a run can have."""
        demand_key(request)
        return json_answer({"items": [{"code": status} for status in _STATUSES]})

    async def _cancel(self, request: web.Request) -> Answer:
        """Cancel a run as an administrator: 201 where that changed anything, 200 where it had ended."""
        if demand_key(request).startswith("rf_live_"):
            raise RunflowError(403)
        body = await request.read()
        valid(read_cancellation, read_json(body) if body else {})
        run = self._runs.get(request.match_info["id"])
        if run is None:
            raise RunflowError(404, code="RUN_NOT_FOUND", message="No such run.")
        changed = self._runs.cancel(run)
        return json_answer(self._record(run, request, status=run.status), status=201 if changed else 200)

    def _record(self, run: Run, request: web.Request, *, status: str) -> dict[str, Any]:
        """Return a run as JSON values, its addresses newly signed."""
        view = self.view(origin(request), struck(request), inline=run.request.input.sync_mode)
        return record(run, view, status=status)

    def _signed(self, artifact: Artifact, *, base: str, faults: tuple[Fault, ...]) -> str:
        """Return a signed address, or the one that a fault names."""
        away = find(faults, Kind.BAD_MASK_URL)
        if away is not None and not away["redirect"]:
            return str(away["url"])
        if find(faults, Kind.EXPIRED_URLS) is not None:
            return self._signer.url(base, artifact.path, seconds=60, age=_LONG_AGO_SECONDS)
        return self._signer.url(base, artifact.path, seconds=self._output_seconds)

    def _data_uri(self, artifact: Artifact, *, base: str, faults: tuple[Fault, ...]) -> str:
        """Return the file itself; an address when it is forgotten."""
        data = self._runs.output(artifact.path)
        if data is None:
            return self._signed(artifact, base=base, faults=faults)
        return to_data_uri(data, artifact.media_type)


def refuse_data(wanted: RunRequest, faults: tuple[Fault, ...]) -> None:
    """
    Refuse a picture in the request itself where a fault says so.

    Raises:
        RunflowError: 422, in the words of the time when most models did.
    """
    if wanted.input.image_url.startswith("data:") and find(faults, Kind.DATA_REFUSED) is not None:
        message = "media URL must use HTTP(S) or data URI, got 'runflow'"
        raise RunflowError(422, message=message, errors=[{"field": "input.image_url", "message": message}])


def _told_status(run: Run, faults: tuple[Fault, ...]) -> str:
    """Return the status that a reading shows: under `status_back` the end at every other reading only."""
    if run.status not in WITH_OUTPUT or find(faults, Kind.STATUS_BACK) is None:
        return run.status
    run.end_shown = not run.end_shown
    return run.status if run.end_shown else "running"


def _filter(text: str) -> tuple[str | None, str | None]:
    """Read the two documented forms of a filter into a client reference and a status."""
    if not text:
        return None, None
    if found := re.fullmatch(r"client_ref\.EQ:'([^']*)'", text):
        return found.group(1), None
    if found := re.fullmatch(r"status_code:(\w+)", text):
        return None, found.group(1)
    raise RunflowError(422, errors=[{"field": "q", "message": "write client_ref.EQ:'token' or status_code:succeeded"}])
