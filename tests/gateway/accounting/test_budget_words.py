"""What budgets say to callers."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.accounting.budget_words import refusal, warning
from gateway.store import BudgetStanding
from providers.contract import Money

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
MONTHLY = BudgetStanding(
    budget_id="bud_1",
    scope="tenant",
    subject="acme",
    period="month",
    hard=True,
    limit_microusd=100_000_000,
    spent_microusd=99_990_000,
    reserved_microusd=6000,
    resets_at=1_796_083_200_000_000,
)

#: One item of a list of structured fields, as RFC 9651 has it: a string, then parameters that are tokens, strings or
#: whole numbers.
STRING = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
ITEM = re.compile(
    rf"{STRING}(?:;[a-z*][a-z0-9_.*-]*=(?:{STRING}|-?[0-9]{{1,15}}|[A-Za-z*][A-Za-z0-9:/!#$%&\'*+.^_`|~-]*))*"
)


def test_a_refusal_says_which_budget_how_it_stands_and_what_to_do() -> None:
    """A 402 names budget, limit, spent, reserved and left, when it resets, and the remedy."""
    problem = refusal(MONTHLY, Money(5000), now=NOW)
    assert (
        "the monthly budget of the tenant acme has no room for $0.005000: limit $100.000000, spent $99.990000, "
        "reserved $0.006000, left $0.004000; it resets at 2026-12-01T00:00:00Z: wait until then, or have budget bud_1 "
        "raised; what is reserved and not used comes back when its requests end"
    ) == problem.message
    assert ("budget_exceeded", 10.5 * 86_400) == (problem.code, problem.retry_after_seconds)


def test_a_total_gives_no_hope_of_waiting() -> None:
    """A budget that never resets has no moment at which it is worth trying again."""
    problem = refusal(replace(MONTHLY, period="total", resets_at=None, reserved_microusd=0), Money(50_000), now=NOW)
    assert problem.message.endswith("left $0.010000; it does not reset: have budget bud_1 raised")
    assert problem.retry_after_seconds is None


def test_a_lowered_budget_has_nothing_left() -> None:
    """Where more is used than the limit, nothing is left, and not less than nothing."""
    problem = refusal(replace(MONTHLY, limit_microusd=1), Money(5000), now=NOW)
    assert "limit $0.000001" in problem.message
    assert "left $0.000000" in problem.message


def test_a_period_that_has_just_ended_is_worth_a_try_soon() -> None:
    """The wait is never below a second, however late the refusal is told."""
    assert 1.0 == refusal(MONTHLY, Money(5000), now=NOW + 30 * 86_400).retry_after_seconds


def test_a_warning_lists_the_budgets_that_are_passed() -> None:
    """Each soft budget is one item, with its subject, its period, its limit and what is used."""
    total = replace(MONTHLY, budget_id="bud_2", scope="tag", subject="team=search", period="total", resets_at=None)
    assert (
        '"bud_1";scope=tenant;subject="acme";period=month;limit-microusd=100000000;used-microusd=99996000'
        ';resets-at=1796083200, "bud_2";scope=tag;subject="team=search";period=total;limit-microusd=100000000'
        ";used-microusd=99996000"
    ) == warning([MONTHLY, total])


@pytest.mark.parametrize("subject", ["acme", "team=sea rch", 'a="b\\c"', "größe=ü", "n=100%", "x=\u2028y", "a=;,"])
def test_a_warning_is_a_structured_field_whatever_the_subject(subject: str) -> None:
    """The header is plain ASCII, and one item of structured fields, for every subject that a budget can have."""
    text = warning([replace(MONTHLY, scope="tag", subject=subject)])
    assert text.isascii()
    assert ITEM.fullmatch(text) is not None
