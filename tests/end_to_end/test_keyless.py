"""Without a key nothing can be spent and no account is seen, also through a proxy that looks like this machine."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from gateway.accounting.pricing import Price, Terms
from gateway.app import create_app, sandbox_config
from gateway.request import Scope
from gateway.routing.deployments import Offer
from gateway.routing.screening import costs_nothing
from gateway.settings import SettingsError, settings_from_yaml
from providers.contract import Capabilities, Deployment, Model, Money, PriceUnit, Secret
from tests.end_to_end.asking import Caller, on
from tests.end_to_end.household import House, gateway_running
from tests.end_to_end.upstreams import Upstreams
from tests.servers import start_nginx

SOLD = {"sandbox": False}


@pytest.fixture
def dear_house(upstreams: Upstreams, tmp_path: Path) -> Iterator[House]:
    """Run a gateway whose deployments cost money, but for one that a sandbox plays and the local one."""
    listed = yaml.safe_load(sandbox_config(upstreams.sandbox.host, upstreams.sandbox.port))["deployments"]
    sold = {index: {**each, **SOLD} for index, each in enumerate(listed) if each["name"] in {"runflow-us", "prodia"}}
    changes: dict[str, dict[Any, Any]] = {
        "deployments": sold,
        "fetch": {"instead": {}},  # which is for sandboxes alone
        "tenants": {"_keyless": {"markup": "0", "share_cache": True}, "sharer": {"share_cache": True}},
    }
    with gateway_running(upstreams.sandbox, tmp_path / "dear", changes=changes) as house:
        yield house


@pytest.fixture(params=["direct", pytest.param("nginx", marks=pytest.mark.needs("nginx"))])
def door(request: pytest.FixtureRequest, dear_house: House, tmp_path: Path) -> Iterator[str]:
    """Where the gateway is reached: itself, or the stock nginx in front of it."""
    if request.param == "direct":
        yield dear_house.url
        return
    folder = tmp_path / "nginx"
    folder.mkdir()
    nginx = start_nginx(folder, target=urlsplit(dear_house.url).port or 0)
    yield f"http://127.0.0.1:{nginx.port}"
    nginx.stop()


def asked(upstreams: Upstreams, *deployments: str) -> dict[str, Any]:
    """Return a text question to some deployments."""
    return {"image": {"url": upstreams.scene("shoes").url}, "prompt": "left shoe", "route": on(*deployments)}


async def test_without_a_key_nothing_is_spent(
    door: str, dear_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """What costs money is out for want of a key, whatever the request says, and the refusal tells the remedy."""
    stranger = Caller(door, session)
    for names in (["runflow-us"], ["prodia"], ["prodia", "runflow-us", "local-classic"]):
        refused = await stranger.segment(asked(upstreams, *names), status=401)
        assert ("unauthenticated", "Authorization") == (refused.body["code"], refused.body["field"])
        assert 'Bearer realm="maskgate"' == refused.headers["WWW-Authenticate"]
        assert all(word in refused.body["detail"] for word in ("needs a key", "Authorization: Bearer", ".maskgate"))
    wishes = ({"max_charge_usd": "1"}, {"hedge_after_seconds": 0.01}, {"strategy": "cheapest"}, {"max_attempts": 3})
    for wish in wishes:
        body = asked(upstreams, "runflow-us") | {"explain": True, "cache": {"mode": "refresh"}}
        body["route"] |= wish
        await stranger.segment(body, status=401)
    assert ([], 0) == (upstreams.books(), dear_house.rows())


async def test_without_a_key_what_costs_nothing_is_asked(
    door: str, dear_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """The sandbox's deployment and the local one answer; the others are explained, and never take part in failover."""
    stranger = Caller(door, session)
    body = asked(upstreams, "prodia", "runflow-us", "runflow-eu") | {"explain": True}
    reply = await stranger.segment(body)
    assert [("runflow-eu", "succeeded")] == reply.attempts
    reasons = {each["deployment"]: each["reason"] for each in reply.body["answers"][0]["explanation"]}
    assert {"runflow-us": "needs_key", "prodia": "needs_key", "runflow-eu": None} == {
        name: reasons[name] for name in ("runflow-us", "prodia", "runflow-eu")
    }
    quoted = (await stranger.quote(body)).body["questions"][0]
    assert ["runflow-eu"] == [each["deployment"] for each in quoted["candidates"]]
    assert {"runflow-us", "prodia"} == {
        each["deployment"] for each in quoted["excluded"] if each["reason"] == "needs_key"
    }
    upstreams.strike("runflow-eu", {"kind": "status", "status": 500})
    failed = await stranger.segment({**body, "prompt": "right shoe"}, status=502)
    assert {"runflow-eu"} == {name for name, _ in failed.attempts}
    box = {"kind": "object", "box": upstreams.scene("shoes").things[0].box}
    found = await stranger.segment({"image": body["image"], "prompts": [box], "route": on("local-classic")})
    assert (0, [("local-classic", "succeeded")]) == (found.charged, found.attempts)
    assert {"runflow-eu"} == {call.upstream for call in upstreams.books()}
    assert {"_keyless"} == {each.tenant for each in dear_house.ledger()}


async def test_without_a_key_no_account_is_seen(
    door: str, dear_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Neither spending nor entries nor metrics nor what others have bought is there to see, by any spelling."""
    stranger, owner = Caller(door, session), Caller(door, session, dear_house.key)
    question = asked(upstreams, "prodia", "runflow-eu")
    assert ["miss"] == (await owner.segment(question)).caches
    for path in (
        "/v1/usage",
        "/v1/usage?tenant=_keyless",
        "/v1/usage?by=tenant",
        "/v1/ledger",
        "/metrics",
        "/metrics?",
    ):
        refused = await stranger.get(path, status=401)
        assert "Authorization: Bearer" in refused.body["detail"]
    shown = (await stranger.get("/v1/deployments")).body["deployments"]
    assert ["runflow-eu", "local-classic"] == [each["name"] for each in shown]
    assert 4 == len((await owner.get("/v1/deployments")).body["deployments"])
    assert [("miss", "runflow-eu")] == [
        (each["cache"], each["deployment"]) for each in (await stranger.segment(question)).body["answers"]
    ]
    assert "maskgate_spend_micros_total" in await owner.text("/metrics")


#: What each operation needs: a scope, any good key, no key where nothing is spent, or nothing at all.
NEEDS: dict[tuple[str, str], str] = {
    ("get", "/healthz"): "nothing",
    ("get", "/readyz"): "nothing",
    ("get", "/openapi.json"): "nothing",
    ("get", "/docs"): "nothing",
    ("get", "/v1/deployments"): "any or none",
    ("post", "/v1/segmentations"): "segment or none",
    ("post", "/v1/quotes"): "segment or none",
    ("get", "/v1/usage"): "usage",
    ("get", "/v1/ledger"): "usage",
    ("get", "/metrics"): "metrics",
    ("get", "/admin/v1/keys"): "admin",
    ("post", "/admin/v1/keys"): "admin",
    ("get", "/admin/v1/keys/{key_id}"): "admin",
    ("delete", "/admin/v1/keys/{key_id}"): "admin",
    ("post", "/admin/v1/keys/{key_id}/rotate"): "admin",
    ("get", "/admin/v1/budgets"): "admin",
    ("put", "/admin/v1/budgets"): "admin",
    ("delete", "/admin/v1/budgets/{budget_id}"): "admin",
    ("get", "/admin/v1/deployments/{name}"): "admin",
    ("post", "/admin/v1/deployments/{name}/drain"): "admin",
    ("post", "/admin/v1/deployments/{name}/resume"): "admin",
    ("post", "/admin/v1/reload"): "admin",
}
UNDOCUMENTED = {("get", "/openapi.json"), ("get", "/docs")}


def test_every_operation_stands_in_the_matrix(tmp_path: Path) -> None:
    """What is documented is what is tried below: a new operation says what it needs."""
    settings = settings_from_yaml("{}", environ={"MASKGATE_STATE_DIR": str(tmp_path)})
    described = create_app(settings).openapi()["paths"]
    documented = {(method, path) for path, methods in described.items() for method in methods if method != "parameters"}
    assert documented == set(NEEDS) - UNDOCUMENTED


def verdict(needs: str, kind: str) -> int | None:
    """Return the status with which a kind of caller is turned away; None where it is not."""
    if needs == "nothing":
        return None
    if kind == "keyless":
        return None if needs.endswith("or none") else 401
    if kind not in set(Scope):
        return 401
    return None if needs.partition(" ")[0] in {"any", kind} or kind == "admin" else 403


async def test_the_matrix_of_operations_and_keys(house: House, session: aiohttp.ClientSession) -> None:
    """Each operation turns away each kind of caller as it has to: 401 without a good key, 403 without the scope."""
    office = Caller(house.url, session, house.key)

    async def made(**wishes: Any) -> dict[str, Any]:
        wanted = {"tenant": "acme", "scopes": ["segment", "usage", "metrics", "admin"], **wishes}
        issued: dict[str, Any] = (await office.send("POST", "/admin/v1/keys", json=wanted, status=201)).body
        return issued

    revoked = await made()
    await office.send("DELETE", f"/admin/v1/keys/{revoked['id']}", status=200)
    keys = {scope.value: (await made(scopes=[scope.value]))["key"] for scope in Scope}
    keys |= {
        "expired": (await made(expires_in_seconds=0.01))["key"],
        "revoked": revoked["key"],
        "unknown": "mg_" + "x" * 32,
    }
    await asyncio.sleep(0.05)
    headers = {kind: {"Authorization": f"Bearer {key}"} for kind, key in keys.items()}
    headers |= {
        "keyless": {},
        "basic": {"Authorization": "Basic bWc6bWc="},
        "twice": {"Authorization": f"Bearer mg_wrong, Bearer {house.key}"},
        "forwarded": {"X-Forwarded-For": "127.0.0.1"},
        "a web page": {"Origin": "http://127.0.0.1"},
        "another site": {"Sec-Fetch-Site": "cross-site"},
        "bound anew": {"Host": "evil.example"},
    }
    wrong = []
    for (method, path), needs in NEEDS.items():
        place = house.url + re.sub(r"\{[a-z_]+\}", "nobody", path)
        for kind, shown in headers.items():
            async with session.request(method, place, json={} if method != "get" else None, headers=shown) as answer:
                expected = verdict(needs, kind)
                good = answer.status == expected if expected else answer.status not in {401, 403}
                if not good:
                    wrong.append((method, path, kind, answer.status, expected))
    assert [] == wrong


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://api.runflow.io",
        "http://10.0.0.7:9101",
        "http://127.0.0.1.example.com:9101",
        "http://localhost.example.com",
        "http://0.0.0.0:9101",
        "http://sandbox:9101",
        "http://2130706433:9101",
        "http://[::ffff:10.0.0.7]:9101",
    ],
)
def test_only_this_machine_plays_a_sandbox(endpoint: str) -> None:
    """A deployment that is marked as a sandbox's and is somewhere else is refused with its line and the remedy."""
    text = sandbox_config("127.0.0.1", 9100).replace("http://127.0.0.1:9101", endpoint)
    with pytest.raises(SettingsError, match=r"deployments\[0\]\.sandbox.*no address of this machine"):
        settings_from_yaml(text, environ={})
    assert "sandbox: true" not in sandbox_config("172.30.91.10", 9100)


@pytest.mark.parametrize(
    ("endpoint", "credential", "usd", "free"),
    [
        ("https://api.example.com", "key", "0", False),
        ("https://api.example.com", "", "0", True),
        ("http://127.0.0.1:9101", "key", "0", True),
        ("http://127.0.0.1:9101", "", "0.000001", False),
        ("", "", "0", True),
    ],
)
def test_a_price_of_nothing_is_believed_at_home(endpoint: str, credential: str, usd: str, *, free: bool) -> None:
    """Where a credential leaves this machine its owner may be billed, whatever price stands in the configuration."""
    deployment = Deployment("far", "runflow", "sam", "eu", endpoint, Secret(credential))
    offer = Offer(deployment, Model("sam", "sam3", Capabilities(frozenset())), 1)
    terms = Terms(Price("far", Money.from_usd(usd), PriceUnit.SUCCESS, "2026-01-01", "test"), fixed=Money(0))
    assert free is costs_nothing(offer, terms)
    assert not costs_nothing(offer, None)
    assert costs_nothing(replace(offer, sandbox=True), None)
