"""Answers that tenants share: a provider is given the very bytes that an answer is named by."""

import asyncio
import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.asking import Caller, on
from tests.end_to_end.household import House, gateway_running
from tests.end_to_end.upstreams import Upstreams

HOST = "127.0.0.1"


class _Changing(BaseHTTPRequestHandler):
    """A picture's address that brings one picture to the first who asks, and another one to everybody after."""

    pictures: list[bytes]
    served: list[str]

    def do_GET(self) -> None:
        picture = self.pictures[min(len(self.served), len(self.pictures) - 1)]
        self.served.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(picture)))
        self.end_headers()
        self.wfile.write(picture)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""


@pytest.fixture
def changing(upstreams: Upstreams) -> Iterator[tuple[str, list[str]]]:
    """Return such an address and who has asked for it: first the shoes, then something else."""
    served: list[str] = []
    pictures = [upstreams.picture("shoes"), upstreams.picture("shapes")]
    handler: type[_Changing] = type("Served", (_Changing,), {"pictures": pictures, "served": served})
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{HOST}:{server.server_address[1]}/shoes.png", served
        server.shutdown()
        thread.join()


@pytest.fixture
def sharing_house(upstreams: Upstreams, changing: tuple[str, list[str]], tmp_path: Path) -> Iterator[House]:
    """Run a gateway with two tenants that share, and may fetch from there."""
    changes: dict[str, dict[Any, Any]] = {
        "tenants": {"acme": {"share_cache": True}, "globex": {"share_cache": True}},
        "fetch": {"allow_pictures": [changing[0].removeprefix("http://").partition("/")[0]]},
    }
    with gateway_running(upstreams.sandbox, tmp_path / "sharing", changes=changes) as house:
        yield house


async def tenant(house: House, session: aiohttp.ClientSession, name: str) -> Caller:
    """Return a caller of a tenant."""
    office = Caller(house.url, session, house.key)
    made = await office.send("POST", "/admin/v1/keys", json={"tenant": name, "scopes": ["segment"]}, status=201)
    return Caller(house.url, session, made.body["key"])


async def test_nobody_decides_what_another_tenant_reads(
    sharing_house: House, changing: tuple[str, list[str]], upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Who shares has its picture uploaded, so an address that changes in between cannot spoil another's answer."""
    url, served = changing
    scene = upstreams.scene("shoes")
    asked = {"prompt": "left shoe", "route": on("runflow-eu")}
    acme, globex = [await tenant(sharing_house, session, name) for name in ("acme", "globex")]
    bought = await acme.segment({**asked, "image": {"url": url}})
    own = {"data": base64.b64encode(upstreams.picture("shoes")).decode()}
    shared = await globex.segment({**asked, "image": own})
    assert (["miss"], ["hit"], ["/shoes.png"]) == (bought.caches, shared.caches, served)
    (thing,) = scene.named("left shoe")
    for reply in (bought, shared):
        assert [(thing.box, thing.area)] == [(each["box"], each["area"]) for each in reply.body["instances"]]
    assert 1 == len(upstreams.books())


async def test_who_does_not_share_decides_for_itself_alone(
    sharing_house: House, changing: tuple[str, list[str]], upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Without sharing the address is handed on, and what comes of it is nobody else's."""
    url, served = changing
    asked = {"prompt": "left shoe", "route": on("runflow-eu")}
    alone, globex = [await tenant(sharing_house, session, name) for name in ("alone", "globex")]
    await alone.segment({**asked, "image": {"url": url}})
    assert 2 == len(served)
    own = {"data": base64.b64encode(upstreams.picture("shoes")).decode()}
    reply = await globex.segment({**asked, "image": own})
    (thing,) = upstreams.scene("shoes").named("left shoe")
    assert (["miss"], thing.area) == (reply.caches, reply.body["instances"][0]["area"])


async def test_one_tenant_s_budget_is_not_another_s(
    sharing_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Who waits for a call that another tenant's budget does not allow makes it, and is told nothing of that budget."""
    acme, globex = [await tenant(sharing_house, session, name) for name in ("acme", "globex")]
    office = Caller(sharing_house.url, session, sharing_house.key)
    budget = {"tenant": "acme", "limit_usd": "0.001", "period": "total"}
    await office.send("PUT", "/admin/v1/budgets", json=budget, status=200)

    async def both(number: int) -> None:
        body = {"image": {"url": upstreams.scene("shoes").url}, "prompt": "left shoe", "min_score": number / 100}
        asked = {**body, "route": on("runflow-eu")}
        poor, rich = await asyncio.gather(acme.segment(asked, status=None), globex.segment(asked, status=None))
        assert (200, True) == (rich.status, poor.status in {200, 402}), rich.body

    await asyncio.gather(*(both(number) for number in range(20)))
    assert {"globex"} == {each.tenant for each in sharing_house.ledger()}
