"""The headers about limits, as a parser of structured fields reads them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.gcra import Rule
from gateway.admission.policy_headers import Standing, concurrency_policy, limit_headers, rate_policy
from tests.gateway.admission.structured_fields import parse_list


@pytest.mark.parametrize(
    ("rate", "burst", "quota", "window"),
    [
        (Fraction(100), 100, 100, 1),
        (Fraction(100), 10, 100, 1),
        (Fraction(10), 15, 20, 2),
        (Fraction(1, 60), 10, 10, 600),
        (Fraction(3, 2), 1, 3, 2),
        (Fraction(1, 3600), 1, 1, 3600),
        (Fraction("33.333333"), 34, 66, 2),
    ],
)
def test_quota_and_window_are_what_may_be_kept_up(rate: Fraction, burst: int, quota: int, window: int) -> None:
    """The window is when an empty bucket is whole, the quota what comes in that time."""
    assert [("key", {"q": quota, "w": window})] == parse_list(rate_policy("key", Rule(rate, burst)))


@given(
    rate=st.fractions(min_value=Fraction(1, 10**5), max_value=10**5, max_denominator=10**6), burst=st.integers(1, 10**6)
)
def test_no_quota_promises_more_than_the_rate(rate: Fraction, burst: int) -> None:
    """Unless q is the 1 that it cannot be below, q / w is no more than the rate; and the bucket fills within w."""
    rule = Rule(rate, burst)
    ((_, parameters),) = parse_list(rate_policy("tenant", rule))
    quota, window = parameters["q"], parameters["w"]
    assert isinstance(quota, int)
    assert isinstance(window, int)
    assert window >= 1
    assert 1 <= quota
    assert quota == 1 or Fraction(quota, window) <= rule.rate
    assert window * rule.rate >= burst


def test_both_headers_name_the_same_policies() -> None:
    """Each item is a string with whole numbers; requests at a time are a unit of their own."""
    headers = limit_headers(
        [rate_policy("tenant", Rule(Fraction(5), 10)), concurrency_policy("key-concurrency", 4)],
        [Standing("tenant", 0, 1), Standing("key-concurrency", 3)],
    )
    assert {"RateLimit-Policy", "RateLimit"} == headers.keys()
    assert [
        ("tenant", {"q": 10, "w": 2}),
        ("key-concurrency", {"q": 4, "qu": "concurrent-requests"}),
    ] == parse_list(headers["RateLimit-Policy"])
    assert [("tenant", {"r": 0, "t": 1}), ("key-concurrency", {"r": 3})] == parse_list(headers["RateLimit"])


def test_without_a_policy_there_is_no_header() -> None:
    """An empty list is no field at all."""
    assert {} == limit_headers([], [])
