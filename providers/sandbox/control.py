"""
The control server: what there is, the truth about it, the books, and the switches for faults.

It is the sandbox's own and imitates nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web

from providers.sandbox.answer import Answer, json_answer
from providers.sandbox.books import Books
from providers.sandbox.documented import ADDRESSES
from providers.sandbox.faults import describe, read_faults
from providers.sandbox.inbox import Inbox
from providers.sandbox.prodia import Prodia
from providers.sandbox.prodia_habits import read_prodia_habits
from providers.sandbox.region import Region
from providers.sandbox.runflow import Runflow
from providers.sandbox.runflow_habits import Variant, Writing, read_habits
from providers.sandbox.scene import Scene
from providers.sandbox.upstream import Upstream

Call = Callable[[web.Request], Awaitable[web.StreamResponse]]

_FLAGS = {"true": True, "false": False}


class ControlError(Exception):
    """A control call that is refused; the message says what is wrong."""

    def __init__(self, status: int, message: str) -> None:
        """Answer *status* with *message*."""
        super().__init__(message)
        self.status = status


@web.middleware
async def _said(request: web.Request, handler: Call) -> web.StreamResponse:
    """Write every error as JSON."""
    try:
        return await handler(request)
    except ControlError as error:
        return json_answer({"error": str(error)}, status=error.status)
    except web.HTTPException as error:
        return json_answer({"error": f"{request.method} {request.path}: {error.reason}"}, status=error.status)


class Control:
    """The calls of the control server."""

    def __init__(
        self,
        *,
        upstreams: Mapping[str, Upstream],
        regions: Mapping[str, Region],
        prodias: Mapping[str, Prodia],
        scenes: Mapping[str, Scene],
        books: Books,
    ) -> None:
        """Switch *upstreams*; tell about *scenes* and *books*."""
        self._upstreams = upstreams
        self._regions = regions
        self._prodias = prodias
        self._scenes = scenes
        self._books = books
        self._inbox = Inbox()

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[_said])
        app.add_routes(
            [
                web.get("/healthz", self._health),
                web.get("/upstreams", self._list_upstreams),
                web.get("/scenes", self._list_scenes),
                web.get("/scenes/{name}.{ending:png|jpg}", self._scene_file),
                web.get("/books", self._read_books),
                web.delete("/books", self._clear_books),
                web.get("/faults", self._list_faults),
                web.get("/upstreams/{name}/fault", self._read_fault),
                web.put("/upstreams/{name}/fault", self._put_fault),
                web.delete("/upstreams/{name}/fault", self._heal),
                web.put("/upstreams/{name}/variant", self._put_variant),
                web.get("/upstreams/{name}/habits", self._read_habits),
                web.put("/upstreams/{name}/habits", self._put_habits),
                web.put("/upstreams/{name}/strict", self._put_strict),
                web.get("/upstreams/{name}/requests", self._count_requests),
                web.get("/upstreams/{name}/callback-secrets", self._list_secrets),
                web.post("/webhook", self._inbox.take),
                web.get("/webhook", self._inbox.show),
                web.delete("/webhook", self._inbox.clear),
            ]
        )
        return app

    async def _health(self, _request: web.Request) -> Answer:
        """Say that we are up."""
        return json_answer({"status": "ok"})

    async def _list_upstreams(self, request: web.Request) -> Answer:
        """Return where each upstream is."""
        host = _host(request)
        return json_answer(
            {
                name: {
                    "base_url": upstream.base_url(host),
                    "provider": upstream.plan.provider,
                    "region": upstream.plan.region,
                }
                for name, upstream in self._upstreams.items()
            }
        )

    async def _list_scenes(self, request: web.Request) -> Answer:
        """Return the known pictures and their true masks."""
        origin = f"{request.scheme}://{request.host}"
        return json_answer({"scenes": [_scene_json(scene, origin) for scene in self._scenes.values()]})

    async def _scene_file(self, request: web.Request) -> Answer:
        """Serve a known picture: its own file, or any as PNG."""
        scene = self._scenes.get(request.match_info["name"])
        jpeg = request.match_info["ending"] == "jpg"
        if scene is None or (jpeg and scene.jpeg is None):
            names = ", ".join(each.file_name for each in self._scenes.values())
            raise ControlError(404, f"no scene {request.path.rpartition('/')[2]!r}; there are {names}")
        return Answer(scene.file if jpeg else scene.png, media_type="image/jpeg" if jpeg else "image/png")

    async def _read_books(self, request: web.Request) -> Answer:
        """Return the billed calls, filtered by `upstream`, `client_ref` and `answered` where those are given."""
        unknown = set(request.query) - {"upstream", "client_ref", "answered"}
        if unknown:
            raise ControlError(422, f"{min(unknown)}: no such filter; there are upstream, client_ref, answered")
        answered = request.query.get("answered")
        if answered is not None and answered not in _FLAGS:
            raise ControlError(422, f"answered: true or false; got {answered!r}")
        calls = self._books.calls(
            upstream=request.query.get("upstream"),
            client_ref=request.query.get("client_ref"),
            answered=None if answered is None else _FLAGS[answered],
        )
        return json_answer({"calls": [asdict(call) for call in calls]})

    async def _clear_books(self, _request: web.Request) -> Answer:
        """Start new books."""
        self._books.clear()
        return json_answer({"calls": []})

    async def _list_faults(self, _request: web.Request) -> Answer:
        """Return all kinds of faults."""
        return json_answer({"faults": describe({name: upstream.steps for name, upstream in self._upstreams.items()})})

    async def _read_fault(self, request: web.Request) -> Answer:
        """Return the faults of one upstream."""
        return _faults_json(self._upstream(request))

    async def _put_fault(self, request: web.Request) -> Answer:
        """Put one fault, or a list of them, in the place of those that were on."""
        upstream = self._upstream(request)
        try:
            faults = read_faults(await _json(request), upstream.steps)
        except ValueError as error:
            raise ControlError(422, str(error)) from error
        await upstream.strike(faults)
        return _faults_json(upstream)

    async def _heal(self, request: web.Request) -> Answer:
        """Take all faults off one upstream."""
        upstream = self._upstream(request)
        await upstream.strike(())
        return _faults_json(upstream)

    async def _put_variant(self, request: web.Request) -> Answer:
        """Switch how one Runflow region writes its outputs."""
        upstream = self._upstream(request)
        region = self._region(upstream)
        value = await _json(request)
        if not isinstance(value, dict) or set(value) - {"variant", "json_strings"}:
            raise ControlError(422, 'write {"variant": "a" | "b" | "c" | "d", "json_strings": true | false}')
        variant, strings = value.get("variant", Variant.MODEL_DATA.value), value.get("json_strings", False)
        if variant not in [known.value for known in Variant] or not isinstance(strings, bool):
            raise ControlError(422, f"variant: a, b, c or d; json_strings: true or false; got {value!r}")
        region.runflow.writing = Writing(Variant(variant), strings)
        return json_answer({"variant": variant, "json_strings": strings})

    async def _read_habits(self, request: web.Request) -> Answer:
        """Return how one upstream behaves where its documents are silent."""
        return json_answer(asdict(self._owner(request).habits))

    async def _put_habits(self, request: web.Request) -> Answer:
        """Switch how one upstream behaves where its documents are silent; what is not named goes back to usual."""
        owner = self._owner(request)
        value = await _json(request)
        if not isinstance(value, dict):
            raise ControlError(422, 'habits are an object such as {"balance": "cents"}; GET shows all')
        try:
            if isinstance(owner, Prodia):
                owner.habits = read_prodia_habits(value)
            else:
                owner.habits = read_habits(value)
        except ValueError as error:
            raise ControlError(422, str(error)) from error
        return json_answer(asdict(owner.habits))

    async def _put_strict(self, request: web.Request) -> Answer:
        """Switch whether one upstream refuses fields that its documents do not name."""
        owner = self._owner(request)
        value = await _json(request)
        if not isinstance(value, dict) or set(value) != {"strict"} or not isinstance(value["strict"], bool):
            raise ControlError(422, f'write {{"strict": true}} or {{"strict": false}}; got {value!r}')
        owner.strict = value["strict"]
        return json_answer({"strict": owner.strict})

    async def _count_requests(self, request: web.Request) -> Answer:
        """Return how many requests of each kind have come to one upstream, billed or not."""
        return json_answer({"requests": self._upstream(request).requests})

    async def _list_secrets(self, request: web.Request) -> Answer:
        """Return the secrets that one region signs its callbacks with, the newest last."""
        secrets = self._region(self._upstream(request)).callbacks.secrets.all()
        return json_answer({"secrets": [{"id": secret.id, "plain_secret": secret.plain} for secret in secrets]})

    def _owner(self, request: web.Request) -> Prodia | Runflow:
        """Return whose habits those of the path are."""
        name = self._upstream(request).plan.name
        return self._prodias[name] if name in self._prodias else self._regions[name].runflow

    def _region(self, upstream: Upstream) -> Region:
        """Return a Runflow region, or end in 422."""
        region = self._regions.get(upstream.plan.name)
        if region is None:
            raise ControlError(
                422, f"{upstream.plan.name} has no variants nor callbacks; {', '.join(self._regions)} have"
            )
        return region

    def _upstream(self, request: web.Request) -> Upstream:
        """Return the upstream of the path, or end in 404."""
        name = request.match_info["name"]
        upstream = self._upstreams.get(name)
        if upstream is None:
            raise ControlError(404, f"no upstream {name!r}; there are {', '.join(self._upstreams)}")
        return upstream


def _host(request: web.Request) -> str:
    """Return the host by which the client reached us, in brackets where it is an IPv6 address."""
    host = request.url.host or ""
    return f"[{host}]" if ":" in host else host


async def _json(request: web.Request) -> Any:
    """Read a JSON body, or end in 400."""
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise ControlError(400, f"the body is not JSON: {error}") from error


def _faults_json(upstream: Upstream) -> Answer:
    """Return the faults that are on."""
    return json_answer({"upstream": upstream.plan.name, "faults": [fault.to_json() for fault in upstream.faults]})


def _scene_json(scene: Scene, origin: str) -> dict[str, Any]:
    """Return a scene and the truth about it."""
    height, width = scene.size
    return {
        "name": scene.name,
        "image_url": f"{origin}/scenes/{scene.file_name}",
        "stands_for": [url for url, name in ADDRESSES.items() if name == scene.file_name],
        "width": width,
        "height": height,
        "objects": [
            {
                "name": thing.name,
                "rle": {"size": [height, width], "counts": thing.mask.counts},
                "box": asdict(thing.mask.box) if thing.mask.box is not None else None,
                "area": thing.mask.area,
            }
            for thing in scene.objects
        ],
    }
