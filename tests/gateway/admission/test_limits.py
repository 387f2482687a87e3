"""Limits of keys and tenants in one process."""

from __future__ import annotations

import asyncio
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admission import Limits, rule_of
from gateway.api.problems import problem_headers
from gateway.problems import RateLimited
from gateway.request import UNLIMITED, Caller, RateLimit
from tests.gateway.admission.structured_fields import parse_list


class HandClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


def rate(per_second: float | str, burst: int | None = None) -> RateLimit:
    """Return a limit on requests a second."""
    return RateLimit(Fraction(per_second), burst)


def caller(
    key: str = "key_1", *, tenant: str = "acme", key_limit: RateLimit = UNLIMITED, tenant_limit: RateLimit = UNLIMITED
) -> Caller:
    """Return a caller with those limits."""
    return Caller(tenant, key, key_limit=key_limit, tenant_limit=tenant_limit)


async def admitted(limits: Limits, who: Caller, tries: int) -> int:
    """Return how many of so many requests, one after the other, come in."""
    count = 0
    for _ in range(tries):
        try:
            async with limits.admit(who):
                count += 1
        except RateLimited:
            pass
    return count


async def test_the_burst_and_then_the_rate() -> None:
    """Of a hundred at once 5 come in; then two for each second that passes, and never more than 5 at once."""
    clock = HandClock()
    limits, who = Limits(clock=clock), caller(key_limit=rate(2, 5))
    assert 5 == await admitted(limits, who, 100)
    clock.now += 1
    assert 2 == await admitted(limits, who, 100)
    clock.now += 0.5
    assert 1 == await admitted(limits, who, 100)
    clock.now += 3600
    assert 5 == await admitted(limits, who, 100)


@pytest.mark.parametrize(("per_second", "burst"), [("7.5", 7), ("0.25", 1), ("1", 1)])
async def test_where_no_burst_is_said_it_is_a_second_s_worth(per_second: str, burst: int) -> None:
    """Rounded down, and at least one."""
    assert burst == await admitted(Limits(clock=HandClock()), caller(key_limit=rate(per_second)), 20)


async def test_a_refusal_by_the_tenant_costs_the_key_nothing_and_the_other_way_round() -> None:
    """Both limits hold, and what the one refuses is not taken from the other."""
    clock = HandClock()
    limits = Limits(clock=clock)
    first, second = (
        caller(name, key_limit=rate(1, burst), tenant_limit=rate(1, 6)) for name, burst in (("key_1", 4), ("key_2", 5))
    )
    assert 4 == await admitted(limits, first, 50)  # the key's limit; 46 refusals take nothing from the tenant
    assert 2 == await admitted(limits, second, 50)  # the tenant's; 48 refusals take nothing from the key
    clock.now += 1
    assert 1 == await admitted(limits, second, 50)
    clock.now += 2
    third = caller("key_2", key_limit=rate(1, 5))
    assert 5 == await admitted(limits, third, 50)  # 5 - 2 - 1 and 3 for three seconds


async def test_the_problem_names_the_limit_and_the_remedy() -> None:
    """The key's, the tenant's or both: with the value, when to come back, and what to do."""
    limits = Limits(clock=HandClock())
    who = caller(key_limit=rate("0.5", 1), tenant_limit=RateLimit(concurrency=1))
    async with limits.admit(who):
        entry = limits.admit(who)
        with pytest.raises(RateLimited) as refused:
            entry.try_enter()
    assert ("rate_limited", 2.0) == (refused.value.code, refused.value.retry_after_seconds)
    assert (
        "the limit of tenant 'acme', which all of its keys share, is 1 requests at a time; "
        "the limit of this key is 0.5 requests per second, 1 at once: no more now. "
        "Wait as long as Retry-After says, or have the operator raise the limit"
    ) == refused.value.message
    assert ("tenant-concurrency", "key") == entry.violated


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, asyncio.CancelledError])
async def test_a_place_is_free_again_however_the_work_ended(error: type[BaseException] | None) -> None:
    """A request that ends, breaks or is cancelled leaves no place taken, of the key nor of the tenant."""
    limits = Limits(clock=HandClock())
    who = caller(key_limit=RateLimit(concurrency=1), tenant_limit=RateLimit(concurrency=1))
    for _ in range(3):
        if error is None:
            async with limits.admit(who):
                pass
        else:
            with pytest.raises(error):
                async with limits.admit(who):
                    raise error
    async with limits.admit(who):
        with pytest.raises(RateLimited, match="requests at a time"):
            await limits.admit(who).__aenter__()
        assert 0 == await admitted(limits, caller("key_2", tenant_limit=who.tenant_limit), 5)
        assert 5 == await admitted(limits, caller("key_3", tenant="other", tenant_limit=who.tenant_limit), 5)


async def test_never_more_at_a_time_than_the_limit() -> None:
    """A hundred tasks that go in and out: never more than 3 of a key and 5 of a tenant are inside, and 5 were."""
    limits, inside, most = Limits(clock=HandClock()), {"key_1": 0, "key_2": 0, "key_3": 0}, 0

    async def work(name: str) -> None:
        nonlocal most
        for _ in range(20):
            try:
                async with limits.admit(
                    caller(name, key_limit=RateLimit(concurrency=3), tenant_limit=RateLimit(concurrency=5))
                ):
                    inside[name] += 1
                    assert inside[name] <= 3
                    most = max(most, sum(inside.values()))
                    await asyncio.sleep(0)
                    inside[name] -= 1
            except RateLimited:
                await asyncio.sleep(0)

    await asyncio.gather(*(work(f"key_{1 + number % 3}") for number in range(100)))
    assert 5 == most


async def test_headers_on_success_and_on_refusal() -> None:
    """Every answer tells what is left; a refusal tells of what refused, and t is what Retry-After says."""
    clock = HandClock()
    limits = Limits(clock=clock)
    who = caller(key_limit=RateLimit(Fraction(1, 10), 3, 2), tenant_limit=rate(100))
    async with limits.admit(who) as entry:
        assert [
            ("tenant", {"q": 100, "w": 1}),
            ("key", {"q": 3, "w": 30}),
            ("key-concurrency", {"q": 2, "qu": "concurrent-requests"}),
        ] == parse_list(entry.headers["RateLimit-Policy"])
        assert [
            ("tenant", {"r": 99, "t": 1}),
            ("key", {"r": 2, "t": 10}),
            ("key-concurrency", {"r": 1}),
        ] == parse_list(entry.headers["RateLimit"])
    assert () == entry.violated
    assert 2 == await admitted(limits, who, 10)
    clock.now += 3.5
    entry = limits.admit(who)
    with pytest.raises(RateLimited) as refused:
        entry.try_enter()
    assert [("key", {"r": 0, "t": 7})] == parse_list(entry.headers["RateLimit"])
    assert 3 == len(parse_list(entry.headers["RateLimit-Policy"]))
    assert "7" == problem_headers(refused.value)["Retry-After"]
    assert 6.5 == refused.value.retry_after_seconds


async def test_the_headers_are_noted_however_it_ends() -> None:
    """Refused, broken or well: whoever writes the answer finds them where he said."""
    limits, who = Limits(clock=HandClock()), caller(key_limit=rate(1, 2))
    broken: dict[str, str] = {"Other": "stays"}
    with pytest.raises(ValueError, match="broken"):
        async with limits.admit(who, broken):
            raise ValueError("broken")
    well: dict[str, str] = {}
    async with limits.admit(who, well):
        assert {} == well
    refused: dict[str, str] = {}
    with pytest.raises(RateLimited):
        await limits.admit(who, refused).__aenter__()
    assert {"Other", "RateLimit", "RateLimit-Policy"} == broken.keys()
    assert ['"key";r=1;t=1', '"key";r=0;t=1', '"key";r=0;t=1'] == [
        headers["RateLimit"] for headers in (broken, well, refused)
    ]
    nothing: dict[str, str] = {}
    async with limits.admit(caller(), nothing):
        pass
    assert {} == nothing


@settings(max_examples=60, deadline=None)
@given(
    per_second=st.fractions(min_value=Fraction(1, 100), max_value=1000, max_denominator=1000),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 5), max_size=40),
)
async def test_whoever_waits_as_told_comes_in(per_second: Fraction, burst: int, pauses: list[float]) -> None:
    """A refusal's Retry-After is no earlier than its t, and enough."""
    clock = HandClock()
    limits, who = Limits(clock=clock), caller(key_limit=RateLimit(per_second, burst))
    for pause in pauses:
        clock.now += pause
        entry = limits.admit(who)
        try:
            entry.try_enter()
        except RateLimited as refused:
            wait = int(problem_headers(refused)["Retry-After"])
            ((_, told),) = parse_list(entry.headers["RateLimit"])
            assert 0 == told["r"]
            assert isinstance(told["t"], int)
            assert told["t"] <= wait
            clock.now += wait
            assert 1 <= await admitted(limits, who, 1)
        else:
            entry.leave()


async def test_who_has_no_limit_is_not_counted() -> None:
    """Nothing is kept of them, and their answers have no headers."""
    limits = Limits(clock=HandClock())
    async with limits.admit(caller()) as entry:
        assert {} == entry.headers
    assert (10, 0) == (await admitted(limits, caller(), 10), len(limits))


async def test_a_new_limit_holds_at_once_and_what_is_used_stays_used() -> None:
    """A limit that is lowered or raised keeps the requests inside and the bucket's state."""
    clock = HandClock()
    limits = Limits(clock=clock)
    async with limits.admit(caller(key_limit=RateLimit(Fraction(1), 2, 5))):
        async with limits.admit(caller(key_limit=RateLimit(Fraction(1), 2, 5))):
            pass
        assert 0 == await admitted(limits, caller(key_limit=RateLimit(Fraction(10), 2, 5)), 5)
        clock.now += 1
        assert 0 == await admitted(limits, caller(key_limit=RateLimit(Fraction(10), 2, 1)), 5)
        clock.now += 1
        assert 2 == await admitted(limits, caller(key_limit=RateLimit(Fraction(10), 2, 2)), 5)
        assert 9 == await admitted(limits, caller(key_limit=RateLimit(concurrency=2)), 9)
        same = RateLimit(concurrency=2)  # equal, but another object: as after the key was read anew
        assert 9 == await admitted(limits, caller(key_limit=same), 9)


async def test_what_is_as_good_as_new_is_forgotten() -> None:
    """Ten thousand keys that came once leave no more than a hundred accounts; one with a request inside stays."""
    clock = HandClock()
    limits = Limits(clock=clock, most_accounts=100)
    inside = caller("inside", key_limit=RateLimit(concurrency=1))
    async with limits.admit(inside):
        for number in range(10_000):
            clock.now += 0.001
            await admitted(limits, caller(f"key_{number}", key_limit=rate(100)), 1)
            assert len(limits) <= 100
        assert 0 == await admitted(limits, inside, 1)


async def test_where_too_many_are_busy_the_oldest_are_forgotten() -> None:
    """The bound on memory holds although each bucket takes an hour to fill: the oldest are whole again."""
    limits = Limits(clock=HandClock(), most_accounts=100)
    hourly = rate("1/3600", 1)
    for number in range(1000):
        assert 1 == await admitted(limits, caller(f"key_{number}", key_limit=hourly), 3)
        assert len(limits) <= 100
    assert 0 == await admitted(limits, caller("key_999", key_limit=hourly), 1)
    assert 1 == await admitted(limits, caller("key_0", key_limit=hourly), 3)


@pytest.mark.parametrize(
    ("limit", "says"),
    [(rate(0, 1), "requests_per_second is 0"), (rate(1, 0), "burst is 0"), (rate(1, -3), "burst is -3")],
)
def test_what_is_no_limit_is_refused(limit: RateLimit, says: str) -> None:
    """A rate or a burst that is not above 0 is named; without a rate there is no rule."""
    with pytest.raises(ValueError, match=says):
        rule_of(limit)
    assert rule_of(RateLimit(concurrency=3)) is None


def test_the_wait_is_never_less_than_a_second_in_the_header() -> None:
    """Retry-After has whole seconds; a wait of 10 ms is told as 1."""
    limits, who = Limits(clock=HandClock()), caller(key_limit=rate(100, 1))
    assert limits.admit(who).try_enter()
    with pytest.raises(RateLimited) as refused:
        limits.admit(who).try_enter()
    assert refused.value.retry_after_seconds is not None
    assert math.isclose(0.01, refused.value.retry_after_seconds)
    assert "1" == problem_headers(refused.value)["Retry-After"]
