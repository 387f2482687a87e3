"""What all HTTP providers share about answers: waits, money, JSON, quotations, statuses."""

from __future__ import annotations

from decimal import Decimal

import pytest

from providers.contract import Money, Outcome, ProviderError
from providers.reported import reported_money
from providers.retry_after import LONGEST_SECONDS, retry_after_of, retry_after_seconds
from providers.statuses import Meaning, error_for_status
from providers.upstream_json import read_json
from providers.upstream_text import quoted

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("3", 3.0),
        (" 3 ", 3.0),
        ("0", 0.0),
        ("0.05", 0.05),
        ("-4", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("315360000", LONGEST_SECONDS),
        ("inf", LONGEST_SECONDS),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Tue, 99 Nov 2023 22:13:50 GMT", None),
    ],
)
def test_retry_after(value: str | None, expected: float | None) -> None:
    """Whole seconds, fractions and dates are read; nonsense is none; ten years are one day."""
    assert retry_after_seconds(value, now=NOW) == expected


def test_retry_after_by_their_clock() -> None:
    """A date is measured against the date of the same reply, whatever our own clock says."""
    headers = {"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT", "date": "Tue, 14 Nov 2023 22:13:45 GMT"}
    assert retry_after_of(headers, now=NOW + 9999) == 5.0


def test_retry_after_without_their_clock() -> None:
    """Without the reply's own date, ours is what a date is measured against."""
    assert retry_after_of({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, now=NOW) == 30.0
    assert retry_after_of({}, now=NOW) is None


@pytest.mark.parametrize(
    ("value", "microusd"),
    [
        ("0.005", 5000),
        (Decimal("0.0025"), 2500),
        (Decimal("0.0011"), 1100),
        (Decimal("2.5E-3"), 2500),
        (Decimal("0.30000000000000004"), 300_000),
        (Decimal("0.0000025"), 2),
        (Decimal("0.0000035"), 4),
        (0, 0),
        (1, 1_000_000),
        (" 0.12 ", 120_000),
    ],
)
def test_reported_money(value: object, microusd: int) -> None:
    """A provider's figure is kept to the micro-dollar; what is finer is rounded, halves to even."""
    assert reported_money(value) == Money(microusd)


@pytest.mark.parametrize(
    "value", [None, True, 0.005, "", "free", "1e999", "NaN", Decimal("NaN"), Decimal(-1), Decimal("1e40"), {}, "0x10"]
)
def test_no_money(value: object) -> None:
    """What is no amount that can be owed is none."""
    assert reported_money(value) is None


def test_json_is_exact() -> None:
    """A number with a point keeps every digit."""
    assert read_json(b'{"dollars": 0.12345678901234567890}') == {"dollars": Decimal("0.12345678901234567890")}


@pytest.mark.parametrize("text", [b"", b"{", b"nan", b"\xff\xfe", b"[" * 100_000, b"<html>"])
def test_no_json(text: bytes) -> None:
    """What is no JSON is one kind of error, however it is broken."""
    with pytest.raises(ValueError, match=r".+"):
        read_json(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bad key rf_live_abc", "bad key ***"),
        ("no https://a.example/b.png?sig=1&x=2 here", "no https://a.example/b.png?*** here"),
        ('{"url":"http://a.example/b#frag"}', '{"url":"http://a.example/b?***"}'),
        ("got data:image/png;base64,AAAA", "got data:***"),
        ("two\nlines\x00and a bell\x07", "two lines and a bell"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_quoted(text: str, expected: str) -> None:
    """A quotation shows no secret, no signature and no control character, and has 300 characters at most."""
    assert quoted(text, hide=["rf_live_abc", ""]) == expected


@pytest.mark.parametrize(
    ("status", "wait", "outcome", "elsewhere", "may_have_charged"),
    [
        (302, None, Outcome.DENIED, True, False),
        (400, None, Outcome.REFUSED, False, False),
        (401, None, Outcome.DENIED, True, False),
        (402, None, Outcome.DENIED, True, False),
        (403, None, Outcome.DENIED, True, False),
        (404, None, Outcome.DENIED, True, False),
        (405, None, Outcome.DENIED, True, False),
        (408, None, Outcome.FAILED, True, False),
        (409, None, Outcome.FAILED, True, False),
        (413, None, Outcome.REFUSED, True, False),
        (415, None, Outcome.REFUSED, True, False),
        (422, None, Outcome.REFUSED, False, False),
        (429, 2.0, Outcome.OVERLOADED, True, False),
        (429, None, Outcome.OVERLOADED, True, False),
        (500, None, Outcome.FAILED, True, False),
        (502, None, Outcome.FAILED, True, True),
        (503, None, Outcome.FAILED, True, False),
        (503, 1.0, Outcome.OVERLOADED, True, False),
        (504, None, Outcome.FAILED, True, True),
        (418, None, Outcome.REFUSED, False, False),
        (451, None, Outcome.FAILED, True, False),
        (507, None, Outcome.FAILED, True, False),
        *((status, None, Outcome.FAILED, True, True) for status in (419, 444, 460, 499, 520, 522, 524, 527, 561, 598)),
        *((status, None, Outcome.FAILED, True, False) for status in (521, 523, 525, 526, 530)),
    ],
)
def test_statuses(
    *,
    status: int,
    wait: float | None,
    outcome: Outcome,
    elsewhere: bool,
    may_have_charged: bool,
) -> None:
    """
    Every status says who is at fault, whether another deployment could cure it, and whether it may be billed.

    What neither the provider nor HTTP knows was said by a proxy, and is in doubt, unless it never reached the provider.
    """
    error = error_for_status(
        "Prodia", status, "words", statuses={418: Meaning.REFUSED}, retry_after_seconds=wait, upstream_ref="j1"
    )
    assert isinstance(error, ProviderError)
    assert (error.outcome, error.elsewhere, error.may_have_charged) == (outcome, elsewhere, may_have_charged)
    assert (error.status, error.retry_after_seconds, error.upstream_ref) == (status, wait, "j1")
    assert error.message.startswith(f"Prodia answered {status}: words")


def test_a_number_of_no_measure_is_null() -> None:
    """No figure that nobody needs makes an answer unreadable."""
    text = b"[NaN, -Infinity, 1e99999999999999999999, -1e-99999999999999999999, " + b"9" * 5000 + b", 0.1]"
    assert read_json(text) == [None] * 5 + [Decimal("0.1")]
