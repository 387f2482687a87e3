"""Runflow as its documents show it, on a socket, and one attempt at it; each part of it can be replaced by a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from providers.contract import (
    Deadline,
    Deployment,
    Found,
    Mask,
    Prompt,
    ProviderError,
    Question,
    TextPrompt,
)
from providers.runflow import Runflow
from tests.providers.loopback import disc, picture_of

SIZE = (60, 80)
DISCS = [disc(SIZE, x=20, y=20, radius=9), disc(SIZE, x=60, y=40, radius=12)]
TRUTHS = [Mask.from_bitmap(bitmap) for bitmap in DISCS]
KEY = "rf_live_test"
RUN = "0197aaaa-0000-7000-8000-000000000001"
ATTEMPT = "att_01J0000000000000000000000A"

CREATE = "/v1/models/meta/sam-3/image/runs"
SMART_CREATE = "/v1/models/runflow/smart-segmentation/runs"
FLAT = {1: "/v1/run/sam-3/image", 2: "/v1/run/meta/sam-3/image"}
CREATES = {CREATE, SMART_CREATE, *FLAT.values()}

Answer = Callable[[web.Request], Any]


@dataclass
class FakeRunflow:
    """Runflow as its documents show it: each part of it can be replaced by a test."""

    base: str = ""
    walk: list[str] = field(default_factory=lambda: ["queued", "dispatching", "running", "succeeded"])
    """The statuses that looks at the run see, the last one for ever."""
    output: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=lambda: {"cost": "0.005", "duration_ms": 812})
    files: dict[str, bytes] = field(default_factory=dict)
    create: Answer | None = None
    look: Answer | None = None
    upload_url: str = ""
    put_status: int | None = 200
    """What an upload is answered with; None breaks the connection."""
    me: Any = field(default_factory=dict)
    """What the account is told as, which no document shows."""
    me_status: int = 200
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    signatures: set[str] = field(default_factory=lambda: {"1"})
    looks: int = 0
    listed: Any = field(default_factory=list)
    """The runs that a search finds, whatever its filter."""

    def app(self) -> web.Application:
        """Return the server."""
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    def mask_url(self, name: str) -> str:
        """Return the address of a file, signed."""
        return f"{self.base}/files/{name}?X-Amz-Signature=1"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.path_qs, headers, body))
        path = request.path
        if path.startswith("/files/") or path == "/put/a1":
            return self._store(request, path)
        if headers.get("authorization") != f"Bearer {KEY}":
            return web.json_response({"code": "UNAUTHORIZED", "message": "who?", "errors": None}, status=401)
        if path == "/v1/asset-uploads":
            url = self.upload_url or f"{self.base}/put/a1"
            return web.json_response({"asset_id": "a1", "upload_url": url}, status=201)
        if path == "/v1/asset-uploads/a1/confirmations":
            return web.json_response({"id": "a1", "url": f"{self.base}/files/picture?X-Amz-Signature=1"}, status=201)
        if path == "/v1/auth/me":
            return web.json_response(self.me, status=self.me_status)
        if path in CREATES:
            return await self._created(request)
        if path == "/v1/runs":
            return web.json_response({"items": self.listed, "next_pq": None, "prev_pq": None})
        if path == f"/v1/runs/{RUN}":
            return await self._looked(request)
        return web.json_response({"code": "RUN_NOT_FOUND", "message": "unknown", "errors": None}, status=404)

    def _store(self, request: web.Request, path: str) -> web.StreamResponse:
        if "authorization" in request.headers:
            return web.Response(status=400, text="a credential was leaked")
        if request.method == "PUT":
            if self.put_status is None:
                assert request.transport is not None
                request.transport.abort()
            return web.Response(status=self.put_status or 200)
        name = path.removeprefix("/files/")
        if name not in self.files or request.query.get("X-Amz-Signature") not in self.signatures:
            return web.Response(status=403)
        return web.Response(body=self.files[name], content_type="application/octet-stream")

    async def _created(self, request: web.Request) -> web.StreamResponse:
        if self.create is not None:
            return await self.create(request)
        return web.json_response({"id": RUN, "status_code": "queued", "output": None, "cost": None}, status=201)

    async def _looked(self, request: web.Request) -> web.StreamResponse:
        self.looks += 1
        if self.look is not None:
            answer = await self.look(request)
            if answer is not None:
                return answer
        return self.record()

    def record(self) -> web.Response:
        """Return the run as it stands."""
        status = self.walk.pop(0) if len(self.walk) > 1 else self.walk[0]
        done = status in {"succeeded", "partial_succeeded"}
        return web.json_response(
            {"id": RUN, "status_code": status, "output": self.output if done else None, **(self.extra if done else {})}
        )

    def sent(self, method: str, path: str) -> list[tuple[dict[str, str], bytes]]:
        """Return headers and bodies of the requests to a path, its query included."""
        return [(headers, body) for verb, where, headers, body in self.requests if (verb, where) == (method, path)]


@dataclass
class Scene:
    """A server, an adapter and a deployment that points at it."""

    fake: FakeRunflow
    runflow: Runflow
    deployment: Deployment

    async def ask(
        self,
        prompt: Prompt | None = None,
        *,
        url: str | None = None,
        seconds: float = 20,
        min_score: float | None = None,
    ) -> tuple[list[tuple[Mask, float | None, str | None]], tuple[str, ...], Any]:
        """Make one attempt, and return instances, warnings and usage."""
        question = Question(picture_of(SIZE, url=url), prompt or TextPrompt("disc"), 10, min_score)
        segmentation, usage = await self.runflow.segment(
            question, self.deployment, attempt_id=ATTEMPT, deadline=Deadline.after(seconds, time.monotonic)
        )
        instances = [(instance.mask, instance.score, instance.label) for instance in segmentation.instances]
        return instances, segmentation.warnings, usage

    async def failure(self, kind: type[ProviderError], *, seconds: float = 20) -> ProviderError:
        """Make one attempt that has to fail, and return its error."""
        with pytest.raises(kind) as caught:
            await self.ask(url="https://a.example/p.png", seconds=seconds)
        assert type(caught.value).outcome == kind.outcome
        return caught.value

    def use(self, model: str | None = None, *, callback_url: str = "", **options: Any) -> None:
        """Point the deployment at another model, at other options, or give it an address for callbacks."""
        self.deployment = replace(
            self.deployment,
            model=model or self.deployment.model,
            options={**self.deployment.options, **options},
            callback_url=callback_url,
        )
        self.runflow.check(self.deployment)

    async def look_up(self, upstream_ref: str | None = None) -> Found:
        """Ask what became of the attempt."""
        deadline = Deadline.after(20, time.monotonic)
        return await self.runflow.look_up(
            self.deployment, attempt_id=ATTEMPT, upstream_ref=upstream_ref, deadline=deadline
        )
