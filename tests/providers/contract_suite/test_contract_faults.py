"""
Every fault of the sandbox, on every call of every upstream: a `ProviderError` as stated, or a right answer.

The books are the oracle: a call that is in them brought a segmentation or may have been charged.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from providers.contract import Outcome, ProviderError
from tests.providers.contract_suite.houses import House, check_message
from tests.providers.contract_suite.questions import Known
from tests.providers.contract_suite.stated import SHORT_SECONDS, Row, rows, rows_on_a_call
from tests.providers.contract_suite.subjects import CANARY, REMOTE, Subject

SIDE_BY_SIDE = 32

BILLED = [
    pytest.param(subject, row, id=f"{subject.name}-{row.name}")
    for subject in REMOTE
    for row in rows(multipart=subject.multipart)
]
BEFORE = [
    pytest.param(subject, call, row, id=f"{subject.name}-{call}-{row.name}")
    for subject in REMOTE
    for call in subject.before
    for row in rows_on_a_call()
]
AFTER = [
    pytest.param(subject, call, row, id=f"{subject.name}-{call}-{row.name}")
    for subject in REMOTE
    for call in subject.after
    for row in rows_on_a_call()
]


async def struck(house: House, known: Known, row: Row, *, by_url: bool, on: str | None = None) -> ProviderError | None:
    """
    Ask under a fault and once more without it; return the error, or None where the answer was right all the same.

    The second question was begun after the first had ended, and takes as long: once it is answered, whatever the first
    one set going is in the books.
    """
    question = known.question(url=house.sandbox.picture_url(known.scene.name) if by_url else None)
    house.strike(**row.fault, **({} if on is None else {"on": on}))
    failed: ProviderError | None = None
    try:
        answer, usage = await house.ask(question, seconds=row.seconds, attempt_id="att_struck")
    except ProviderError as error:
        check_message(error)
        failed = error
    else:
        assert "" == known.wrong(answer, least_iou=house.subject.least_iou)
        assert 1 == len(house.billed())
        assert [] == house.billed_beyond(usage)
    house.heal()
    healed, usage = await house.ask(question)
    assert "" == known.wrong(healed, least_iou=house.subject.least_iou)
    of_the_struck = house.billed_beyond(usage)
    if failed is not None and of_the_struck:
        assert failed.may_have_charged, f"{row.name}: {of_the_struck} is in the books"
    return failed


@pytest.mark.parametrize(("subject", "row"), BILLED)
async def test_a_fault_of_the_billed_call(house: House, known: Known, subject: Subject, row: Row) -> None:
    """A fault of the call that leads to a charge comes to what the table states."""
    error = await struck(house, known, row, by_url=True)
    if error is None:
        assert row.outcomes == (Outcome.FAILED,), "only a spoilt answer can be read all the same"
        return
    assert error.outcome in row.outcomes
    assert (row.elsewhere, row.may_have_charged) == (error.elsewhere, error.may_have_charged), error.message
    if row.kind == "throttle":
        expected = None if row.retry_after_seconds is None else pytest.approx(row.retry_after_seconds, abs=1.5)
        assert expected == error.retry_after_seconds
    if row.kind in {"status", "throttle"}:
        assert row.fields.get("status", 429) == error.status


@pytest.mark.parametrize(("subject", "call", "row"), BEFORE)
async def test_a_fault_before_the_billed_call(
    house: House, known: Known, subject: Subject, call: str, row: Row
) -> None:
    """Nothing can have been charged while the call that leads to a charge was not made."""
    error = await struck(house, known, row, by_url=False, on=call)
    if error is not None:
        assert error.outcome in row.outcomes
        assert (row.elsewhere, False) == (error.elsewhere, error.may_have_charged), error.message


@pytest.mark.parametrize(("subject", "call", "row"), AFTER)
async def test_a_fault_after_the_billed_call(house: House, known: Known, subject: Subject, call: str, row: Row) -> None:
    """What goes wrong after the call that leads to a charge is not the caller's fault, and may have been charged."""
    error = await struck(house, known, replace(row, seconds=SHORT_SECONDS), by_url=True, on=call)
    if error is not None:
        assert (True, True) == (error.elsewhere, error.may_have_charged), error.message
        assert subject.names_calls == bool(error.upstream_ref)


@pytest.mark.parametrize("kind", ["reset_before", "reset_after", "cut_body", "bad_json"])
@pytest.mark.parametrize("subject", REMOTE, ids=lambda subject: subject.name)
async def test_half_of_many_calls_are_struck(house: House, known: Known, subject: Subject, kind: str) -> None:
    """Of 32 questions at once, half of them struck, each billed one is answered or says that it may be charged."""
    question = known.question(url=house.sandbox.picture_url(known.scene.name))
    attempts = [f"att_{number}" for number in range(SIDE_BY_SIDE)]
    house.strike(kind=kind, share=0.5)
    outcomes = await asyncio.gather(
        *(house.ask(question, attempt_id=attempt) for attempt in attempts), return_exceptions=True
    )
    house.heal()
    _, healed = await house.ask(question)
    answered = [outcome[1] for outcome in outcomes if isinstance(outcome, tuple)]
    assert len(answered) == len({usage.upstream_ref for usage in answered}) or not subject.names_calls
    errors = {at: error for at, error in zip(attempts, outcomes, strict=True) if isinstance(error, ProviderError)}
    assert len(answered) + len(errors) == SIDE_BY_SIDE, outcomes
    open_attempts = {attempt for attempt, error in errors.items() if error.may_have_charged}
    unanswered = house.billed_beyond(healed, *answered)
    assert answered
    assert errors
    assert len(unanswered) <= len(open_attempts)
    if subject.names_attempts:
        assert {call["client_ref"] for call in unanswered} <= open_attempts


@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize("subject", REMOTE, ids=lambda subject: subject.name)
async def test_an_echoed_credential_is_not_passed_on(house: House, known: Known, subject: Subject, status: int) -> None:
    """An upstream that quotes the credential, a signed address and much more in its error is quoted without them."""
    signed = "https://files.example/a.png?X-Amz-Signature=0123456789abcdef"
    said = f"the key Bearer {CANARY} may not read {signed}\n{'and so on ' * 1000}"
    for body in (said, {"error": said}, {"message": said, "code": "SOME_CODE"}, {"detail": said}):
        house.strike(kind="status", status=status, body=body, on="any")
        error = await house.failure(known.question())
        assert status == error.status
        assert "files.example" in error.message
