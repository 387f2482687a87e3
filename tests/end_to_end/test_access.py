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


def contents(folder: Path) -> list[bytes]:
    """Return what is in each file of a folder."""
    return [path.read_bytes() for path in folder.iterdir() if path.is_file()]


async def test_first_start_shows_the_key_once(
    upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The first start prints one key, which is good at once and after the second start, which prints none."""
    with gateway_process(upstreams.sandbox, tmp_path) as first:
        (key,) = first.house.shown_keys
        headers = {"Authorization": f"Bearer {key}"}
        assert (await Caller(first.house.url, session).get("/v1/deployments", headers=headers)).body["deployments"]
    with gateway_process(upstreams.sandbox, tmp_path) as second:
        assert ([], False) == (second.house.shown_keys, "mg_" in second.said)
        await Caller(second.house.url, session).get("/v1/usage", headers=headers)
    assert not any(key.encode() in file for file in contents(tmp_path)), "the key is kept nowhere but as its digest"


async def test_locked_gateway_wants_a_key(
    locked_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Without a key, or with a wrong one, nothing is answered or reserved; health and metrics need none."""
    caller = Caller(locked_house.url, session)
    body = {"image": {"url": upstreams.scene("shoes").url}, "prompt": "left shoe", "route": on("runflow-eu")}
    (key,) = locked_house.shown_keys
    for wrong in ({}, {"Authorization": "Bearer mg_wrong"}, {"Authorization": f"Basic {key}"}, {"X-Api-Key": key}):
        for method, path in (("POST", "/v1/segmentations"), ("POST", "/v1/quotes"), ("GET", "/v1/usage")):
            refused = await caller.send(method, path, status=401, json=body, headers=wrong)
            assert ("unauthenticated", "Authorization") == (refused.body["code"], refused.body["field"])
            assert 'Bearer realm="maskgate"' == refused.headers["WWW-Authenticate"]
        await caller.get("/v1/deployments", status=401, headers=wrong)
    assert 0 == locked_house.rows()
    assert [] == upstreams.books()
    for path in ("/healthz", "/readyz", "/openapi.json"):
        await caller.get(path)
    await caller.metrics()
    rights = (f"Bearer {key}", f"bearer {key}")
    replies = [await caller.segment(body, headers={"Authorization": right}) for right in rights]
    assert [["miss"], ["hit"]] == [reply.caches for reply in replies]
    assert ["default"] == [each.tenant for each in locked_house.ledger()]


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via", "Origin"])
async def test_forwarded_request_needs_a_key(caller: Caller, house: House, header: str) -> None:
    """What a proxy has passed on, or a web page has sent, does not count as a program on this machine."""
    await caller.get("/v1/deployments")
    refused = await caller.get("/v1/deployments", status=401, headers={header: "127.0.0.1"})
    assert "Authorization: Bearer" in refused.body["detail"]
    with_key = {header: "127.0.0.1", "Authorization": f"Bearer {house.shown_keys[0]}"}
    await caller.get("/v1/deployments", headers=with_key)


async def test_page_whose_name_was_bound_anew_needs_a_key(caller: Caller) -> None:
    """A request from loopback that names another host comes from a web page whose name was made to lead here."""
    await caller.get("/v1/deployments", status=401, headers={"Host": "evil.example:8080"})
    await caller.get("/v1/deployments", headers={"Host": "localhost:8080"})


async def test_unknown_key_is_not_taken_for_none(caller: Caller) -> None:
    """A wrong key is refused where no key would have done."""
    refused = await caller.get("/v1/usage", status=401, headers={"Authorization": "Bearer mg_unknown"})
    assert "unknown" in refused.body["detail"]


async def test_tenants_share_neither_answers_nor_accounts(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """What one tenant has bought another one buys anew, and each sees its own spending alone."""
    body = {"image": {"url": upstreams.scene("shoes").url}, "prompt": "left shoe", "route": on("runflow-eu")}
    with_key = {"Authorization": f"Bearer {house.shown_keys[0]}"}
    for headers in (None, with_key):
        reply = await caller.segment(body, headers=headers)
        assert (["miss"], RUNFLOW_MICROUSD) == (reply.caches, reply.charged)
        usage = await caller.get("/v1/usage?by=tenant,key", headers=headers)
        (line,) = usage.body["lines"]
        expected = {"tenant": "default", "key": "key_first"} if headers else {"tenant": "local", "key": "keyless"}
        assert (expected, RUNFLOW_MICROUSD) == (line["group"], line["charged_microusd"])
    assert ["local", "default"] == [each.tenant for each in house.ledger()]
