"""What is read of an upstream's `Warning` header."""

from __future__ import annotations

import pytest

from providers.warning_header import warnings_in


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ('199 sandbox "made up"', ("made up",)),
        ('199 a "one", 299 b:80 "two" "Wed, 21 Oct 2026 07:28:00 GMT"', ("one", "two")),
        ('199 a "same", 199 b "same"', ("same",)),
        (r'199 a "he said \"no\""', ('he said "no"',)),
        (
            '199 a "the key is rf_live_1, see https://a.example/x?sig=2"',
            ("the key is ***, see https://a.example/x?***",),
        ),
        (", ".join(f'199 a "{number}"' for number in range(9)), ("0", "1", "2", "3")),
        ("made up", ()),
        ('99 a "made up"', ()),
        ('199 a "open', ()),
        ('199 a ""', ()),
        ("", ()),
        ('199 a "' + "x" * 500 + '"', ()),
        ('"' * 100_000, ()),
        ('199 a "' * 100_000, ("199 a",)),
    ],
)
def test_texts_are_read_and_the_rest_passed_over(value: str, texts: tuple[str, ...]) -> None:
    """Quoted texts of well-formed warnings come back, each once, four at most, without secrets or queries."""
    assert texts == warnings_in({"warning": value}, hide=["rf_live_1"])
    assert () == warnings_in({})
