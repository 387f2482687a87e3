"""A provider's words stay with whoever made the call; everybody else reads our own."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.asking import Caller
from tests.end_to_end.household import House, gateway_running
from tests.end_to_end.upstreams import Upstreams

PROMPT = "acme's unreleased shoe"
HOST = "127.0.0.1"


class _Rude(BaseHTTPRequestHandler):
    """Refuses every job with the status that the test has set, and quotes all it knows."""

    status = 500
    seconds = 0.0
    place = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        threading.Event().wait(self.seconds)
        at = f"at http://{self.place}/v2/job?sig=1, ask {self.place}"
        words = f"Missing or invalid API key of org-owner-17 for {PROMPT!r} {at}"
        said = json.dumps({"error": words}).encode()
        self.send_response(self.status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(said)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""


@pytest.fixture
def rude() -> Iterator[tuple[type[_Rude], int]]:
    """A provider that tells all it knows, and its port."""
    handler: type[_Rude] = type("Told", (_Rude,), {})
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        handler.place = f"{HOST}:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield handler, server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def rude_house(upstreams: Upstreams, rude: tuple[type[_Rude], int], tmp_path: Path) -> Iterator[House]:
    """Run a gateway in front of it, whose tenants share their answers."""
    deployment = {
        "name": "rude",
        "provider": "prodia",
        "model": "inference.sam3.segment.v1",
        "endpoint": f"http://{HOST}:{rude[1]}/v2",
        "credential": "token",
        "price": {"usd": "0.001", "unit": "success", "valid_from": "2026-01-01", "source": "test"},
    }
    changes: dict[str, dict[Any, Any]] = {
        "tenants": {"acme": {"share_cache": True}, "globex": {"share_cache": True}},
        "deployments": {2: deployment},
        "fetch": {"instead": {}},  # which is for sandboxes alone
    }
    with gateway_running(upstreams.sandbox, tmp_path / "rude", changes=changes) as house:
        yield house


async def tenant(house: House, session: aiohttp.ClientSession, name: str) -> Caller:
    """Return a caller of a tenant."""
    office = Caller(house.url, session, house.key)
    made = await office.send("POST", "/admin/v1/keys", json={"tenant": name, "scopes": ["segment"]}, status=201)
    return Caller(house.url, session, made.body["key"])


def asked(upstreams: Upstreams, text: str) -> dict[str, Any]:
    """Return a question to it alone."""
    route = {"deployments": ["rude"], "max_attempts": 1}
    return {"image": {"url": upstreams.scene("shoes").url}, "prompt": text, "route": route, "explain": True}


def leaks(said: Any, *words: str) -> list[str]:
    """Return which words stand in an answer."""
    text = json.dumps(said, ensure_ascii=False)
    return [word for word in words if word in text]


#: By status: how our own words put it, and whether the provider's words are about the request.
TOLD = {
    500: ("it failed (HTTP 500)", True),
    422: ("it refused the request (HTTP 422)", True),
    401: ("it denies access, which its operator has to see to (HTTP 401)", False),
    402: ("it denies access, which its operator has to see to (HTTP 402)", False),
    404: ("it denies access, which its operator has to see to (HTTP 404)", False),
    429: ("it has too much to do (HTTP 429)", False),
}


@pytest.mark.parametrize("status", TOLD)
async def test_a_provider_s_words_stay_with_whoever_asked(
    rude_house: House,
    rude: tuple[type[_Rude], int],
    upstreams: Upstreams,
    session: aiohttp.ClientSession,
    status: int,
) -> None:
    """The caller reads what is about its request, without addresses; others, lists and metrics read our own words."""
    handler, port = rude
    handler.status = status
    words, about_the_request = TOLD[status]
    acme, globex = [await tenant(rude_house, session, name) for name in ("acme", "globex")]
    hidden = ("/v2/job", f"{HOST}:{port}", "sig=1")
    theirs = ("unreleased", "API key", "org-owner-17")
    refused = 422 if status == 422 else 502
    for number in range(5):
        own = await acme.segment(asked(upstreams, f"{PROMPT} {number}"), status=refused if not number else None)
        if own.status == 503:  # the breaker is open already
            break
        assert list(theirs) * about_the_request == leaks(own.body, *theirs)
        assert ([], words in own.body["detail"]) == (leaks(own.body, *hidden), not about_the_request)
    body = asked(upstreams, "left shoe")
    others: list[Any] = [
        (await globex.segment(body, status=None)).body,
        (await globex.quote(body)).body,
        (await globex.get("/v1/deployments")).body,
        (await Caller(rude_house.url, session).get("/v1/deployments")).body,
        await Caller(rude_house.url, session, rude_house.key).text("/metrics"),
        (await Caller(rude_house.url, session, rude_house.key).get("/admin/v1/deployments/rude")).body,
    ]
    assert [] == leaks(others[1:], *theirs, *hidden)
    if status != 422:
        assert (503, []) == (others[0]["status"], leaks(others[0], *theirs, *hidden))
        assert words in others[0]["detail"]
    log = (rude_house.state / "gateway.log").read_text()
    assert [] == [word for word in theirs if word not in log], "the operator's log has them"


@pytest.mark.parametrize("status", [500, 422])
async def test_who_only_waited_reads_our_own_words(
    rude_house: House,
    rude: tuple[type[_Rude], int],
    upstreams: Upstreams,
    session: aiohttp.ClientSession,
    status: int,
) -> None:
    """Another tenant that has joined a call which fails is told how it ended: no words, no attempts, no charge."""
    handler, port = rude
    handler.status, handler.seconds = status, 1.0
    acme, globex = [await tenant(rude_house, session, name) for name in ("acme", "globex")]
    body = asked(upstreams, PROMPT)
    del body["explain"]
    first = asyncio.create_task(acme.segment(body, status=None))
    await acme.until_in_flight("rude", 1)
    second = await globex.segment(body, status=None)
    own = await first
    assert own.status == second.status
    assert ["unreleased"] == leaks(own.body, "unreleased")
    assert [] == leaks(second.body, "unreleased", "API key", "org-owner-17", f"{HOST}:{port}")
    assert (1, 0) == (len(own.attempts), len(second.attempts))
    assert TOLD[status][0] in second.body["detail"]
