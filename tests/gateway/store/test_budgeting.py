"""What counts against a budget, when, and whether there is room."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.store import Entry, Kind, accounts_of, ending, period_start, resets_at
from gateway.store.budgeting import BudgetBook, BudgetRow, WindowKey, accounts_of_opening, fresh_windows
from tests.gateway.store.openings import opening


def micros(*moment: int) -> int:
    """Return microseconds since 1970 of a moment in UTC."""
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[arg-type, misc]  # year, month, day


def reserve(amount: int, at: int = 5, tags: str = "{}") -> Entry:
    """Return the entry of a reservation."""
    return opening(amount=amount, at=at, tags=tags)


def book_of(*budgets: BudgetRow, opening: Entry) -> BudgetBook:
    """Return a book with unused windows."""
    book = BudgetBook(budgets)
    book.windows = {window.key: window for window in fresh_windows(book.needed([opening]))}
    return book


HARD = BudgetRow("bud_1", "tenant:acme", "tenant", "acme", "total", 1, 100)
SOFT = BudgetRow("bud_2", "key:key", "key", "key", "day", 0, 50)


@pytest.mark.parametrize(
    ("period", "at", "starts", "resets"),
    [
        ("total", micros(2026, 2, 28, 23), 0, None),
        ("day", micros(2024, 2, 28, 23, 59, 59) + 999_999, micros(2024, 2, 28), micros(2024, 2, 29)),
        ("day", micros(2024, 2, 29), micros(2024, 2, 29), micros(2024, 3, 1)),
        ("month", micros(2024, 2, 29, 12), micros(2024, 2, 1), micros(2024, 3, 1)),
        ("month", micros(2026, 12, 31, 23, 59, 59) + 999_999, micros(2026, 12, 1), micros(2027, 1, 1)),
        ("month", micros(2027, 1, 1), micros(2027, 1, 1), micros(2027, 2, 1)),
    ],
)
def test_periods(period: str, at: int, starts: int, resets: int | None) -> None:
    """A period begins with its first microsecond and ends before the next one's, in leap years and at a year's end."""
    assert starts == period_start(period, at)
    assert resets == resets_at(period, starts)


def test_no_other_period() -> None:
    """A period that there is not is refused."""
    with pytest.raises(ValueError, match="week"):
        period_start("week", 0)


def test_accounts() -> None:
    """An attempt counts against its tenant, its key and each of its tags, which are the tenant's own."""
    assert ("tenant:a", "key:k", "tag:a:x=y=z", "tag:a:u=") == accounts_of("a", "k", [("x", "y=z"), ("u", "")])
    assert ("tenant:acme", "key:key", 'tag:acme:team="ü') == accounts_of_opening(reserve(1, tags='{"team":"\\"ü"}'))


def test_room() -> None:
    """A hard budget has room up to its limit and not beyond; a soft one always has, and says when it is passed."""
    opening = reserve(60)
    book = book_of(SOFT, HARD, opening=opening)
    assert book.refusing(opening) is None
    (passed,) = book.count(opening, opening)
    assert ("bud_2", 60, 50) == (passed.budget_id, passed.reserved_microusd, passed.limit_microusd)
    refusing = book.refusing(reserve(41))
    assert refusing is not None
    assert ("bud_1", 60) == (refusing.budget_id, refusing.reserved_microusd)
    assert book.refusing(reserve(40)) is None
    assert book.refusing(reserve(0)) is None


@pytest.mark.parametrize(
    ("endings", "spent", "reserved"),
    [
        ([ending("a", Kind.SETTLE, set_aside=60, amount=40, cost=45, at=6)], 40, 0),
        ([ending("a", Kind.RELEASE, set_aside=60, reason="refused", at=6)], 0, 0),
        ([ending("a", Kind.HOLD, set_aside=60, reason="unanswered", at=6)], 0, 60),
        (
            [
                ending("a", Kind.HOLD, set_aside=60, reason="unanswered", at=6),
                ending("a", Kind.SETTLE, set_aside=60, amount=60, cost=70, phase=2, at=7),
                ending("a", Kind.CORRECT, set_aside=0, amount=-20, cost=-20, phase=3, reason="statement", at=8),
            ],
            40,
            0,
        ),
    ],
    ids=["settle", "release", "hold", "resolve_and_correct"],
)
def test_counting(endings: list[Entry], spent: int, reserved: int) -> None:
    """What is reserved or held counts until it is settled or released; what is settled counts for good."""
    opening = reserve(60)
    book = book_of(HARD, opening=opening)
    book.count(opening, opening)
    for entry in endings:
        assert () == book.count(entry, opening)
    window = book.windows[WindowKey("bud_1", 0)]
    assert (spent, reserved, 100) == (window.spent, window.reserved, window.allowed)


def test_a_correction_raises_what_is_allowed() -> None:
    """A correction beyond the limit raises what is allowed by as much, and leaves the limit."""
    opening = reserve(100)
    book = book_of(HARD, opening=opening)
    book.count(opening, opening)
    book.count(ending("a", Kind.CORRECT, set_aside=0, amount=7, cost=7, phase=3, reason="statement", at=8), opening)
    window = book.windows[WindowKey("bud_1", 0)]
    assert (100, 107) == (window.limit, window.allowed)
