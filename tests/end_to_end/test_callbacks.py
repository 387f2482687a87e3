"""Callbacks over sockets: they bring an answer sooner, and can do nothing else."""

import hashlib
import hmac
import io
import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from gateway.app import create_app
from gateway.serving import running
from gateway.settings import settings_from_yaml
from tests.end_to_end.asking import Caller, on, text
from tests.end_to_end.household import House, assert_nothing_broke, configuration
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import Upstreams
from tests.ports import free_row

SECRET = "whsec_test_0123456789"
PATH = "/v1/callbacks/runflow-eu"
#: Stands for a secret that Runflow makes for this test.
OF_RUNFLOW = "made by runflow"


@dataclass(frozen=True, slots=True)
class Called:
    """A gateway with a public address, and a way to call it back."""

    house: House
    session: aiohttp.ClientSession

    async def call(self, body: bytes, *, path: str = PATH, secret: str | None = SECRET) -> int:
        """Post a callback and return the status."""
        headers = {"Content-Type": "application/json"}
        if secret is not None:
            headers["Runflow-Signature"] = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        async with self.session.post(self.house.url + path, data=io.BytesIO(body), headers=headers) as answer:
            return answer.status


def made_by_runflow(upstreams: Upstreams) -> str:
    """Have the first region sign its callbacks, and return the secret that it does so with."""
    with urllib.request.urlopen(upstreams.sandbox.control_url + "/upstreams", timeout=30) as answer:
        base = json.load(answer)["runflow-eu"]["base_url"]
    headers = {"Authorization": "Bearer sandbox", "Content-Type": "application/json"}
    request = urllib.request.Request(base + "/v1/callback-secrets", b'{"label":"test"}', headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        secret: str = json.load(answer)["plain_secret"]
    return secret


@pytest.fixture(params=[(), (SECRET, "whsec_next_9876543210")], ids=["unsigned", "signed"])
def public_house(request: pytest.FixtureRequest, upstreams: Upstreams, tmp_path: Path) -> Iterator[House]:
    """Run a gateway that Runflow can reach, and that looks at a run every minute, with and without secrets."""
    port, state = free_row(1), tmp_path / "public"
    state.mkdir()
    secrets = [made_by_runflow(upstreams) if secret == OF_RUNFLOW else secret for secret in request.param]
    document = yaml.safe_load(configuration(upstreams.sandbox))
    document["public_url"] = f"http://127.0.0.1:{port}"
    for deployment in document["deployments"]:
        if deployment["provider"] == "runflow":
            deployment["options"] = {"poll_seconds": 60}
            deployment["callback_secrets"] = secrets
    settings = settings_from_yaml(yaml.safe_dump(document), environ={"MASKGATE_STATE_DIR": str(state)})
    with (
        (state / "gateway.log").open("a", encoding="utf-8") as log,
        running(lambda: create_app(settings, log_to=log, show=lambda _key: None), port=port) as url,
    ):
        yield House(url, state)
    assert_nothing_broke(state)


@pytest.fixture
def called(public_house: House, session: aiohttp.ClientSession) -> Called:
    """Return the gateway that can be called back."""
    return Called(public_house, session)


def question(upstreams: Upstreams) -> dict[str, Any]:
    """Return a question to Runflow."""
    return {
        "image": {"url": upstreams.scene("shoes").url},
        "prompts": [text("left shoe")],
        "route": on("runflow-eu", deadline_seconds=100),
        "cache": {"mode": "skip"},
    }


@pytest.mark.parametrize("public_house", [(), (SECRET, OF_RUNFLOW)], ids=["unsigned", "signed"], indirect=True)
async def test_sooner(called: Called, upstreams: Upstreams) -> None:
    """An answer comes with the callback of the sandbox, long before the next look would have been made."""
    caller = Caller(called.house.url, called.session, called.house.key)
    started = time.monotonic()
    reply = await caller.segment(question(upstreams))
    assert [("runflow-eu", "succeeded")] == reply.attempts
    assert time.monotonic() - started < 50  # the second look would come after a minute
    assert_books_agree(called.house.ledger(), upstreams.books())
    metrics = await caller.metrics()
    assert 1 == metrics['maskgate_callbacks_total{deployment="runflow-eu",notice="woken"}']


async def test_harmless(called: Called, upstreams: Upstreams, request: pytest.FixtureRequest) -> None:
    """Unknown, duplicate, forged, unreadable and huge callbacks change nothing, and say what they are."""
    signed = "unsigned" not in request.node.name
    body = json.dumps({"event": "run.completed", "run_id": "0197aaaa-0000-7000-8000-000000000001"}).encode()
    assert [200, 200] == [await called.call(body), await called.call(body)]
    assert (401 if signed else 200) == await called.call(body, secret=None)
    assert (401 if signed else 200) == await called.call(body, secret="whsec_guessed_000000")
    assert [400, 400, 400] == [await called.call(each) for each in (b"", b"no JSON", b'{"run_id":5}')]
    assert 413 == await called.call(b"x" * 20_000_000)
    assert [404, 404] == [await called.call(body, path=f"/v1/callbacks/{name}") for name in ("nobody", "local-classic")]
    assert [] == upstreams.books()
    assert [] == called.house.ledger()


async def test_not_on_a_private_gateway(house: House, session: aiohttp.ClientSession, upstreams: Upstreams) -> None:
    """A gateway without a public address asks for no callbacks, and one that comes is of no use and no harm."""
    caller = Caller(house.url, session, house.key)
    await caller.segment(question(upstreams))
    assert 200 == await Called(house, session).call(b'{"run_id":"0197aaaa-0000-7000-8000-000000000001"}')
    assert not any("woken" in name for name in await caller.metrics())
