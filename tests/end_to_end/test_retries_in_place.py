"""One deployment alone: a call that failed is made again there, where that can neither hurt nor cost twice."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.asking import Caller
from tests.end_to_end.household import House, gateway_running
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import RUNFLOW_MICROUSD, Upstreams, until

EU, US = "runflow-eu", "runflow-us"


def question(upstreams: Upstreams, *deployments: str, **route: Any) -> dict[str, Any]:
    """Return a question for these alone, in that order."""
    return {
        "image": {"url": upstreams.scene("shoes").url},
        "prompt": "left shoe",
        "route": {"strategy": "priority", "deployments": list(deployments), **route},
        "cache": {"mode": "skip"},
    }


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "status", "status": 500}, "failed"),
        ({"kind": "status", "status": 503}, "overloaded"),
        ({"kind": "throttle", "retry_after": 1}, "overloaded"),
        ({"kind": "run_failed", "failure_code": "INTERNAL_ERROR", "failure_message": "out of memory"}, "failed"),
    ],
    ids=["500", "503", "429", "run failed"],
)
async def test_a_failure_that_cost_nothing_is_followed_by_another_call(
    caller: Caller, house: House, upstreams: Upstreams, fault: dict[str, Any], outcome: str
) -> None:
    """The caller sees an answer, and in its attempts that there were two; each has its own reservation."""
    upstreams.strike(EU, {**fault, "times": 1})
    reply = await caller.segment(question(upstreams, EU))
    assert ([(EU, outcome), (EU, "succeeded")], RUNFLOW_MICROUSD) == (reply.attempts, reply.charged)
    assert ["release", "settle"] == [each.ended for each in house.ledger()]
    assert_books_agree(house.ledger(), upstreams.books_of(1))


async def test_nobody_is_asked_again_while_another_is_left(caller: Caller, upstreams: Upstreams) -> None:
    """The second region comes before a second call to the first."""
    for name in (EU, US):
        upstreams.strike(name, {"kind": "status", "status": 500, "times": 1})
    reply = await caller.segment(question(upstreams, EU, US))
    assert [(EU, "failed"), (US, "failed")] == reply.attempts[:2]
    assert (1, "succeeded") == (len(reply.attempts[2:]), reply.attempts[2][1])


async def test_a_hedged_question_is_put_once_more_as_any_other(
    caller: Caller, house: House, upstreams: Upstreams
) -> None:
    """Both regions fail once, one of them asked beside the other: the caller has its answer, and pays for one call."""
    for name in (EU, US):
        upstreams.strike(name, {"kind": "status", "status": 500, "times": 1})
    reply = await caller.segment(question(upstreams, EU, US, hedge_after_seconds=0.5))
    assert ([(EU, "failed"), (US, "failed")], "succeeded") == (reply.attempts[:2], reply.attempts[2][1])
    assert (3, RUNFLOW_MICROUSD) == (len(reply.attempts), reply.charged)
    until(lambda: ["release", "release", "settle"] == [each.ended for each in house.ledger()])
    assert_books_agree(house.ledger(), upstreams.books_of(1))


async def test_a_hedge_for_which_there_is_no_money_yet_is_asked_when_the_first_call_has_failed(
    caller: Caller, house: House, upstreams: Upstreams
) -> None:
    """With money for one call at a time a hedged question has the answer that an unhedged one has."""
    upstreams.strike(EU, {"kind": "latency", "seconds": 1}, {"kind": "status", "status": 500})
    reply = await caller.segment(question(upstreams, EU, US, hedge_after_seconds=0.3, max_charge_usd="0.006"))
    assert [(EU, "failed"), (US, "succeeded")] == reply.attempts
    assert ["release", "settle"] == [each.ended for each in house.ledger()]
    assert_books_agree(house.ledger(), upstreams.books())


async def test_a_hedge_that_is_refused_takes_no_answer_away(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """The first call is paid for: its answer comes, and where it brings none either the refusal is told."""
    upstreams.strike(EU, {"kind": "latency", "seconds": 1})
    upstreams.strike(US, {"kind": "status", "status": 422})
    asked = question(upstreams, EU, US, hedge_after_seconds=0.3)
    reply = await caller.segment(asked)
    assert [(US, "refused"), (EU, "succeeded")] == reply.attempts
    upstreams.strike(EU, {"kind": "latency", "seconds": 1}, {"kind": "status", "status": 500})
    for _ in range(20):  # a hedge is one in twenty
        await caller.segment(question(upstreams, "prodia"))
    reply = await caller.segment(asked, status=422)
    assert ([(US, "refused"), (EU, "failed")], True) == (reply.attempts, US in reply.body["detail"])
    assert_books_agree(house.ledger(), upstreams.books())


@pytest.mark.parametrize(
    ("fault", "status", "outcome"),
    [
        ({"kind": "status", "status": 401}, 502, "denied"),
        ({"kind": "status", "status": 422}, 422, "refused"),
        ({"kind": "reset_after"}, 502, "unanswered"),
    ],
    ids=["the account", "the request", "in doubt"],
)
async def test_a_failure_that_another_call_may_not_cure_is_the_last(
    caller: Caller, upstreams: Upstreams, fault: dict[str, Any], status: int, outcome: str
) -> None:
    """Where the account or the request is at fault, and where the first call may be billed, there is one call."""
    upstreams.strike(EU, {**fault, "times": 1})
    reply = await caller.segment(question(upstreams, EU), status=status)
    assert [(EU, outcome)] == reply.attempts


@pytest.mark.slow
async def test_a_call_in_doubt_is_looked_up_before_it_is_made_again(
    caller: Caller, house: House, upstreams: Upstreams
) -> None:
    """Its provider says that the run has failed and is not billed: so there is another, and the hold is given back."""
    lost = {"kind": "reset_after", "times": 1}
    failed = {"kind": "run_failed", "failure_code": "INTERNAL_ERROR", "failure_message": "out of memory", "times": 1}
    upstreams.strike(EU, lost, failed)
    reply = await caller.segment(question(upstreams, EU))
    assert [(EU, "unanswered"), (EU, "succeeded")] == reply.attempts
    until(lambda: ["release", "settle"] == [each.ended for each in house.ledger()])
    assert_books_agree(house.ledger(), upstreams.books_of(1))


async def test_how_often_is_the_operator_s_to_say(
    upstreams: Upstreams, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """With `routing.retries_in_place` at 0 a deployment is asked once for a question."""
    with gateway_running(upstreams.sandbox, tmp_path / "once", changes={"routing": {"retries_in_place": 0}}) as house:
        upstreams.strike(EU, {"kind": "status", "status": 500, "times": 1})
        reply = await Caller(house.url, session, house.key).segment(question(upstreams, EU), status=502)
        assert [(EU, "failed")] == reply.attempts


async def test_a_request_may_forbid_it(caller: Caller, upstreams: Upstreams) -> None:
    """One attempt is one call."""
    upstreams.strike(EU, {"kind": "status", "status": 500, "times": 1})
    reply = await caller.segment(question(upstreams, EU, max_attempts=1), status=502)
    assert [(EU, "failed")] == reply.attempts


async def test_a_dead_provider_alone_is_not_asked_much_more_often(caller: Caller, upstreams: Upstreams) -> None:
    """Further calls in vain are a fifth of the questions and three at most, and none while its breaker is open."""
    upstreams.strike(EU, {"kind": "status", "status": 500})
    replies = [await caller.segment(question(upstreams, EU), status=502) for _ in range(3)]
    assert [2, 2, 1] == [len(reply.attempts) for reply in replies]
    refused = await caller.segment(question(upstreams, EU), status=503)
    assert ("all_deployments_unavailable", []) == (refused.body["code"], refused.attempts)
