"""Keys, tenants, charges, budgets, quotes, rates and the ledger, as callers meet them over real sockets."""

import asyncio
import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.api.ledger import LedgerShape
from tests.end_to_end.asking import Caller, on
from tests.end_to_end.audit import audit
from tests.end_to_end.money_house import (
    SAID,
    Calendar,
    Here,
    Office,
    bearing,
    deployment,
    gateway_here,
    gateways,
    outside,
)
from tests.end_to_end.siege import keepsake, purchase
from tests.end_to_end.upstreams import PRODIA_MICROUSD, RUNFLOW_MICROUSD, Upstreams

NOON = "2027-01-01T12:00:00+00:00"
CHEAP, DEAR = 5000, 9000


def amend(document: dict[str, Any]) -> None:
    """Give some tenants rules of their own, and a deployment a price that rises at noon."""
    document["tenants"] = {
        "europeans": {"providers": ["runflow"], "regions": ["eu"], "share_cache": True},
        "sharers": {"share_cache": True},
        "more-sharers": {"share_cache": True},
        "marked": {"markup": "1.15", "share_cache": True},
        "fixed-sharers": {"prices": {"runflow-us": "0.0011"}, "share_cache": True},
        "fixed": {"prices": {"runflow-eu": "0.006"}},
        "slow": {"requests_per_second": "0.01", "burst": 3},
    }
    local = deployment(document, "local-classic")
    del local["price"]
    local["prices"] = [
        {"usd": "0.005", "unit": "success", "valid_from": "2026-01-01", "source": "the old list"},
        {"usd": "0.009", "unit": "success", "valid_from": "2027-01-01T12:00:00Z", "source": "the new list"},
    ]


@pytest.fixture
def calendar() -> Calendar:
    """Return the wall clock of the gateway, two minutes before noon on a New Year's Day."""
    return Calendar("2027-01-01T11:58:00+00:00")


@pytest.fixture
def here(upstreams: Upstreams, tmp_path: Path, calendar: Calendar) -> Iterator[Here]:
    """Run a gateway whose tenants have rules."""
    with gateway_here(upstreams.sandbox, tmp_path, amend=amend, wall=calendar) as gateway:
        yield gateway


@pytest.fixture
def office(here: Here, session: aiohttp.ClientSession) -> Office:
    """Return its administrator."""
    return Office(here, session)


@pytest.fixture
def asker(here: Here, session: aiohttp.ClientSession) -> Caller:
    """Return its callers."""
    return Caller(here.url, session)


def command(*arguments: str, database_url: str) -> dict[str, Any]:
    """Run `maskgate … --json` in a process of its own, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", *arguments, "--json"],
        env=outside() | {"MASKGATE_DATABASE_URL": database_url},
        check=True,
        capture_output=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def costing(upstreams: Upstreams, thing: int = 0) -> dict[str, Any]:
    """Return a question to the deployment whose price rises."""
    scene = upstreams.scene("shoes")
    return {
        "image": {"url": scene.url},
        "prompts": [{"kind": "object", "box": scene.things[thing].box}],
        "route": on("local-classic", deadline_seconds=30),
    }


async def entries_of(asker: Caller, headers: Mapping[str, str], **wanted: str) -> list[dict[str, Any]]:
    """Return entries of the ledger, oldest first."""
    asked = "&".join(f"{name}={value}" for name, value in {"order": "oldest", **wanted}.items())
    listed = await asker.get(f"/v1/ledger?{asked}", headers=headers)
    LedgerShape.model_validate(listed.body)
    found: list[dict[str, Any]] = listed.body["entries"]
    return found


@pytest.mark.slow
async def test_keys_at_two_gateways(
    database_url: str, upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A key, made over HTTP or on the command line, is good at both gateways at once, and then for nothing at once."""
    with gateways(upstreams.sandbox, tmp_path / "two", database_url=database_url) as both:
        office = Office(both[0], session)
        typed = command("keys", "create", "--tenant", "typed", database_url=database_url)
        key_id, headers = await office.key()
        keys = {key_id: headers, typed["id"]: bearing(typed["key"])}
        callers = [Caller(each.url, session) for each in both]
        for shown in keys.values():
            for caller in callers:
                await caller.segment(purchase(upstreams), headers=shown)
        await Office(both[1], session).revoke(key_id)
        assert "revoked" == command("keys", "revoke", typed["id"], database_url=database_url)["status"]
        for shown in keys.values():
            for caller in callers:
                refused = await caller.segment(purchase(upstreams), headers=shown, status=401)
                assert "unauthenticated" == refused.body["code"]
    accounts = await audit(database_url, upstreams.books())
    assert ["typed", "typed", "acme", "acme"] == sorted((each.tenant for each in accounts), reverse=True)


async def test_scopes(asker: Caller, office: Office, upstreams: Upstreams) -> None:
    """A key does what its scopes say, and an administrator's does everything."""
    may = {scope: (await office.key(scopes=[scope]))[1] for scope in ("segment", "usage", "admin")}
    routes = [
        ("POST", "/v1/segmentations", "segment", keepsake(upstreams)),
        ("POST", "/v1/quotes", "segment", keepsake(upstreams)),
        ("GET", "/v1/usage", "usage", None),
        ("GET", "/v1/ledger", "usage", None),
        ("GET", "/admin/v1/keys", "admin", None),
        ("GET", "/admin/v1/budgets", "admin", None),
    ]
    for method, path, needed, body in routes:
        for scope, headers in may.items():
            status = 200 if scope in {needed, "admin"} else 403
            reply = await asker.send(method, path, json=body, headers=headers, status=status)
            if status == 403:
                assert ("forbidden", "Authorization") == (reply.body["code"], reply.body["field"])
                assert f"scope {needed}" in reply.body["detail"]
    assert 1 == len(upstreams.books())


async def test_an_expired_key(asker: Caller, office: Office, calendar: Calendar, upstreams: Upstreams) -> None:
    """A key is good until the moment at which it expires."""
    _, headers = await office.key(expires_at="2027-01-01T12:00:00Z")
    await asker.segment(keepsake(upstreams), headers=headers)
    calendar.set(NOON)
    refused = await asker.segment(keepsake(upstreams), headers=headers, status=401)
    assert "expired" in refused.body["detail"]


async def test_rotation(asker: Caller, office: Office, calendar: Calendar, upstreams: Upstreams) -> None:
    """Both secrets of a rotated key are good until the grace ends, and then the new one alone; both are one account."""
    key_id, old = await office.key(hard_budget={"usd": "0.020"})
    new = await office.rotate(key_id, grace_seconds=60)
    for headers in (old, new):
        assert RUNFLOW_MICROUSD == (await asker.segment(purchase(upstreams), headers=headers)).charged
    assert {key_id: (20_000, 10_000, 0)} == await office.standing()
    calendar.set(NOON)
    await asker.segment(purchase(upstreams), headers=old, status=401)
    await asker.segment(purchase(upstreams), headers=new)
    newest = await office.rotate(key_id, grace_seconds=0)
    await asker.segment(purchase(upstreams), headers=new, status=401)
    await asker.segment(purchase(upstreams), headers=newest)
    assert {key_id: (20_000, 20_000, 0)} == await office.standing()


async def test_a_tenant_s_places(asker: Caller, office: Office, upstreams: Upstreams) -> None:
    """A tenant's providers and regions hold for calls, for failover and for answers that others have bought."""
    _, europeans = await office.key("europeans")
    _, sharers = await office.key("sharers")
    _, more = await office.key("more-sharers")
    _, others = await office.key("others")
    american = keepsake(upstreams) | {"route": on("runflow-us")}
    anywhere = keepsake(upstreams) | {"route": {"strategy": "priority"}}
    refused = await asker.segment(american, headers=europeans, status=403)
    assert ("forbidden", "route") == (refused.body["code"], refused.body["field"])
    assert ["miss"] == (await asker.segment(american, headers=sharers)).caches
    shared = await asker.segment(anywhere, headers=more)
    assert (["hit"], 0, RUNFLOW_MICROUSD) == (shared.caches, shared.charged, shared.body["cost"]["saved_microusd"])
    assert ["miss"] == (await asker.segment(anywhere, headers=others)).caches
    reply = await asker.segment(anywhere, headers=europeans)
    assert (["miss"], [("runflow-eu", "succeeded")]) == (reply.caches, reply.attempts)
    upstreams.strike("runflow-eu", {"kind": "status", "status": 500})
    failed = await asker.segment(
        purchase(upstreams) | {"route": {"strategy": "priority"}}, headers=europeans, status=502
    )
    assert {"runflow-eu"} == {name for name, _ in failed.attempts}
    rescued = await asker.segment(purchase(upstreams) | {"route": {"strategy": "priority"}}, headers=sharers)
    assert ("runflow-us", "succeeded") == rescued.attempts[-1]


@pytest.mark.parametrize(
    ("tenant", "charge", "terms"),
    [("plain", 5000, ""), ("marked", 5750, "*1.15"), ("fixed", 6000, "=0.006000")],
)
async def test_receipt_headers_and_ledger_agree(
    asker: Caller, office: Office, upstreams: Upstreams, tenant: str, charge: int, terms: str
) -> None:
    """What an answer says it costs is what the ledger charges, at the terms that both name, and the rest is margin."""
    _, headers = await office.key(tenant)
    reply = await asker.segment(purchase(upstreams), headers=headers)
    (item,) = reply.body["cost"]["items"]
    assert (charge, charge) == (reply.charged, item["charged_microusd"])
    assert item["price_id"] == f"runflow-eu@2026-04-05{terms}"
    reserve, settle = await entries_of(asker, headers, request_id=reply.body["id"])
    assert ["reserve", "settle"] == [reserve["kind"], settle["kind"]]
    for entry in (reserve, settle):
        assert (item["attempt_id"], item["price_id"]) == (entry["attempt_id"], entry["price_id"])
    assert (charge, charge, RUNFLOW_MICROUSD) == (
        reserve["amount_microusd"],
        settle["amount_microusd"],
        settle["cost_microusd"],
    )
    assert (RUNFLOW_MICROUSD, charge - RUNFLOW_MICROUSD) == (settle["payable_microusd"], settle["margin_microusd"])
    usage = await asker.get("/v1/usage?by=deployment", headers=headers)
    assert [charge] == [line["charged_microusd"] for line in usage.body["lines"]]


async def test_a_soft_budget_warns(asker: Caller, office: Office, upstreams: Upstreams) -> None:
    """An answer beyond a soft budget is given, and says so; one within it says nothing."""
    budget_id = await office.budget("0.008", hard=False, period="day")
    _, headers = await office.key()
    within = await asker.segment(purchase(upstreams), headers=headers)
    assert "Maskgate-Budget-Warning" not in within.headers
    beyond = await asker.segment(purchase(upstreams), headers=headers)
    warned = beyond.headers["Maskgate-Budget-Warning"]
    assert warned.startswith(f'"{budget_id}";scope=tenant;subject="acme";period=day;limit-microusd=8000;')
    assert "used-microusd=10000" in warned


async def test_a_hard_budget_refuses(asker: Caller, office: Office, upstreams: Upstreams) -> None:
    """What a hard budget has no room for is refused with its figures; what costs nothing, or less, is not."""
    key_id, headers = await office.key(hard_budget={"usd": "0.0065", "window": "day"})
    await asker.segment(keepsake(upstreams), headers=headers)
    refused = await asker.segment(purchase(upstreams), headers=headers, status=402)
    assert "budget_exceeded" == refused.body["code"]
    for said in (key_id, "$0.006500", "spent $0.005000", "reserved $0.000000", "left $0.001500"):
        assert said in refused.body["detail"]
    assert "2027-01-02T00:00:00Z" in refused.body["detail"]
    assert 43_000 < int(refused.headers["Retry-After"]) <= 43_320
    assert ["hit"] == (await asker.segment(keepsake(upstreams), headers=headers)).caches
    cheaper = await asker.segment(purchase(upstreams, "prodia"), headers=headers)
    assert PRODIA_MICROUSD == cheaper.charged
    assert {key_id: (6500, RUNFLOW_MICROUSD + PRODIA_MICROUSD, 0)} == await office.standing()


async def test_a_quote_binds(asker: Caller, office: Office, calendar: Calendar, upstreams: Upstreams) -> None:
    """What was quoted before a price rose is charged afterwards, and without the quote the new price is."""
    _, headers = await office.key()
    quoted = await asker.send("POST", "/v1/quotes", json=costing(upstreams), headers=headers, status=200)
    assert CHEAP == quoted.body["most_microusd"]
    calendar.set(NOON)
    bound = await asker.segment(costing(upstreams) | {"quote_id": quoted.body["quote_id"]}, headers=headers)
    assert CHEAP == bound.charged
    free = await asker.segment(costing(upstreams, thing=1), headers=headers)
    assert DEAR == free.charged
    entries = await entries_of(asker, headers, kind="reserve")
    assert [
        (CHEAP, "local-classic@2027-01-01T12:00:00Z"),
        (DEAR, "local-classic@2027-01-01T12:00:00Z"),
    ] == [(entry["amount_microusd"], entry["price_id"]) for entry in entries]


async def test_what_a_hit_has_saved_is_in_the_caller_s_own_terms(
    asker: Caller, office: Office, upstreams: Upstreams
) -> None:
    """Whoever bought an answer, each tenant reads what its own call would have cost it, and no other one's price."""
    asked = keepsake(upstreams) | {"route": on("runflow-us")}
    saved = {}
    for tenant in ("marked", "fixed-sharers", "sharers"):
        _, headers = await office.key(tenant)
        reply = await asker.segment(asked, headers=headers)
        saved[tenant] = (reply.caches, reply.charged, reply.body["cost"]["saved_microusd"])
    assert saved == {
        "marked": (["miss"], 5750, 0),
        "fixed-sharers": (["hit"], 0, 1100),
        "sharers": (["hit"], 0, RUNFLOW_MICROUSD),
    }


async def test_a_quote_that_counts_on_a_kept_answer_is_good_for_it(
    asker: Caller, office: Office, upstreams: Upstreams
) -> None:
    """It promises nothing to pay, and the answer comes though the deployment that made it takes nobody any more."""
    _, headers = await office.key()
    asked = keepsake(upstreams) | {"route": on("runflow-us")}
    bought = await asker.segment(asked, headers=headers)
    quoted = await asker.send("POST", "/v1/quotes", json=asked, headers=headers, status=200)
    assert (0, "hit") == (quoted.body["most_microusd"], quoted.body["questions"][0]["cache"])
    upstreams.strike("runflow-us", {"kind": "refuse"})
    for _ in range(6):  # until its breaker is open
        await asker.segment(purchase(upstreams, "runflow-us"), headers=headers, status=None)
    reply = await asker.segment(asked | {"quote_id": quoted.body["quote_id"]}, headers=headers)
    assert (["hit"], 0, bought.body["instances"]) == (reply.caches, reply.charged, reply.body["instances"])


async def test_a_quote_that_does_not_hold(
    asker: Caller, office: Office, calendar: Calendar, upstreams: Upstreams
) -> None:
    """A quote that is forged, another tenant's, of another request, or expired is refused, and nothing is spent."""
    _, headers = await office.key()
    _, others = await office.key("others")
    quoted = await asker.send("POST", "/v1/quotes", json=costing(upstreams), headers=headers, status=200)
    quote_id: str = quoted.body["quote_id"]
    forged = quote_id[:60] + ("A" if quote_id[60] != "A" else "B") + quote_id[61:]
    other_request = costing(upstreams, thing=1)

    async def refused(body: dict[str, Any], token: str, shown: dict[str, str]) -> str:
        reply = await asker.segment(body | {"quote_id": token}, headers=shown, status=422)
        assert ("invalid_request", "quote_id") == (reply.body["code"], reply.body["field"])
        return str(reply.body["detail"])

    assert "no quote of this gateway" in await refused(costing(upstreams), forged, headers)
    assert "another tenant" in await refused(costing(upstreams), quote_id, others)
    assert "another request" in await refused(other_request, quote_id, headers)
    calendar.set("2027-01-01T12:03:01+00:00")
    assert "expired at" in await refused(costing(upstreams), quote_id, headers)
    assert [] == await entries_of(asker, headers)


async def test_rate_limits(asker: Caller, office: Office, upstreams: Upstreams) -> None:
    """A key's and a tenant's rates refuse what is too much, and say how they stand and when to come back."""
    _, key = await office.key(requests_per_second="0.02", burst=2)
    _, slow = await office.key("slow")
    _, slow_too = await office.key("slow")
    body = keepsake(upstreams)
    for left in (1, 0):
        reply = await asker.segment(body, headers=key)
        assert f";r={left}" in reply.headers["RateLimit"]
        assert ";w=" in reply.headers["RateLimit-Policy"]
    await refused_for_its_rate(asker, body, key, most_seconds=50)
    for shown in (slow, slow_too, slow):
        await asker.segment(body, headers=shown)
    await refused_for_its_rate(asker, body, slow_too, most_seconds=100)
    assert 2 == len(upstreams.books())


async def refused_for_its_rate(
    asker: Caller, body: dict[str, Any], headers: Mapping[str, str], *, most_seconds: int
) -> None:
    """Demand that a request is refused, with the headers that tell why."""
    refused = await asker.segment(body, headers=headers, status=429)
    assert "rate_limited" == refused.body["code"]
    assert 0 < int(refused.headers["Retry-After"]) <= most_seconds
    assert ";r=0;t=" in refused.headers["RateLimit"]
    assert ";q=" in refused.headers["RateLimit-Policy"]


async def test_too_many_at_once(asker: Caller, office: Office, upstreams: Upstreams) -> None:
    """A key's concurrency refuses the request that is one too many, until another one has ended."""
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 0.5})
    _, headers = await office.key(concurrency=1)
    first = asyncio.create_task(asker.segment(purchase(upstreams), headers=headers))
    await asker.until_in_flight("runflow-eu", 1)
    refused = await asker.segment(purchase(upstreams), headers=headers, status=429)
    assert 'qu="concurrent-requests"' in refused.headers["RateLimit-Policy"]
    await first
    await asker.segment(purchase(upstreams), headers=headers)


async def test_the_ledger_in_pages_and_as_csv(
    asker: Caller, office: Office, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    """Pages lead from one to the next through every entry, and CSV has the same ones; another tenant sees none."""
    _, headers = await office.key()
    _, others = await office.key("others")
    for _ in range(3):
        await asker.segment(purchase(upstreams) | {"tags": {"team": "search"}}, headers=headers)
    paged: list[dict[str, Any]] = []
    path = "/v1/ledger?order=oldest&limit=4"
    while path:
        page = await asker.get(path, headers=headers)
        paged += page.body["entries"]
        cursor = page.body["next_cursor"]
        path = f"/v1/ledger?order=oldest&limit=4&cursor={cursor}" if cursor else ""
    assert ["reserve", "settle"] * 3 == [entry["kind"] for entry in paged]
    assert {("acme", "runflow-eu")} == {(entry["tenant"], entry["deployment"]) for entry in paged}
    assert [{"team": "search"}] * 6 == [entry["tags"] for entry in paged]
    written = await asker.text("/v1/ledger?order=oldest&format=csv", headers=headers)
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [(str(entry["id"]), entry["amount_usd"], entry["chain"]) for entry in paged] == [
        (row["id"], row["amount_usd"], row["chain"]) for row in rows
    ]
    assert [] == await entries_of(asker, others)
    await asker.get("/v1/ledger?tenant=acme", headers=others, status=403)
    assert 6 == len((await office.send("GET", "/v1/ledger?tenant=acme")).body["entries"])


async def test_admin_routes_on_their_own_port(
    upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """With a port of their own, admin routes are answered there alone, and nothing else is, but for health."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with gateways(upstreams.sandbox, tmp_path, database_url=url, count=1, options=["--admin-port", "0"]) as (gateway,):
        found = re.search(r"Admin routes on (http://\S+)", (gateway.folder / SAID).read_text())
        assert found is not None
        public, admin = Caller(gateway.url, session), Caller(found[1], session)
        await public.get("/admin/v1/keys", headers=gateway.admin, status=404)
        assert 1 == len((await admin.get("/admin/v1/keys", headers=gateway.admin)).body["keys"])
        await admin.get("/admin/v1/keys", status=401)
        assert "maskgate_spend_micros" in await admin.text("/metrics")
        await public.get("/metrics", status=401)
        await admin.segment(purchase(upstreams), headers=gateway.admin, status=404)
        await public.segment(purchase(upstreams), headers=gateway.admin)
        for caller in (public, admin):
            await caller.get("/healthz")
