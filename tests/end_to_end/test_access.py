"""Who may ask: programs on this machine without a key, everybody else with one."""

from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.end_to_end.asking import Caller, on
from tests.end_to_end.household import House, gateway_process, gateway_running
from tests.end_to_end.upstreams import RUNFLOW_MICROUSD, Upstreams


@pytest.fixture
def locked_house(upstreams: Upstreams, tmp_path: Path) -> Iterator[House]:
    """Run a gateway that wants a key of everybody."""
    changes = {"access": {"keyless_on_loopback": False}}
    with gateway_running(upstreams.sandbox, tmp_path / "locked", changes=changes) as house:
        yield house


def holding(folder: Path, key: str) -> dict[str, int]:
    """Return the rights of every file that holds a key, by its name."""
    files = [path for path in folder.iterdir() if path.is_file() and key.encode() in path.read_bytes()]
    return {path.name: path.stat().st_mode & 0o777 for path in files}


@pytest.mark.slow
async def test_first_start_keeps_the_key(upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """The first start makes one key, kept in one file and said nowhere; it is good at once and after the next start."""
    with gateway_process(upstreams.sandbox, tmp_path) as first:
        key = first.house.key
        assert (await Caller(first.house.url, session, key).get("/v1/deployments")).body["deployments"]
    with gateway_process(upstreams.sandbox, tmp_path) as second:
        assert key == second.house.key
        assert "mg_" not in first.said + second.said
        await Caller(second.house.url, session, key).get("/v1/usage")
    assert {"key": 0o600} == holding(tmp_path, key)


async def test_locked_gateway_wants_a_key(
    locked_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Without a key, or with a wrong one, nothing is answered or reserved; health and the description need none."""
    caller = Caller(locked_house.url, session)
    body = {"image": {"url": upstreams.scene("shoes").url}, "prompt": "left shoe", "route": on("runflow-eu")}
    key = locked_house.key
    for wrong in ({}, {"Authorization": "Bearer mg_wrong"}, {"Authorization": f"Basic {key}"}, {"X-Api-Key": key}):
        for method, path in (("POST", "/v1/segmentations"), ("POST", "/v1/quotes"), ("GET", "/v1/usage")):
            refused = await caller.send(method, path, status=401, json=body, headers=wrong)
            assert ("unauthenticated", "Authorization") == (refused.body["code"], refused.body["field"])
            assert 'Bearer realm="maskgate"' == refused.headers["WWW-Authenticate"]
        await caller.get("/v1/deployments", status=401, headers=wrong)
    assert 0 == locked_house.rows()
    assert [] == upstreams.books()
    await caller.get("/metrics", status=401)
    for path in ("/healthz", "/readyz", "/openapi.json"):
        await caller.get(path)
    rights = (f"Bearer {key}", f"bearer {key}")
    replies = [await caller.segment(body, headers={"Authorization": right}) for right in rights]
    assert [["miss"], ["hit"]] == [reply.caches for reply in replies]
    assert ["default"] == [each.tenant for each in locked_house.ledger()]


async def test_forwarded_request_needs_a_key(house: House, session: aiohttp.ClientSession) -> None:
    """What says that it was passed on does not count as a program on this machine, and does with a key."""
    stranger = Caller(house.url, session)
    refused = await stranger.get("/v1/deployments", status=401, headers={"X-Forwarded-For": "127.0.0.1"})
    assert "Authorization: Bearer" in refused.body["detail"]
    with_key = {"X-Forwarded-For": "127.0.0.1", "Authorization": f"Bearer {house.key}"}
    await stranger.get("/v1/deployments", headers=with_key)
    await stranger.get("/v1/deployments", headers={"Host": "localhost:8080"})


async def test_unknown_key_is_not_taken_for_none(caller: Caller) -> None:
    """A wrong key is refused where no key would have done."""
    refused = await caller.get("/v1/usage", status=401, headers={"Authorization": "Bearer mg_unknown"})
    assert "unknown" in refused.body["detail"]


async def test_tenants_share_neither_answers_nor_accounts(
    house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """What one tenant has bought another one buys anew, and each sees its own spending alone."""
    body = {"image": {"url": upstreams.scene("shoes").url}, "prompt": "left shoe", "route": on("runflow-eu")}
    owner = Caller(house.url, session, house.key)
    made = await owner.send(
        "POST", "/admin/v1/keys", json={"tenant": "acme", "scopes": ["segment", "usage"]}, status=201
    )
    for tenant, key_id, key in (("acme", made.body["id"], made.body["key"]), ("default", "key_first", house.key)):
        caller = Caller(house.url, session, key)
        reply = await caller.segment(body)
        assert (["miss"], RUNFLOW_MICROUSD) == (reply.caches, reply.charged)
        (line,) = (await caller.get("/v1/usage?by=tenant,key")).body["lines"]
        assert ({"tenant": tenant, "key": key_id}, RUNFLOW_MICROUSD) == (line["group"], line["charged_microusd"])
    assert ["acme", "default"] == [each.tenant for each in house.ledger()]
