"""Whoever offers a free probe: it tells whether the upstream can be reached and takes the key, and bills nothing."""

from __future__ import annotations

import asyncio
import time

import pytest

from providers.contract import Deadline, FreeProbe, Outcome, ProviderError
from tests.providers.contract_suite.houses import LATE_SECONDS, House, check_message, settled
from tests.providers.contract_suite.stated import SHORT_SECONDS, Row, rows_on_a_call
from tests.providers.contract_suite.subjects import CANARY, SUBJECTS, Subject

OFFERED = [subject for subject in SUBJECTS if subject.free_call is not None]
STRUCK = [
    pytest.param(subject, row, id=f"{subject.name}-{row.name}") for subject in OFFERED for row in rows_on_a_call()
]
offered = pytest.mark.parametrize("subject", OFFERED, ids=lambda subject: subject.name)

#: What such a probe may not mind: nobody reads what is told of the account.
SPOILT = {"bad_json", "bad_png", "wrong_type"}


async def asked(house: House, *, seconds: float = 20) -> ProviderError | None:
    """Ask for nothing; return the error, None where there was none. Nothing may have been charged either way."""
    assert isinstance(house.provider, FreeProbe)
    deadline = Deadline.after(seconds, time.monotonic)
    failed: ProviderError | None = None
    try:
        await house.provider.probe(house.deployment, deadline=deadline)
    except ProviderError as error:
        failed = error
    assert time.monotonic() - deadline.at <= LATE_SECONDS
    assert [] == house.billed()
    if failed is not None:
        check_message(failed)
        assert not failed.may_have_charged
    return failed


async def test_it_is_stated_who_offers_one(house: House, subject: Subject) -> None:
    """A provider has the capability or not, and this suite knows which do."""
    assert (subject.free_call is not None) is isinstance(house.provider, FreeProbe)


@offered
async def test_it_passes_where_all_is_well(house: House, subject: Subject) -> None:
    """It is one request, however often it is asked, and none that leads to a segmentation."""
    assert None is await asked(house)
    assert None is await asked(house)
    assert subject.upstream is not None
    assert {subject.free_call: 2} == house.sandbox.requests(subject.upstream)


@offered
async def test_it_passes_although_segmentations_fail(house: House, subject: Subject) -> None:
    """It says that the upstream is there and knows the key, and no more than that."""
    house.strike(kind="status", status=500)
    assert None is await asked(house)


@pytest.mark.parametrize(("subject", "row"), STRUCK)
async def test_a_fault_of_its_call(house: House, subject: Subject, row: Row) -> None:
    """A fault comes to what it comes to on any other call, but that nothing can have been charged."""
    assert subject.free_call is not None
    house.strike(**row.fault, on=subject.free_call.partition(".")[0])
    error = await asked(house, seconds=min(row.seconds, 2 * SHORT_SECONDS) if row.kind == "drip" else row.seconds)
    if error is None:
        assert row.kind in SPOILT
    elif row.fields.get("status") == 404:
        assert Outcome.REFUSED is error.outcome
    else:
        assert error.outcome in row.outcomes
    house.heal()
    assert None is await asked(house)


@offered
async def test_nobody_listens(house: House, subject: Subject) -> None:
    """An upstream that is down cannot be reached, and is found again once it is up."""
    house.strike(kind="refuse")
    error = await asked(house)
    assert error is not None
    assert Outcome.UNREACHABLE is error.outcome
    house.heal()
    assert None is await asked(house)


@offered
@pytest.mark.parametrize("status", [401, 403])
async def test_a_bad_key_is_the_owners_problem(house: House, subject: Subject, status: int) -> None:
    """As in a real call, and what is said about the key is passed on without it."""
    assert subject.free_call is not None
    house.strike(kind="status", status=status, body={"message": f"no {CANARY}"}, on=subject.free_call.partition(".")[0])
    error = await asked(house)
    assert error is not None
    assert (Outcome.DENIED, status) == (error.outcome, error.status)


@offered
async def test_a_deadline_that_has_passed(house: House, subject: Subject) -> None:
    """Nothing leaves any more."""
    error = await asked(house, seconds=0)
    assert error is not None
    assert Outcome.UNREACHABLE is error.outcome
    assert subject.upstream is not None
    assert {} == house.sandbox.requests(subject.upstream)


@offered
async def test_it_can_be_cancelled(house: House, subject: Subject) -> None:
    """Whoever asks may leave at any time, and nothing stays behind."""
    assert subject.free_call is not None
    house.strike(kind="silence", on=subject.free_call.partition(".")[0])
    upstream = subject.upstream
    assert upstream is not None
    task = asyncio.create_task(asked(house))
    assert await settled(lambda: bool(house.sandbox.requests(upstream)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
