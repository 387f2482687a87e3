"""Names for requests and attempts."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ids import ALPHABET, new_ids


@dataclass
class Wall:
    """A wall clock that is set by hand."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        """Return seconds since 1970."""
        return self.now


def number_of(name: str) -> int:
    """Return the number that a name's ULID stands for."""
    number = 0
    for digit in name.split("_")[1]:
        number = number * 32 + ALPHABET.index(digit)
    return number


@pytest.mark.parametrize("prefix", ["seg", "att", "req"])
def test_a_name_is_a_prefix_and_a_ulid(prefix: str) -> None:
    """It holds letters, digits and one underscore, and fits where a provider takes 64 characters."""
    name = new_ids(Wall())(prefix)
    assert re.fullmatch(prefix + "_[0-7][0-9A-HJKMNP-TV-Z]{25}", name)
    assert len(name) < 64


@given(st.integers(0, 2**48 - 1))
def test_the_moment_can_be_read_from_the_name(milliseconds: int) -> None:
    """The first 48 bits are the milliseconds since 1970."""
    seconds = milliseconds / 1000
    assert int(seconds * 1000) == number_of(new_ids(lambda: seconds)("seg")) >> 80


def test_names_sort_by_their_moment() -> None:
    """As text, a later millisecond comes after an earlier one."""
    wall = Wall()
    new_id = new_ids(wall)
    names = []
    for _ in range(500):
        names.append(new_id("seg"))
        wall.now += 0.0015
    assert names == sorted(names)


def test_names_of_one_millisecond_differ_whoever_makes_them() -> None:
    """Eighty random bits tell them apart, also between replicas that ask nobody."""
    wall = Wall()
    makers = [new_ids(wall) for _ in range(4)]
    names = {new_id("att") for new_id in makers for _ in range(5_000)}
    assert 20_000 == len(names)
    randoms = [number_of(name) & (1 << 80) - 1 for name in names]
    for bit in range(80):  # each bit is 1 about half the time: within 10 standard deviations
        assert abs(sum(number >> bit & 1 for number in randoms) - 10_000) < 710
