"""A provider's statement is read exactly, or refused by the numbers of its lines."""

from __future__ import annotations

import pytest

from gateway.accounting.statement import Billed, Column, StatementRefused, read_moment, read_statement
from providers.contract import Money

SECOND = 1_000_000
#: 2026-04-05T12:00:00Z, in microseconds since 1970.
NOON = 1_775_390_400 * SECOND


def read(text: str, **names: str) -> tuple[Billed, ...]:
    """Read a statement that is a text."""
    return read_statement(text.splitlines(keepends=True), {Column(column): name for column, name in names.items()})


def refusal(text: str, **names: str) -> tuple[str, ...]:
    """Return what is wrong with a statement."""
    with pytest.raises(StatementRefused) as caught:
        read(text, **names)
    return caught.value.problems


def test_rows_are_read_exactly() -> None:
    """Moments in any zone come to UTC, and amounts to whole micro-dollars; an empty line is no row."""
    text = "provider id,time,amount\njob_1,2026-04-05T12:00:00Z,0.005\n\njob_2,2026-04-05T14:00:00.25+02:00,1e-6\n"
    expected = (Billed(2, "job_1", NOON, Money(5000)), Billed(4, "job_2", NOON + SECOND // 4, Money(1)))
    assert expected == read(text)


@pytest.mark.parametrize(
    "header",
    [
        "id,time,amount",
        "Job_ID,Created-At,USD",
        "\ufeffrun id,TIMESTAMP,cost usd",
        "run,created, Amount ",
        "job,time,price",
    ],
)
def test_columns_go_by_many_names(header: str) -> None:
    """Large letters, lines and a byte order mark do not matter."""
    assert [Billed(2, "a", NOON, Money(1_000_000))] == list(read(f"{header}\na,2026-04-05T12:00:00Z,1\n"))


def test_columns_can_be_named() -> None:
    """A name of the operator's goes before the usual ones, and other columns are passed over, in any order."""
    text = 'what,net,id,when,amount\n"a, b",0.25,x,2026-04-05T12:00:00Z,9\n'
    assert (Billed(2, "x", NOON, Money(250_000)),) == read(text, time="When", amount="NET")


@pytest.mark.parametrize(
    ("header", "names", "told"),
    [
        ("id,time", {}, "no column for the amount; say which with --column amount=NAME, of id, time"),
        ("id,run,time,amount", {}, "more than one column for the id"),
        ("id,time,amount", {"amount": "net"}, "no column for the amount"),
        ("id,time,amount", {"amount": "id"}, "one column is named for two meanings"),
    ],
)
def test_columns_that_are_not_clear(header: str, names: dict[str, str], told: str) -> None:
    """A header that does not say where something stands is refused, naming what to write."""
    [problem] = refusal(f"{header}\n", **names)
    assert told in problem
    assert problem.startswith("line 1: ")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,2026-04-05T12:00:00,1", "a moment without its zone"),
        ("a,yesterday,1", "not a moment in ISO 8601: 'yesterday'"),
        ("a,2026-04-05T12:00:00Z,$1", "not a decimal number of dollars: '$1'"),
        ("a,2026-04-05T12:00:00Z,nan", "not a decimal number"),
        ("a,2026-04-05T12:00:00Z,1_0", "not a decimal number"),
        ("a,2026-04-05T12:00:00Z,", "not a decimal number"),
        ("a,2026-04-05T12:00:00Z,0.0000001", "finer than a micro-dollar"),
        ("a,2026-04-05T12:00:00Z,-0.01", "below zero: -0.01; take a credit off the row"),
        ("a,2026-04-05T12:00:00Z,1e30", "too large an amount"),
        (",2026-04-05T12:00:00Z,1", "no id"),
        (f"{'a' * 257},2026-04-05T12:00:00Z,1", "at most 256 printable characters"),
        ("a\tb,2026-04-05T12:00:00Z,1", "at most 256 printable characters"),
        ("a,2026-04-05T12:00:00Z", "2 cells under 3 columns"),
        ('"a"b,2026-04-05T12:00:00Z,1', "not CSV"),
    ],
)
def test_a_row_that_cannot_be_read(row: str, told: str) -> None:
    """It is refused by its line, and with it the statement."""
    [problem] = refusal(f"id,time,amount\nfirst,2026-04-05T12:00:00Z,1\n{row}\n")
    assert problem.startswith("line 3: ")
    assert told in problem


def test_an_id_that_stands_twice() -> None:
    """Both lines are named."""
    row = "a,2026-04-05T12:00:00Z,1\n"
    assert refusal(f"id,time,amount\n{row}b{row[1:]}{row}") == (
        "line 4: the id 'a' stands in line 2 already; a call has one row",
    )


def test_every_problem_is_told() -> None:
    """All lines are kept, and the message names the first ones."""
    text = "id,time,amount\n" + "a,b,c\n" * 30
    with pytest.raises(StatementRefused, match=r"line 21: .*and 10 more") as caught:
        read(text)
    assert 30 == len(caught.value.problems)


def test_a_statement_without_rows() -> None:
    """Nothing was billed; but a file without a header is no statement."""
    assert () == read("id,time,amount\n")
    assert 3 == len(refusal(""))


def test_a_moment_before_1970() -> None:
    """Microseconds are exact on either side."""
    assert -1 == read_moment("1969-12-31T23:59:59.999999Z")
