"""What holds when providers break: the caller gets its masks, and every micro-dollar is accounted for."""

from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.asking import Caller, Reply, on, text
from tests.end_to_end.household import House, Winding
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.masks import bitmap_of, iou
from tests.end_to_end.upstreams import NAMES, RUNFLOW_MICROUSD, Upstreams

#: Of a fault that answers never: three deployments share it, so the first one has a third.
DEADLINE_SECONDS = 4.5


@dataclass(frozen=True, slots=True)
class Case:
    """A fault of the first region, and what has to be known of it afterwards."""

    name: str
    fault: dict[str, Any]
    outcome: str
    ended: str
    """How its reservation ends: `release` where it provably costs nothing, `settle` by a price that is told, `hold`."""
    billed: bool
    """Whether the region bills the call all the same."""
    deadline_seconds: float = 30.0
    said: str = field(default="", compare=False)
    """What the attempt's message tells the operator."""


CASES = [
    Case("status_500", {"kind": "status", "status": 500}, "failed", "release", billed=False, said="500"),
    Case("status_503", {"kind": "status", "status": 503}, "overloaded", "release", billed=False, said="503"),
    Case("unauthorized", {"kind": "status", "status": 401}, "denied", "release", billed=False, said="401"),
    Case("no_credit", {"kind": "status", "status": 402}, "denied", "release", billed=False, said="402"),
    Case("too_large_there", {"kind": "status", "status": 413}, "refused", "release", billed=False, said="413"),
    Case("gateway_timeout", {"kind": "status", "status": 504}, "failed", "hold", billed=False, said="504"),
    Case("throttle", {"kind": "throttle", "retry_after": 7}, "overloaded", "release", billed=False, said="429"),
    Case("throttle_bare", {"kind": "throttle"}, "overloaded", "release", billed=False, said="429"),
    Case("refuse", {"kind": "refuse"}, "unreachable", "release", billed=False, said="no connection"),
    Case("reset_before", {"kind": "reset_before"}, "unanswered", "hold", billed=False),
    Case("reset_after", {"kind": "reset_after"}, "unanswered", "hold", billed=True),
    Case("cut_body", {"kind": "cut_body"}, "unanswered", "hold", billed=True),
    Case("bad_json", {"kind": "bad_json"}, "failed", "hold", billed=True, said="not what it documents"),
    Case("bad_png", {"kind": "bad_png"}, "failed", "settle", billed=True, said="cannot be read"),
    Case("no_mask", {"kind": "status", "status": 403, "on": "download"}, "failed", "settle", billed=True),
    Case(
        "latency",
        {"kind": "latency", "seconds": 60},
        "unanswered",
        "hold",
        billed=False,
        deadline_seconds=DEADLINE_SECONDS,
        said="the deadline passed",
    ),
    Case(
        "lost_answer",
        {"kind": "lost_answer"},
        "unanswered",
        "hold",
        billed=True,
        deadline_seconds=DEADLINE_SECONDS,
        said="the deadline passed",
    ),
    Case(
        "lost_look",
        {"kind": "lost_answer", "on": "poll"},
        "unanswered",
        "hold",
        billed=True,
        deadline_seconds=DEADLINE_SECONDS,
    ),
]


def question(upstreams: Upstreams, phrase: str = "left shoe", **wishes: Any) -> dict[str, Any]:
    """Return a question to the three upstreams in the operator's order, not answered from the cache."""
    return {
        "image": {"url": upstreams.scene("shoes").url},
        "prompts": [text(phrase)],
        "max_masks": 5,
        "route": on(*NAMES, **wishes),
        "cache": {"mode": "skip"},
    }


def assert_left_shoe(reply: Reply, upstreams: Upstreams) -> None:
    """Demand the true mask."""
    (truth,) = upstreams.scene("shoes").named("left shoe")
    (found,) = reply.body["instances"]
    assert (truth.box, truth.area) == (found["box"], found["area"])
    assert iou(bitmap_of(found["mask"]), truth.bitmap) == 1.0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_another_region_answers(caller: Caller, house: House, upstreams: Upstreams, case: Case) -> None:
    """The first region breaks, the second answers; the attempts say how, and the ledger agrees with the books."""
    upstreams.strike("runflow-eu", case.fault)
    reply = await caller.segment(question(upstreams, deadline_seconds=case.deadline_seconds))
    assert_left_shoe(reply, upstreams)
    assert [("runflow-eu", case.outcome), ("runflow-us", "succeeded")] == reply.attempts
    first, second = reply.body["attempts"]
    assert case.said in first["message"]
    held = RUNFLOW_MICROUSD if case.ended == "hold" else 0
    paid = RUNFLOW_MICROUSD if case.ended == "settle" else 0
    assert (paid, held) == (first["charge_microusd"], first.get("held_microusd", 0))
    assert RUNFLOW_MICROUSD == second["charge_microusd"]
    assert (RUNFLOW_MICROUSD + paid, held) == (reply.charged, reply.body["cost"]["held_microusd"])
    books = upstreams.books_of(2 if case.billed else 1)
    assert (["runflow-eu"] if case.billed else []) == [each.upstream for each in books if each.upstream != "runflow-us"]
    assert_books_agree(house.ledger(), books)
    assert [case.ended, "settle"] == [each.ended for each in house.ledger()]


@pytest.mark.parametrize(
    ("kind", "on_call"),
    [("status", "poll"), ("reset_before", "poll"), ("throttle", "poll")],
)
async def test_run_that_is_paid_for_is_not_given_up_at_once(
    caller: Caller, house: House, upstreams: Upstreams, kind: str, on_call: str
) -> None:
    """Looks at a run that fail half of the time cost no second run: it is looked at again."""
    fault = {"kind": kind, "on": on_call, "share": 0.5} | ({"status": 502} if kind == "status" else {})
    upstreams.strike("runflow-eu", fault | ({"retry_after": 0} if kind == "throttle" else {}))
    for _ in range(4):
        assert_left_shoe(await caller.segment(question(upstreams, deployments=["runflow-eu"])), upstreams)
    assert ["settle"] * 4 == [each.ended for each in house.ledger()]
    assert_books_agree(house.ledger(), upstreams.books())


@pytest.mark.parametrize(
    ("fault", "outcome", "ended", "billed"),
    [
        ({"kind": "status", "status": 500}, "failed", "release", 0),
        ({"kind": "refuse"}, "unreachable", "release", 0),
        ({"kind": "reset_before"}, "unanswered", "hold", 0),
        ({"kind": "reset_after"}, "unanswered", "hold", 1),
        ({"kind": "cut_body"}, "unanswered", "hold", 1),
        ({"kind": "bad_multipart"}, "failed", "settle", 1),
        ({"kind": "bad_json"}, "failed", "hold", 1),
        ({"kind": "bad_png"}, "failed", "settle", 1),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
async def test_prodia_is_followed_by_runflow(
    caller: Caller, house: House, upstreams: Upstreams, fault: dict[str, Any], outcome: str, ended: str, billed: int
) -> None:
    """Prodia breaks and Runflow answers; what it may bill stays on hold, and what it says that it bills is settled."""
    upstreams.strike("prodia", fault)
    reply = await caller.segment(question(upstreams, strategy="cheapest"))
    assert_left_shoe(reply, upstreams)
    assert [("prodia", outcome), ("runflow-eu", "succeeded")] == reply.attempts
    assert_books_agree(house.ledger(), upstreams.books_of(1 + billed))
    assert [ended, "settle"] == [each.ended for each in house.ledger()]


async def test_both_regions_down_leaves_the_other_provider(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """With both Runflow regions out, Prodia answers as the third attempt, within one deadline."""
    upstreams.strike("runflow-eu", {"kind": "refuse"})
    upstreams.strike("runflow-us", {"kind": "lost_answer"})
    reply = await caller.segment(question(upstreams, deadline_seconds=DEADLINE_SECONDS))
    assert_left_shoe(reply, upstreams)
    expected = [("runflow-eu", "unreachable"), ("runflow-us", "unanswered"), ("prodia", "succeeded")]
    assert expected == reply.attempts
    assert ["release", "hold", "settle"] == [each.ended for each in house.ledger()]
    assert_books_agree(house.ledger(), upstreams.books_of(2))


async def test_slow_answer_is_no_failure(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """A region that drips its answers is waited for while there is time, and paid once."""
    upstreams.strike("runflow-eu", {"kind": "drip", "bytes_per_second": 20_000, "on": "any"})
    reply = await caller.segment(question(upstreams))
    assert_left_shoe(reply, upstreams)
    assert [("runflow-eu", "succeeded")] == reply.attempts
    assert_books_agree(house.ledger(), upstreams.books())


async def test_refusal_is_not_taken_elsewhere(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """A request that a provider refuses is refused: another would do the same, and nothing was charged."""
    upstreams.strike("runflow-eu", {"kind": "status", "status": 422})
    reply = await caller.segment(question(upstreams), status=422)
    assert ("invalid_request", [("runflow-eu", "refused")]) == (reply.body["code"], reply.attempts)
    assert "Runflow answered 422" in reply.body["detail"]
    assert ["release"] == [each.ended for each in house.ledger()]
    assert [] == upstreams.books()


async def test_region_that_is_asked_for_is_not_left(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """A request for one region fails when that region is down: it is not answered from another, nor from the cache."""
    elsewhere = question(upstreams) | {"cache": {"mode": "use"}}
    assert [("runflow-eu", "succeeded")] == (await caller.segment(elsewhere)).attempts
    upstreams.strike("runflow-us", {"kind": "refuse"})
    here = {**elsewhere, "route": {"regions": ["us"]}}
    reply = await caller.segment(here, status=502)
    assert ("provider_failed", [("runflow-us", "unreachable")] * 2) == (reply.body["code"], reply.attempts)
    assert_books_agree(house.ledger(), upstreams.books())


async def test_attempts_are_bounded(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """`max_attempts` calls are made and no more, and the problem tells of each."""
    for name in NAMES:
        upstreams.strike(name, {"kind": "status", "status": 500})
    reply = await caller.segment(question(upstreams, max_attempts=2), status=502)
    assert [("runflow-eu", "failed"), ("runflow-us", "failed")] == reply.attempts
    assert "runflow-us" in reply.body["detail"]
    assert ["release", "release"] == [each.ended for each in house.ledger()]


async def test_breaker_keeps_calls_from_a_dead_region(
    wound_house: House, upstreams: Upstreams, winding: Winding, session: aiohttp.ClientSession
) -> None:
    """After five failures a region gets no call, and /v1/deployments says why; healed, one probe brings it back."""
    caller = Caller(wound_house.url, session, wound_house.key)
    upstreams.strike("runflow-eu", {"kind": "status", "status": 500})
    for _ in range(5):
        reply = await caller.segment(question(upstreams))
        assert [("runflow-eu", "failed"), ("runflow-us", "succeeded")] == reply.attempts
    upstreams.strike("runflow-eu")  # healed, and nobody asks it for some time
    for _ in range(3):
        assert [("runflow-us", "succeeded")] == (await caller.segment(question(upstreams))).attempts
    listed = await _deployment(caller, "runflow-eu")
    assert (False, "open") == (listed["takes_traffic"], listed["health"]["state"])
    assert "500" in listed["health"]["reason"]
    assert 25 < listed["health"]["retry_after_seconds"] <= 33
    assert 3 == (await caller.get("/readyz")).body["deployments"]
    assert 'maskgate_deployment_open{deployment="runflow-eu"} 1.0' in await caller.text("/metrics")
    excluded = (await caller.quote(question(upstreams))).body["questions"][0]["excluded"]
    assert ("runflow-eu", "unavailable") in [(each["deployment"], each["reason"]) for each in excluded]
    assert {"runflow-us"} == {call.upstream for call in upstreams.books()}
    winding.ahead += 40
    assert "half_open" == (await _deployment(caller, "runflow-eu"))["health"]["state"]
    for _ in range(2):
        assert [("runflow-eu", "succeeded")] == (await caller.segment(question(upstreams))).attempts
    health = (await _deployment(caller, "runflow-eu"))["health"]
    assert ("closed", None, None, 0.0) == tuple(
        health[name] for name in ("state", "cause", "reason", "retry_after_seconds")
    )
    assert_books_agree(wound_house.ledger(), upstreams.books())


async def test_failed_probe_leaves_it_open(
    wound_house: House, upstreams: Upstreams, winding: Winding, session: aiohttp.ClientSession
) -> None:
    """A probe that fails costs one attempt, not five, and the region is left alone for longer."""
    caller = Caller(wound_house.url, session, wound_house.key)
    upstreams.strike("runflow-eu", {"kind": "status", "status": 403})
    assert [("runflow-eu", "denied"), ("runflow-us", "succeeded")] == (
        await caller.segment(question(upstreams))
    ).attempts
    winding.ahead += 40
    upstreams.strike("runflow-eu", {"kind": "refuse"})
    assert [("runflow-eu", "unreachable"), ("runflow-us", "succeeded")] == (
        await caller.segment(question(upstreams))
    ).attempts
    health = (await _deployment(caller, "runflow-eu"))["health"]
    assert "open" == health["state"]
    assert "could not be reached" in health["reason"]
    assert 55 < health["retry_after_seconds"] <= 66
    assert 'maskgate_upstream_denied_total{deployment="runflow-eu"} 1.0' in await caller.text("/metrics")


async def test_throttled_region_rests_as_long_as_it_asks(
    wound_house: House, upstreams: Upstreams, winding: Winding, session: aiohttp.ClientSession
) -> None:
    """A region that says 429 with a Retry-After gets no call until then, and is asked again after it."""
    caller = Caller(wound_house.url, session, wound_house.key)
    upstreams.strike("runflow-eu", {"kind": "throttle", "retry_after": 100})
    assert 2 == len((await caller.segment(question(upstreams))).attempts)
    upstreams.strike("runflow-eu")
    winding.ahead += 60
    assert [("runflow-us", "succeeded")] == (await caller.segment(question(upstreams))).attempts
    winding.ahead += 60
    assert [("runflow-eu", "succeeded")] == (await caller.segment(question(upstreams))).attempts


async def test_all_down_says_when_to_come_back(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """When every breaker is open the answer is 503 with a Retry-After at once, and nothing is reserved."""
    for name in NAMES:
        upstreams.strike(name, {"kind": "status", "status": 401})
    first = await caller.segment(question(upstreams), status=502)
    assert [(name, "denied") for name in NAMES] == first.attempts
    rows = house.rows()
    second = await caller.segment(question(upstreams), status=503)
    assert "all_deployments_unavailable" == second.body["code"]
    assert all(name in second.body["detail"] for name in NAMES)
    assert 25 < second.body["retry_after_seconds"] <= int(second.headers["Retry-After"]) <= 34
    assert "attempts" not in second.body
    assert rows == house.rows()
    assert ["release"] * 3 == [each.ended for each in house.ledger()]
    assert [] == upstreams.books()


async def _deployment(caller: Caller, name: str) -> dict[str, Any]:
    """Return one line of /v1/deployments."""
    listed = (await caller.get("/v1/deployments")).body["deployments"]
    return next(each for each in listed if each["name"] == name)
