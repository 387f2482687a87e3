"""
The files of the fake Runflow over HTTP: uploads in three steps, assets, and the outputs of runs.

Source: docs.runflow.io guides/upload-large-files, api-reference (asset uploads); read 2026-11-20.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from providers.sandbox.answer import Answer, json_answer
from providers.sandbox.assets import Asset, Assets
from providers.sandbox.config import UpstreamPlan
from providers.sandbox.faults import Kind, find
from providers.sandbox.runflow_calls import origin, read_json, refused, valid
from providers.sandbox.runflow_errors import RunflowError, demand_key
from providers.sandbox.runflow_input import read_asset
from providers.sandbox.runflow_record import moment, organization
from providers.sandbox.runflow_run import Runs
from providers.sandbox.segmenting import Segmenter
from providers.sandbox.signing import NO_SUCH_KEY, Refusal, Signer
from providers.sandbox.strikes import struck


class Files:
    """The calls that bring and take files."""

    def __init__(self, plan: UpstreamPlan, *, runs: Runs, assets: Assets, signer: Signer, segmenter: Segmenter) -> None:
        """Serve *assets* and the outputs of *runs*."""
        self._plan = plan
        self._runs = runs
        self._assets = assets
        self._signer = signer
        self._segmenter = segmenter

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/v1/asset-uploads", self._announce, name="upload.announce"),
            web.put("/uploads/{id}", self._put, name="upload.put"),
            web.post("/v1/asset-uploads/{id}/confirmations", self._confirm, name="upload.confirm"),
            web.get("/v1/assets/{id}", self._asset, name="asset.record"),
            web.get("/assets/{id}/{file}", self._asset_file, name="asset.file"),
            web.get("/outputs/{id}/{file}", self._output_file, name="download"),
        ]

    async def _announce(self, request: web.Request) -> Answer:
        """Make room for an upload."""
        demand_key(request)
        wanted = valid(read_asset, read_json(await request.read()))
        asset, url = self._assets.announce(wanted, origin(request))
        return json_answer({"asset_id": asset.id, "upload_url": url}, status=201)

    async def _put(self, request: web.Request) -> Answer:
        """Take the bytes of an upload."""
        credential = "Authorization" in request.headers
        refusal = self._assets.refusal(request.path, request.query, credential=credential)
        if refusal is None:
            refusal = self._assets.put(request.match_info["id"], await request.read(), request.content_type)
        return refused(refusal) if refusal is not None else Answer(b"", media_type="text/plain")

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
        return json_answer(self._record(asset, request), status=201)

    async def _asset(self, request: web.Request) -> Answer:
        """Return an asset, its address newly signed."""
        demand_key(request)
        return json_answer(self._record(self._known_asset(request), request))

    async def _asset_file(self, request: web.Request) -> Answer:
        """Serve an uploaded file."""
        credential = "Authorization" in request.headers
        found = self._assets.serve(request.path, request.query, credential=credential)
        return refused(found) if isinstance(found, Refusal) else Answer(found[1], media_type=found[0])

    async def _output_file(self, request: web.Request) -> Answer:
        """Serve an output file."""
        refusal = self._signer.check(request.path, request.query, credential="Authorization" in request.headers)
        data = self._runs.output(request.path)
        if refusal is not None or data is None:
            return refused(refusal or NO_SUCH_KEY)
        faults = struck(request)
        away = find(faults, Kind.BAD_MASK_URL)
        if away is not None and away["redirect"]:
            return Answer(b"", media_type="text/plain", status=302, headers={"Location": away["url"]})
        form = find(faults, Kind.MASK_FORM)
        if form is not None:
            media_type, data = await self._segmenter.reform(data, form["form"])
            return Answer(data, media_type=media_type)
        extension = request.path.rsplit(".", 1)[1]
        return Answer(data, media_type=f"image/{'jpeg' if extension == 'jpg' else extension}")

    def _known_asset(self, request: web.Request) -> Asset:
        """Return the asset of the path, or end in 404."""
        asset = self._assets.get(request.match_info["id"])
        if asset is None:
            raise RunflowError(404)
        return asset

    def _record(self, asset: Asset, request: web.Request) -> dict[str, Any]:
        """Return an asset as JSON values."""
        return {
            "id": asset.id,
            "org_id": organization(self._plan.name),
            "folder_id": None,
            "name": asset.request.filename,
            "r2_key": asset.path.lstrip("/"),
            "url": self._assets.url(asset, origin(request)) if asset.confirmed else None,
            "thumbnail_url": None,
            "mime_type": asset.request.mime_type,
            "size_bytes": asset.request.size_bytes,
            "asset_type": "image",
            "source_type": "upload",
            "created_at": moment(asset.created_at),
        }
