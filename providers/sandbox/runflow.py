"""
The fake Runflow over HTTP, generation 3 of its endpoints: runs of `meta/sam-3/image`, assets, health, balance.

Written from the documents and sharing no code with the adapter, so that one misreading cannot hide in both.

Source: docs.runflow.io concepts/{authentication,requests,runs}, api-reference (runs, asset uploads, billing),
guides/upload-large-files; read 2026-11-20. `Idempotency-Key` is documented for batches and assumed for runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import orjson
from aiohttp import web
from blake3 import blake3

from providers.sandbox.answer import Answer, json_answer
from providers.sandbox.assets import Asset, Assets
from providers.sandbox.books import Books
from providers.sandbox.config import UpstreamPlan
from providers.sandbox.faults import Steps
from providers.sandbox.runflow_errors import RunflowError, demand_key, envelope
from providers.sandbox.runflow_input import LARGEST_ASSET, InvalidInput, read_asset, read_run
from providers.sandbox.runflow_record import Address, Writing, moment, organization, record
from providers.sandbox.runflow_run import Artifact, Run, Runs
from providers.sandbox.segmenting import to_data_uri
from providers.sandbox.shelf import Shelf
from providers.sandbox.signing import NO_SUCH_KEY, Refusal, Signer
from providers.sandbox.strikes import Strikes

T = TypeVar("T")

STEPS = Steps(
    names=("create", "poll", "upload", "download", "asset", "account"),
    billable="create",
    pictures="download",
    multipart=False,
)

_MOST_KEYS = 20_000
_BALANCE_MICROUSD = 100_000_000
"""What the account holds at the start. Invented."""


@dataclass(frozen=True, slots=True)
class _Replay:
    """The first answer under an idempotency key."""

    body: str
    """Digest of the request that it answered."""
    answer: bytes


class Runflow:
    """The calls of one region."""

    def __init__(
        self,
        plan: UpstreamPlan,
        *,
        runs: Runs,
        assets: Assets,
        signer: Signer,
        books: Books,
        clock: Callable[[], float],
        output_seconds: int,
    ) -> None:
        """Serve *runs* and *assets*; output addresses are good for *output_seconds*."""
        self.writing = Writing()
        self._plan = plan
        self._runs = runs
        self._assets = assets
        self._signer = signer
        self._books = books
        self._started_at = clock()
        self._output_seconds = output_seconds
        self._replays: Shelf[_Replay] = Shelf(most=_MOST_KEYS, most_bytes=64_000_000)

    def app(self, strikes: Strikes) -> web.Application:
        """Return the application; a route's name up to its dot is the step that faults are laid on."""
        app = web.Application(middlewares=[strikes.layer, envelope], client_max_size=2 * LARGEST_ASSET)
        app.add_routes(
            [
                web.get("/v1/health", self._health, name="account.health"),
                web.get("/v1/billing/balance", self._balance, name="account.balance"),
                web.post("/v1/models/meta/sam-3/image/runs", self._create, name="create"),
                web.get("/v1/runs", self._list, name="poll.list"),
                web.get("/v1/runs/{id}", self._get, name="poll.run"),
                web.post("/v1/asset-uploads", self._announce, name="upload.announce"),
                web.put("/uploads/{id}", self._put, name="upload.put"),
                web.post("/v1/asset-uploads/{id}/confirmations", self._confirm, name="upload.confirm"),
                web.get("/v1/assets/{id}", self._asset, name="asset.record"),
                web.get("/assets/{id}/{file}", self._asset_file, name="asset.file"),
                web.get("/outputs/{id}/{file}", self._output_file, name="download"),
            ]
        )
        return app

    async def _health(self, _request: web.Request) -> Answer:
        """Say that we are up."""
        return json_answer({"status": "ok"})

    async def _balance(self, request: web.Request) -> Answer:
        """Say what is left on the account."""
        demand_key(request)
        left = _BALANCE_MICROUSD - self._books.charged(self._plan.name)
        organization_id = organization(self._plan.name)
        return json_answer(
            {
                "id": organization_id,
                "org_id": organization_id,
                "balance": f"{'-' if left < 0 else ''}{abs(left) // 1_000_000}.{abs(left) % 1_000_000:06d}",
                "low_balance_threshold": None,
                "low_balance_notified_at": None,
                "created_at": moment(self._started_at),
                "updated_at": moment(self._started_at),
            }
        )

    async def _create(self, request: web.Request) -> Answer:
        """Queue a run, or replay the answer that the same key had before."""
        api_key = demand_key(request)
        body = await request.read()
        name = f"{api_key}\n{request.headers.get('Idempotency-Key', '')}"
        keyed = "Idempotency-Key" in request.headers
        digest = blake3(body).hexdigest()
        known = self._replays.get(name) if keyed else None
        if known is not None:
            if known.body != digest:
                raise RunflowError(409, message="This Idempotency-Key was used with another body.")
            return Answer(known.answer, media_type="application/json", status=201)
        run = self._runs.create(_valid(read_run, _json(body)))
        answer = orjson.dumps(self._record(run, request))
        if keyed:
            self._replays.put(name, _Replay(digest, answer), size=len(answer))
        return Answer(answer, media_type="application/json", status=201)

    async def _get(self, request: web.Request) -> Answer:
        """Return one run."""
        demand_key(request)
        run = self._runs.get(request.match_info["id"])
        if run is None:
            raise RunflowError(404, code="RUN_NOT_FOUND", message="No such run.")
        headers = {"X-Sandbox-Masks": run.result.by} if run.result is not None else None
        return json_answer(self._record(run, request), headers=headers, shows=_shown([run]))

    async def _list(self, request: web.Request) -> Answer:
        """Return the newest runs, by reference or status where a filter is given."""
        demand_key(request)
        limit = request.query.get("limit", "100")
        if not limit.isdecimal() or not 1 <= int(limit) <= 500:
            raise RunflowError(422, errors=[{"field": "limit", "message": "must be an integer from 1 to 500"}])
        client_ref, status = _filter(request.query.get("q", ""))
        runs = self._runs.newest(most=int(limit), client_ref=client_ref, status=status)
        items = [self._record(run, request) for run in runs]
        if fields := request.query.get("fields"):
            items = [{name: item[name] for name in fields.split(",") if name in item} for item in items]
        return json_answer({"items": items, "next_pq": None, "prev_pq": None}, shows=_shown(runs))

    async def _announce(self, request: web.Request) -> Answer:
        """Make room for an upload."""
        demand_key(request)
        wanted = _valid(read_asset, _json(await request.read()))
        asset, url = self._assets.announce(wanted, _origin(request))
        return json_answer({"asset_id": asset.id, "upload_url": url}, status=201)

    async def _put(self, request: web.Request) -> Answer:
        """Take the bytes of an upload."""
        credential = "Authorization" in request.headers
        refusal = self._assets.refusal(request.path, request.query, credential=credential)
        if refusal is None:
            refusal = self._assets.put(request.match_info["id"], await request.read(), request.content_type)
        return _refused(refusal) if refusal is not None else Answer(b"", media_type="text/plain")

    async def _confirm(self, request: web.Request) -> Answer:
        """Turn an upload into an asset."""
        demand_key(request)
        asset = self._known_asset(request)
        if asset.data is None:
            raise RunflowError(409, message="Nothing was uploaded yet.")
        if len(asset.data) != asset.request.size_bytes:
            found = f"{len(asset.data)} bytes were uploaded, {asset.request.size_bytes} were announced"
            raise RunflowError(422, errors=[{"field": "size_bytes", "message": found}])
        asset.confirmed = True
        return json_answer(self._asset_record(asset, request), status=201)

    async def _asset(self, request: web.Request) -> Answer:
        """Return an asset, its address newly signed."""
        demand_key(request)
        return json_answer(self._asset_record(self._known_asset(request), request))

    async def _asset_file(self, request: web.Request) -> Answer:
        """Serve an uploaded file."""
        credential = "Authorization" in request.headers
        found = self._assets.serve(request.path, request.query, credential=credential)
        return _refused(found) if isinstance(found, Refusal) else Answer(found[1], media_type=found[0])

    async def _output_file(self, request: web.Request) -> Answer:
        """Serve an output file."""
        refusal = self._signer.check(request.path, request.query, credential="Authorization" in request.headers)
        data = self._runs.output(request.path)
        if refusal is not None or data is None:
            return _refused(refusal or NO_SUCH_KEY)
        extension = request.path.rsplit(".", 1)[1]
        return Answer(data, media_type=f"image/{'jpeg' if extension == 'jpg' else extension}")

    def _known_asset(self, request: web.Request) -> Asset:
        """Return the asset of the path, or end in 404."""
        asset = self._assets.get(request.match_info["id"])
        if asset is None:
            raise RunflowError(404)
        return asset

    def _asset_record(self, asset: Asset, request: web.Request) -> dict[str, Any]:
        """Return an asset as JSON values."""
        return {
            "id": asset.id,
            "org_id": organization(self._plan.name),
            "folder_id": None,
            "name": asset.request.filename,
            "r2_key": asset.path.lstrip("/"),
            "url": self._assets.url(asset, _origin(request)) if asset.confirmed else None,
            "thumbnail_url": None,
            "mime_type": asset.request.mime_type,
            "size_bytes": asset.request.size_bytes,
            "asset_type": "image",
            "source_type": "upload",
            "created_at": moment(asset.created_at),
        }

    def _record(self, run: Run, request: web.Request) -> dict[str, Any]:
        """Return a run as JSON values, its addresses newly signed."""
        return record(
            run,
            upstream=self._plan.name,
            region=self._plan.region,
            writing=self.writing,
            address=self.address(run, _origin(request)),
        )

    def address(self, run: Run, origin: str) -> Address:
        """Return what says where the artifacts of *run* are."""
        return partial(self._data_uri if run.request.input.sync_mode else self._signed, origin=origin)

    def _signed(self, artifact: Artifact, *, origin: str) -> str:
        """Return a signed address."""
        return self._signer.url(origin, artifact.path, seconds=self._output_seconds)

    def _data_uri(self, artifact: Artifact, *, origin: str) -> str:
        """Return the file itself; an address when it is forgotten."""
        data = self._runs.output(artifact.path)
        return to_data_uri(data, artifact.media_type) if data is not None else self._signed(artifact, origin=origin)


def _origin(request: web.Request) -> str:
    """Return scheme, host and port by which the client reached us, so that the addresses work for it too."""
    return f"{request.scheme}://{request.host}"


def _refused(refusal: Refusal) -> Answer:
    """Answer as an object store does."""
    return Answer(refusal.xml, media_type="application/xml", status=refusal.status)


def _shown(runs: list[Run]) -> tuple[str, ...]:
    """Return the ids of the runs whose success can be seen."""
    return tuple(run.id for run in runs if run.status == "succeeded")


def _json(body: bytes) -> Any:
    """Read a JSON body, or end in 400."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RunflowError(400, message=f"The body is not JSON: {error}.") from error


def _valid(read: Callable[[Any], T], value: Any) -> T:
    """Read a body, or end in 422."""
    try:
        return read(value)
    except InvalidInput as error:
        raise RunflowError(422, errors=error.errors) from error


def _filter(text: str) -> tuple[str | None, str | None]:
    """Read the two documented forms of a filter into a client reference and a status."""
    if not text:
        return None, None
    if found := re.fullmatch(r"client_ref\.EQ:'([^']*)'", text):
        return found.group(1), None
    if found := re.fullmatch(r"status_code:(\w+)", text):
        return None, found.group(1)
    raise RunflowError(422, errors=[{"field": "q", "message": "write client_ref.EQ:'token' or status_code:succeeded"}])
