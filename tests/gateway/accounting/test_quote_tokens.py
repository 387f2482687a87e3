"""What a quote's name holds, and whom it is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.pricing import Ceiling
from gateway.accounting.quote_tokens import LONGEST, QuotedCall, QuoteTerms, QuoteTokens, quoted_digest
from gateway.problems import InvalidRequest
from gateway.request import CacheMode, Fit, Route, Strategy
from providers.contract import Money, PriceUnit

NOW = 1_800_000_000_000_000
TOKENS = QuoteTokens(b"s" * 32)


def call(name: str, micros: int = 5000, unit: PriceUnit = PriceUnit.SUCCESS) -> QuotedCall:
    """Return a quoted call."""
    return QuotedCall(name, f"{name}@2026-04-05*1.15", Ceiling(Money(micros), unit, Money(3 * micros)))


QUOTE = QuoteTerms(
    tenant="acme",
    digest=quoted_digest(["aa", "bb"], Route(), CacheMode.USE, Fit.AUTO),
    most=Money(25_000),
    questions=((call("runflow-eu"), call("prodia", 1100)), (call("prodia", 1100), call("runflow-eu"))),
    expires_at=NOW + 300_000_000,
)


def refusal(token: str, *, tenant: str = "acme", digest: str = QUOTE.digest, now: int = NOW) -> str:
    """Return why a quote is refused."""
    with pytest.raises(InvalidRequest) as refused:
        TOKENS.open(token, tenant=tenant, digest=digest, now=now)
    assert "quote_id" == refused.value.field
    return refused.value.message


def test_what_was_sealed_is_opened() -> None:
    """Everything that was promised comes back, in its order, until the very last microsecond."""
    token = TOKENS.seal(QUOTE)
    assert re.fullmatch(r"quote_[A-Za-z0-9_-]+", token)
    assert QUOTE == TOKENS.open(token, tenant="acme", digest=QUOTE.digest, now=NOW)
    assert QUOTE == QuoteTokens(b"s" * 32).open(token, tenant="acme", digest=QUOTE.digest, now=QUOTE.expires_at - 1)


def test_a_quote_expires_at_its_moment_and_says_which() -> None:
    """The moment is named, so that the caller sees whose clock is wrong."""
    assert "2027-01-15T08:05:00Z" == QUOTE.expires
    assert "quote_id expired at 2027-01-15T08:05:00Z; ask POST /v1/quotes for a new one" == refusal(
        TOKENS.seal(QUOTE), now=QUOTE.expires_at
    )


def test_another_tenant_s_quote_is_refused() -> None:
    """A quote is one tenant's prices."""
    assert "another tenant" in refusal(TOKENS.seal(QUOTE), tenant="globex")


def test_a_quote_for_another_request_is_refused() -> None:
    """Another picture, prompt or route is another request."""
    other = quoted_digest(["aa", "bc"], Route(), CacheMode.USE, Fit.AUTO)
    assert "for another request" in refusal(TOKENS.seal(QUOTE), digest=other)


def test_nobody_else_can_make_or_change_one() -> None:
    """Signed with another secret, or with any character changed, left out or added, it is none of ours."""
    token = TOKENS.seal(QUOTE)
    assert "no quote of this gateway" in refusal(QuoteTokens(b"t" * 32).seal(QUOTE))
    for place in range(len("quote_"), len(token)):
        other = "A" if token[place] != "A" else "B"
        assert "no quote of this gateway" in refusal(token[:place] + other + token[place + 1 :])
    for changed in (token[:-1], token + "A", token + "=", token + "\n", token + "!", " " + token):
        assert "no quote of this gateway" in refusal(changed)


@given(
    st.text(max_size=200) | st.text(max_size=200).map("quote_".__add__) | st.binary().map(lambda raw: f"quote_{raw!r}")
)
def test_no_text_breaks_it(text: str) -> None:
    """Whatever is sent as `quote_id`, it is refused in words."""
    assert "no quote of this gateway" in refusal(text)


def test_an_endless_text_is_not_looked_at() -> None:
    """A megabyte of quote is no quote."""
    assert "no quote of this gateway" in refusal("quote_" + "A" * LONGEST)


def test_a_dozen_deployments_and_sixteen_questions_fit() -> None:
    """A quote stays small enough for a header, and in any order of deployments."""
    calls = [call(f"runflow-region-{number}", 5000 + number, PriceUnit.SECOND) for number in range(12)]
    questions = tuple(tuple(calls[turn % 12 :] + calls[: turn % 12]) for turn in range(16))
    big = replace(QUOTE, questions=questions)
    token = TOKENS.seal(big)
    assert len(token) < 2000
    assert big == TOKENS.open(token, tenant="acme", digest=QUOTE.digest, now=NOW)


def test_a_quote_without_anybody_to_ask_can_be_sealed() -> None:
    """All answers are kept, or nobody can answer: it promises that nothing is spent."""
    empty = replace(QUOTE, questions=((), ()), most=Money(0))
    assert empty == TOKENS.open(TOKENS.seal(empty), tenant="acme", digest=QUOTE.digest, now=NOW)


def test_what_changes_a_request_changes_its_digest() -> None:
    """Every wish that can change who is asked, or how often, counts; names count in any order, the ceiling not."""
    route = Route(deployments=frozenset({"a", "b", "c"}))
    digests = {
        quoted_digest(["aa"], route, CacheMode.USE, Fit.AUTO),
        quoted_digest(["aa", "aa"], route, CacheMode.USE, Fit.AUTO),
        quoted_digest(["aa"], replace(route, strategy=Strategy.PRIORITY), CacheMode.USE, Fit.AUTO),
        quoted_digest(["aa"], replace(route, deployments=None), CacheMode.USE, Fit.AUTO),
        quoted_digest(["aa"], replace(route, deployments=None, providers=route.deployments), CacheMode.USE, Fit.AUTO),
        quoted_digest(["aa"], replace(route, deployments=None, regions=route.deployments), CacheMode.USE, Fit.AUTO),
        quoted_digest(["aa"], replace(route, max_attempts=2), CacheMode.USE, Fit.AUTO),
        quoted_digest(["aa"], route, CacheMode.SKIP, Fit.AUTO),
        quoted_digest(["aa"], route, CacheMode.USE, Fit.STRICT),
    }
    assert 9 == len(digests)
    same = replace(route, deployments=frozenset({"c", "b", "a"}), max_charge=Money(1))
    assert quoted_digest(["aa"], same, CacheMode.USE, Fit.AUTO) in digests
