"""Every problem has one status, one title and one body."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.api.problems import STATUS, attempt_body, problem_body, problem_headers, status_of
from gateway.api.schema import AttemptShape, ProblemShape
from gateway.problems import (
    AllDeploymentsUnavailable,
    DeadlineExceeded,
    GatewayError,
    InvalidRequest,
    LedgerDown,
    Overloaded,
    ProviderFailure,
    Unauthenticated,
)
from gateway.request import AttemptReport
from providers.contract import NOTHING, Money, Outcome

LOST = AttemptReport(0, "runflow-eu", Outcome.UNANSWERED, 812, NOTHING, Money(5000), "no answer came")
GOOD = AttemptReport(1, "prodia", Outcome.SUCCEEDED, 30, Money(2500), NOTHING)

PROMISED = {
    "invalid_request": {400, 422, 405},
    "request_timeout": {408},
    "request_too_large": {413},
    "uri_too_long": {414},
    "headers_too_large": {431},
    "not_implemented": {501},
    "invalid_image": {422},
    "image_too_large": {422},
    "unsupported_media_type": {415, 422},
    "image_unreachable": {422},
    "image_forbidden": {422},
    "prompt_too_long": {422},
    "unsupported_capability": {422},
    "no_deployment": {422},
    "unauthenticated": {401},
    "forbidden": {403},
    "not_found": {404},
    "conflict": {409},
    "idempotency_conflict": {409, 422},
    "budget_exceeded": {402},
    "rate_limited": {429},
    "overloaded": {429},
    "provider_failed": {502},
    "all_deployments_unavailable": {503},
    "ledger_unavailable": {503},
    "stopping": {503},
    "deadline_exceeded": {504},
    "internal_error": {500},
}


def kinds(kind: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    """Yield every kind of problem there is."""
    for each in kind.__subclasses__():
        yield each
        yield from kinds(each)


ALL = list(dict.fromkeys(kinds()))


def test_the_table_covers_every_problem_and_nothing_else() -> None:
    """A new kind of problem cannot be raised without a status of its own."""
    assert set(ALL) == set(STATUS)


def test_every_code_has_the_status_that_was_promised() -> None:
    """What callers branch on does not drift."""
    found: dict[str, set[int]] = {}
    for kind, (status, _) in STATUS.items():
        found.setdefault(kind.code, set()).add(status)
    assert PROMISED == found


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_problem_has_the_members_of_rfc_9457_and_ours(kind: type[GatewayError]) -> None:
    """Type, title, status, code, detail and request_id always; the others where they apply."""
    problem = kind("what is wrong, and the remedy")
    status, title = STATUS[kind]
    assert {
        "type": f"urn:maskgate:problem:{kind.code}",
        "title": title,
        "status": status,
        "code": kind.code,
        "detail": "what is wrong, and the remedy",
        "request_id": "req_1",
    } == problem_body(problem, "req_1")
    assert status == status_of(problem)
    ProblemShape.model_validate(problem_body(problem, "req_1"))


def test_a_title_says_one_thing() -> None:
    """RFC 9457: the title is the same for every occurrence of a type, and no two kinds share one."""
    titles = [title for _, title in STATUS.values()]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_the_members_that_apply_are_there(kind: type[GatewayError]) -> None:
    """Field, waiting time and attempts, each as the API has it."""
    problem = kind("detail", field="prompts[0].box", retry_after_seconds=1.5, attempts=[LOST, GOOD])
    body = problem_body(problem, "req_1")
    assert ("prompts[0].box", 1.5) == (body["field"], body["retry_after_seconds"])
    assert [attempt_body(LOST), attempt_body(GOOD)] == body["attempts"]
    ProblemShape.model_validate(body)


def test_an_attempt_tells_what_is_held_and_why_it_failed_only_where_it_did() -> None:
    """A good attempt is five members; a lost one has two more."""
    assert {
        "prompt_index": 0,
        "deployment": "runflow-eu",
        "outcome": "unanswered",
        "duration_ms": 812,
        "charge_microusd": 0,
        "held_microusd": 5000,
        "message": "no answer came",
    } == attempt_body(LOST)
    assert {
        "prompt_index": 1,
        "deployment": "prodia",
        "outcome": "succeeded",
        "duration_ms": 30,
        "charge_microusd": 2500,
    } == attempt_body(GOOD)
    for attempt in (LOST, GOOD):
        AttemptShape.model_validate(attempt_body(attempt))


@pytest.mark.parametrize(
    ("problem", "headers"),
    [
        (InvalidRequest("x"), {}),
        (DeadlineExceeded("x"), {}),
        (ProviderFailure("x"), {}),
        (ProviderFailure("x", retry_after_seconds=2.2), {"Retry-After": "3"}),
        (Overloaded("x"), {"Retry-After": "1"}),
        (Overloaded("x", retry_after_seconds=0.01), {"Retry-After": "1"}),
        (LedgerDown("x"), {"Retry-After": "1"}),
        (AllDeploymentsUnavailable("x", retry_after_seconds=29.0), {"Retry-After": "29"}),
        (AllDeploymentsUnavailable("x", retry_after_seconds=0.0), {"Retry-After": "1"}),
        (Unauthenticated("x"), {"WWW-Authenticate": 'Bearer realm="maskgate"'}),
    ],
)
def test_headers_say_when_to_come_back_and_how_to_show_a_key(problem: GatewayError, headers: dict[str, str]) -> None:
    """Retry-After is whole seconds, rounded up, at least one, and always there with 503."""
    assert headers == problem_headers(problem)
