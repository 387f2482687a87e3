"""What holds for money and for the figures about it: prices, ceilings, cache, quotes, reports and metrics."""

import base64
import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.end_to_end.asking import Caller, Reply, on, text
from tests.end_to_end.household import House, Winding
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import PRODIA_MICROUSD, RUNFLOW_MICROUSD, Upstreams


def question(upstreams: Upstreams, *phrases: str, cache: str = "use", **wishes: Any) -> dict[str, Any]:
    """Return a request about the shoes."""
    return {
        "image": {"url": upstreams.scene("shoes").url},
        "prompts": [text(phrase) for phrase in phrases or ("left shoe",)],
        "route": wishes,
        "cache": {"mode": cache},
    }


def candidates(quoted: dict[str, Any]) -> list[tuple[str, int]]:
    """Return whom a quote's prompt would be asked of, in order, and the most that each costs."""
    return [(each["deployment"], each["most_microusd"]) for each in quoted["candidates"]]


def excluded(quoted: dict[str, Any]) -> list[tuple[str, str]]:
    """Return who is out, and why; every reason is explained."""
    assert all(each["detail"] for each in quoted["excluded"])
    return [(each["deployment"], each["reason"]) for each in quoted["excluded"]]


async def test_answer_headers_and_ledger_tell_the_same(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """Each prompt is charged on its own; the sum stands in body and headers, and each charge in the ledger."""
    upstreams.strike("runflow-eu", {"kind": "reset_before"})
    phrases = ("left shoe", "right shoe", "carton")
    body = question(upstreams, *phrases, **on("runflow-eu", "prodia"))
    reply = await caller.segment({**body, "tags": {"team": "catalogue"}, "metadata": {"order": [7]}})
    assert ({"team": "catalogue"}, {"order": [7]}) == (reply.body["tags"], reply.body["metadata"])
    assert [("runflow-eu", "unanswered"), ("prodia", "succeeded")] * 3 == reply.attempts
    cost = reply.body["cost"]
    assert (3 * PRODIA_MICROUSD, 3 * RUNFLOW_MICROUSD, 0) == (
        cost["charged_microusd"],
        cost["held_microusd"],
        cost["saved_microusd"],
    )
    assert ("USD", "0.003300", "3300") == (
        cost["currency"],
        cost["charged_usd"],
        reply.headers["Maskgate-Charge-Microusd"],
    )
    assert "prodia, prodia, prodia" == reply.headers["Maskgate-Deployment"]
    ledger = house.ledger()
    assert {reply.body["id"]} == {each.request_id for each in ledger}
    assert {"catalogue"} == {each.tags["team"] for each in ledger}
    for index in range(3):
        accounts = {each.deployment: each for each in ledger if each.prompt_index == index}
        for attempt in (each for each in reply.body["attempts"] if each["prompt_index"] == index):
            account = accounts[attempt["deployment"]]
            held = attempt.get("held_microusd", 0)
            assert (attempt["charge_microusd"] or held) == account.amount
            assert ("hold" if held else "settle") == account.ended
    assert_books_agree(ledger, upstreams.books())


async def test_ceiling_rules_out_what_is_dearer(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """With 0.004 dollars to spend Runflow is out and Prodia is in, though Runflow comes first."""
    reply = await caller.segment(question(upstreams, strategy="priority", max_charge_usd="0.004"))
    assert [("prodia", "succeeded")] == reply.attempts
    assert PRODIA_MICROUSD == reply.charged
    reply = await caller.segment(question(upstreams, cache="skip", max_charge_usd="0.001"), status=422)
    assert ("no_deployment", "route.max_charge_usd") == (reply.body["code"], reply.body["field"])
    assert "prodia: a call can cost 0.001100 dollars" in reply.body["detail"]
    reply = await caller.segment(question(upstreams, max_charge_usd="0"))
    assert (["hit"], 0) == (reply.caches, reply.charged)
    assert 1 == len(house.ledger())


async def test_long_text_goes_where_it_fits(caller: Caller, upstreams: Upstreams) -> None:
    """A text of 501 characters is nothing for Prodia, which would be cheaper, and is answered by Runflow."""
    reply = await caller.segment(question(upstreams, "shoe " * 100 + "s"))
    assert [("runflow-eu", "succeeded")] == reply.attempts
    shortest = await caller.segment(question(upstreams, "shoe " * 99 + "shoes"))
    assert [("prodia", "succeeded")] == shortest.attempts


@pytest.mark.parametrize(("deployment", "ceiling"), [("runflow-eu", "0.0099"), ("prodia", "0.0021")])
async def test_ceiling_holds_for_the_whole_request(
    caller: Caller, house: House, upstreams: Upstreams, deployment: str, ceiling: str
) -> None:
    """Money for one of two prompts buys one of them; the other carries its problem, and the answer is a part of one."""
    body = question(upstreams, "left shoe", "right shoe", **on(deployment, max_charge_usd=ceiling))
    reply = await caller.segment(body)
    assert "partially_succeeded" == reply.body["status"]
    bought, refused = sorted(reply.body["answers"], key=lambda each: "error" in each)
    assert deployment == bought["deployment"]
    problem = refused["error"]
    assert "route.max_charge_usd" == problem["field"]
    assert "route.max_charge_usd" in problem["detail"]
    assert reply.headers["X-Request-Id"]
    assert {bought["prompt_index"]} == {each["prompt_index"] for each in reply.body["instances"]}
    assert 1 == len(reply.attempts) == len(house.ledger()) == len(upstreams.books())
    assert_books_agree(house.ledger(), upstreams.books())


async def test_held_money_counts_against_the_ceiling(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """What a lost answer may cost is spent as far as the ceiling goes: a second dear call is not made."""
    upstreams.strike("runflow-eu", {"kind": "reset_after"})
    body = question(upstreams, **on("runflow-eu", "runflow-us", "prodia", max_charge_usd="0.008"))
    reply = await caller.segment(body)
    assert [("runflow-eu", "unanswered"), ("prodia", "succeeded")] == reply.attempts
    assert (PRODIA_MICROUSD, RUNFLOW_MICROUSD) == (reply.charged, reply.body["cost"]["held_microusd"])
    assert_books_agree(house.ledger(), upstreams.books_of(2))


async def test_one_bad_prompt_does_not_spoil_the_others(caller: Caller, upstreams: Upstreams) -> None:
    """A prompt that nobody can answer carries its problem; the others are answered, and the request is a 200."""
    body = question(upstreams, "left shoe", **on("prodia"))
    body["prompts"].append({"kind": "automatic"})
    reply = await caller.segment(body)
    assert "partially_succeeded" == reply.body["status"]
    assert "unsupported_capability" == reply.body["answers"][1]["error"]["code"]
    assert "prompts[1]" == reply.body["answers"][1]["error"]["field"]
    assert PRODIA_MICROUSD == reply.charged


async def test_cache_modes(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """`skip` neither looks nor keeps, `use` keeps and finds, `refresh` buys anew and keeps that."""
    steps = [
        ("skip", "runflow-eu", "skip"),
        ("use", "runflow-eu", "miss"),
        ("use", "runflow-eu", "hit"),
        ("skip", "runflow-eu", "skip"),
        ("refresh", "runflow-us", "refresh"),
        ("use", "runflow-us", "hit"),
    ]
    bought = 0
    for mode, deployment, became in steps:
        reply = await caller.segment(question(upstreams, cache=mode, **on(deployment)))
        paid, saved = (0, RUNFLOW_MICROUSD) if became == "hit" else (RUNFLOW_MICROUSD, 0)
        bought += became != "hit"
        assert ([became], paid, saved) == (reply.caches, reply.charged, reply.body["cost"]["saved_microusd"])
        assert deployment == reply.body["answers"][0]["deployment"]
        assert 1 == len(reply.body["instances"])
        assert bought == len(upstreams.books()) == len(house.ledger())
    metrics = await caller.metrics()
    assert [2, 1, 2, 1] == [
        metrics[f'maskgate_cache_total{{result="{result}"}}'] for result in ("hit", "miss", "skip", "refresh")
    ]
    assert metrics["maskgate_cache_bytes"] > 0


async def test_hit_serves_every_encoding_and_region(caller: Caller, upstreams: Upstreams) -> None:
    """An answer bought in one region serves all, in whatever encoding; a caller that names a region gets that one's."""
    body = question(upstreams, **on("runflow-eu"))
    assert ["miss"] == (await caller.segment(body)).caches
    for masks in ("png", "polygon", "none", "rle"):
        free = await caller.segment({**question(upstreams), "output": {"masks": masks}})
        assert (["hit"], "runflow-eu") == (free.caches, free.body["answers"][0]["deployment"])
        mask = free.body["instances"][0]["mask"]
        assert masks == (mask or {"encoding": "none"})["encoding"]
    elsewhere = await caller.segment(question(upstreams, **on("runflow-us")))
    assert (["miss"], [("runflow-us", "succeeded")]) == (elsewhere.caches, elsewhere.attempts)
    assert ["miss"] == (await caller.segment({**body, "max_masks": 3})).caches
    assert ["miss"] == (await caller.segment({**body, "min_score": 0.25})).caches


async def test_kept_answer_has_its_time(
    wound_house: House, winding: Winding, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """An answer is kept for as long as the request says, and "nothing found" for a minute at most."""
    caller = Caller(wound_house.url, session, wound_house.key)
    kept = {**question(upstreams, **on("prodia")), "cache": {"ttl_seconds": 100}}
    empty = question(upstreams, "giraffe", **on("prodia"))
    seen = []
    for seconds in (0, 50, 30, 30):
        winding.ahead += seconds
        seen.append([(await caller.segment(body)).caches[0] for body in (kept, empty)])
    assert [["miss", "miss"], ["hit", "hit"], ["hit", "miss"], ["miss", "hit"]] == seen


async def test_deadline_that_is_too_short_loses_nothing(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """A deadline that passes during the call is a 504 that tells of the attempt; what may be owed is on hold."""
    upstreams.strike("runflow-eu", {"kind": "lost_answer"})
    reply = await caller.segment(question(upstreams, **on("runflow-eu", deadline_seconds=0.8)), status=504)
    assert ("deadline_exceeded", "route.deadline_seconds") == (reply.body["code"], reply.body["field"])
    assert [("runflow-eu", "unanswered")] == reply.attempts
    assert RUNFLOW_MICROUSD == reply.body["attempts"][0]["held_microusd"]
    assert ["hold"] == [each.ended for each in house.ledger()]
    assert_books_agree(house.ledger(), upstreams.books_of(1))
    usage = (await caller.get("/v1/usage")).body["total"]
    assert (1, RUNFLOW_MICROUSD, 0) == (usage["held"], usage["held_microusd"], usage["charged_microusd"])


async def test_deadline_that_has_passed_buys_nothing(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """With no time left nobody is asked."""
    data = base64.b64encode(upstreams.picture("shoes")).decode()
    body = {**question(upstreams, **on("prodia", deadline_seconds=1e-6)), "image": {"data": data}}
    reply = await caller.segment(body, status=504)
    assert "deadline_exceeded" == reply.body["code"]
    assert (0, []) == (house.rows(), upstreams.books())


async def test_quote_spends_nothing(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """A quote lists who would be asked, in that order and at which price, and why the others are out."""
    quoted = await caller.quote(question(upstreams))
    (by_price,) = quoted.body["questions"]
    assert [("prodia", 1100), ("runflow-eu", 5000), ("runflow-us", 5000)] == candidates(by_price)
    assert [("local-classic", "unsupported_capability")] == excluded(by_price)
    assert (11_100, "0.011100", 1100) == (
        quoted.body["most_microusd"],
        quoted.body["most_usd"],
        quoted.body["likely_microusd"],
    )
    wishes: dict[str, Any] = {"strategy": "priority", "max_charge_usd": "0.004", "regions": ["eu", "global"]}
    (by_priority,) = (await caller.quote(question(upstreams, **wishes))).body["questions"]
    assert [("prodia", 1100)] == candidates(by_priority)
    assert {
        ("runflow-eu", "above_max_charge"),
        ("runflow-us", "not_wanted"),
        ("local-classic", "not_wanted"),
    } == set(excluded(by_priority))
    impossible = await caller.quote(question(upstreams, providers=["local"]))
    assert "unsupported_capability" == impossible.body["questions"][0]["error"]["code"]
    both = await caller.quote(question(upstreams, "left shoe", "right shoe", **on("runflow-us", max_attempts=1)))
    assert (10_000, 10_000) == (both.body["most_microusd"], both.body["likely_microusd"])
    assert (0, []) == (house.rows(), upstreams.books())
    bought = await caller.segment(question(upstreams, strategy="priority"))
    assert [("runflow-eu", "succeeded")] == bought.attempts
    free = await caller.quote(question(upstreams))
    assert ("hit", 0) == (free.body["questions"][0]["cache"], free.body["most_microusd"])
    assert 1 == len(upstreams.books())


async def test_usage_is_told_by_deployment_day_and_tag(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """Spending is added up by what is asked for, in JSON and in CSV, and equals the ledger."""
    upstreams.strike("runflow-us", {"kind": "reset_before"})
    for team, phrase, deployments in (
        ("catalogue", "left shoe", ["runflow-eu"]),
        ("catalogue", "right shoe", ["runflow-us", "prodia"]),
        ("returns", "carton", ["prodia"]),
    ):
        body = question(upstreams, phrase, **on(*deployments))
        await caller.segment({**body, "tags": {"team": team}})
    today = datetime.now(UTC).date()
    usage = (await caller.get("/v1/usage?by=deployment")).body
    figures = {line["group"]["deployment"]: line for line in usage["lines"]}
    assert {"prodia": 2 * PRODIA_MICROUSD, "runflow-eu": RUNFLOW_MICROUSD, "runflow-us": 0} == {
        name: line["charged_microusd"] for name, line in figures.items()
    }
    assert (1, RUNFLOW_MICROUSD) == (figures["runflow-us"]["held"], figures["runflow-us"]["held_microusd"])
    assert sum(each.amount for each in house.ledger() if each.ended == "settle") == usage["total"]["charged_microusd"]
    assert ("0.007200", 4, 3) == tuple(usage["total"][name] for name in ("charged_usd", "attempts", "settled"))
    teams = (await caller.get("/v1/usage?by=day,tag:team")).body["lines"]
    assert [("catalogue", 6100), ("returns", 1100)] == [
        (line["group"]["tag:team"], line["charged_microusd"]) for line in teams
    ]
    assert {line["group"]["day"] for line in teams} <= {str(today), str(today + timedelta(days=1))}
    one = (await caller.get("/v1/usage?tag=team:returns&deployment=prodia")).body["total"]
    assert (1, 1100) == (one["attempts"], one["charged_microusd"])
    assert 0 == (await caller.get(f"/v1/usage?until={today - timedelta(days=1)}")).body["total"]["attempts"]
    assert 4 == (await caller.get(f"/v1/usage?since={today - timedelta(days=1)}")).body["total"]["attempts"]
    for path, headers in (
        ("/v1/usage?by=deployment&format=csv", None),
        ("/v1/usage?by=deployment", {"Accept": "text/csv"}),
    ):
        rows = list(csv.DictReader(io.StringIO(await caller.text(path, headers=headers))))
        assert [(name, str(figures[name]["charged_microusd"])) for name in sorted(figures)] == [
            (row["deployment"], row["charged_microusd"]) for row in rows
        ]
    assert_books_agree(house.ledger(), upstreams.books())


async def test_metrics_tell_what_the_ledger_tells(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """Attempts, spending, held money and answers are counted by deployment, provider and outcome."""
    upstreams.strike("runflow-eu", {"kind": "reset_before"})
    await caller.segment(question(upstreams, **on("runflow-eu", "prodia")))
    await caller.segment({}, status=422)
    metrics = await caller.metrics()
    expected = {
        'maskgate_attempts_total{deployment="runflow-eu",outcome="unanswered"}': 1,
        'maskgate_attempts_total{deployment="prodia",outcome="succeeded"}': 1,
        'maskgate_attempt_seconds_count{deployment="prodia"}': 1,
        'maskgate_spend_micros_total{provider="prodia"}': PRODIA_MICROUSD,
        'maskgate_held_micros_total{provider="runflow"}': RUNFLOW_MICROUSD,
        'maskgate_requests_total{outcome="ok"}': 1,
        'maskgate_requests_total{outcome="invalid_request"}': 1,
        'maskgate_ledger{count="operations"}': house.rows(),
        'maskgate_ledger{count="parked"}': 0,
    }
    assert expected == {name: metrics.get(name) for name in expected}


async def test_health_readiness_and_deployments(caller: Caller) -> None:
    """A new gateway lives, is ready, and lists its deployments with price, capabilities and health."""
    assert {"status": "ok"} == (await caller.get("/healthz")).body
    ready = (await caller.get("/readyz")).body
    assert ("ready", True, 4) == (ready["status"], ready["ledger"], ready["deployments"])
    listed = {each["name"]: each for each in (await caller.get("/v1/deployments")).body["deployments"]}
    assert ["runflow-eu", "runflow-us", "prodia", "local-classic"] == list(listed)
    assert (5000, "success") == (listed["runflow-eu"]["price"]["microusd"], listed["runflow-eu"]["price"]["unit"])
    assert ["text"] == listed["prodia"]["capabilities"]["prompt_kinds"]
    assert ["automatic", "object"] == listed["local-classic"]["capabilities"]["prompt_kinds"]
    assert 500 == listed["prodia"]["capabilities"]["limits"]["max_prompt_characters"]
    assert {(True, "closed", 0)} == {
        (each["takes_traffic"], each["health"]["state"], each["in_flight"]) for each in listed.values()
    }
    assert not any("endpoint" in each or "credential" in each for each in listed.values())


async def test_local_engine_costs_nothing(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """An object prompt through the engine in this process brings a mask, is in the ledger, and is in nobody's books."""
    body = question(upstreams, **on("local-classic"))
    body["prompts"] = [{"kind": "object", "box": upstreams.scene("shoes").named("carton")[0].box}]
    reply = await caller.segment(body)
    assert ([("local-classic", "succeeded")], 0) == (reply.attempts, reply.charged)
    assert 1 == len(reply.body["instances"])
    assert [("settle", 0)] == [(each.ended, each.amount) for each in house.ledger()]
    assert [] == upstreams.books()


async def test_overlay_is_the_picture_with_its_masks(caller: Caller, upstreams: Upstreams) -> None:
    """`output.overlay` brings a PNG of the picture's size in which the object is drawn over."""
    body = {**question(upstreams, **on("prodia")), "output": {"overlay": True, "masks": "none"}}
    reply: Reply = await caller.segment(body)
    with Image.open(io.BytesIO(base64.b64decode(reply.body["overlay"], validate=True))) as drawn:
        assert ("PNG", (640, 480)) == (drawn.format, drawn.size)
        drawn_pixels = drawn.convert("RGB")
    with Image.open(io.BytesIO(upstreams.picture("shoes"))) as picture:
        plain = picture.convert("RGB")
    box = reply.body["instances"][0]["box"]
    middle = ((box["x_min"] + box["x_max"]) // 2, (box["y_min"] + box["y_max"] * 3) // 4)
    assert plain.getpixel(middle) != drawn_pixels.getpixel(middle)
    assert plain.getpixel((5, 5)) == drawn_pixels.getpixel((5, 5))
