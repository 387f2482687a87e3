"""Answers are kept for their time, within a number of bytes, the least recently used ones out first."""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pytest

from gateway.cache.store import ENTRY_BYTES, INSTANCE_BYTES, AnswerCache, Kept
from gateway.request import Origin
from providers.contract import Instance, Mask, Money, Segmentation

ORIGIN = Origin("runflow-eu", "runflow", "meta/sam-3/image", "sam3", "eu", Money(5000))


@dataclass
class Clock:
    """A clock that is wound by hand."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the seconds it shows."""
        return self.now


def answer(*runs: int) -> Kept:
    """Return an answer with one instance for each number: a mask of about that many runs."""
    masks = [Mask((2, count), np.ones(2 * count, np.int64)) for count in runs]
    return Kept(Segmentation(tuple(Instance(mask, None) for mask in masks)), ORIGIN)


NOTHING_FOUND = Kept(Segmentation(()), ORIGIN)
SMALL = answer(1)
SMALL_BYTES = ENTRY_BYTES + INSTANCE_BYTES + 2 * 16


def cache_of(max_bytes: int = 10**6, clock: Clock | None = None) -> AnswerCache:
    """Return an empty cache: answers for 100 seconds, empty ones for 10."""
    return AnswerCache(max_bytes=max_bytes, ttl_seconds=100, empty_ttl_seconds=10, clock=clock or Clock())


def test_what_is_kept_is_recalled_by_its_name_alone() -> None:
    """Another name recalls nothing; keeping again under the same name replaces."""
    cache = cache_of()
    assert cache.recall("a") is None
    cache.keep("a", SMALL, ttl_seconds=None)
    assert SMALL is cache.recall("a")
    assert cache.recall("b") is None
    cache.keep("a", NOTHING_FOUND, ttl_seconds=None)
    assert NOTHING_FOUND is cache.recall("a")
    assert ENTRY_BYTES == cache.bytes


@pytest.mark.parametrize(
    ("kept", "ttl_seconds", "lasts"),
    [
        (SMALL, None, 100),
        (SMALL, 7.0, 7),
        (SMALL, 500.0, 500),
        (NOTHING_FOUND, None, 10),
        (NOTHING_FOUND, 500.0, 10),
        (NOTHING_FOUND, 7.0, 7),
    ],
)
def test_an_answer_is_kept_for_its_time(kept: Kept, ttl_seconds: float | None, lasts: float) -> None:
    """The request's wish comes first; "nothing found" is never kept for longer than the operator says."""
    clock = Clock(5.0)
    cache = cache_of(clock=clock)
    cache.keep("a", kept, ttl_seconds=ttl_seconds)
    clock.now += lasts - 0.125
    assert kept is cache.recall("a")
    clock.now += 0.125
    assert cache.recall("a") is None
    assert 0 == cache.bytes


def test_recalling_an_answer_does_not_make_it_last_longer() -> None:
    """It is used until its time is over, and then bought anew."""
    clock = Clock()
    cache = cache_of(clock=clock)
    cache.keep("a", SMALL, ttl_seconds=10)
    for clock.now in (3.0, 6.0, 9.0):
        assert SMALL is cache.recall("a")
    clock.now = 10.0
    assert cache.recall("a") is None


def test_the_least_recently_used_answer_goes_first() -> None:
    """With room for three, the fourth takes the place of the one that was not asked for."""
    cache = cache_of(3 * SMALL_BYTES)
    for name in "abc":
        cache.keep(name, SMALL, ttl_seconds=None)
    assert 3 * SMALL_BYTES == cache.bytes
    cache.recall("a")
    cache.keep("d", SMALL, ttl_seconds=None)
    assert [True, False, True, True] == [cache.recall(name) is not None for name in "abcd"]
    assert 3 * SMALL_BYTES == cache.bytes


def test_room_is_counted_in_bytes_and_not_in_answers() -> None:
    """One large answer takes the place of several small ones."""
    large = answer(100)
    cache = cache_of(3 * SMALL_BYTES)
    for name in "abc":
        cache.keep(name, SMALL, ttl_seconds=None)
    cache.keep("large", large, ttl_seconds=None)
    assert large is cache.recall("large")
    assert cache.recall("a") is None
    assert cache.bytes <= 3 * SMALL_BYTES


def test_an_answer_larger_than_the_whole_cache_is_not_kept() -> None:
    """It drives nothing else out, and an older answer of its name is gone all the same."""
    cache = cache_of(2 * SMALL_BYTES)
    cache.keep("a", SMALL, ttl_seconds=None)
    cache.keep("b", SMALL, ttl_seconds=None)
    cache.keep("b", answer(100_000), ttl_seconds=None)
    assert cache.recall("b") is None
    assert SMALL is cache.recall("a")
    assert SMALL_BYTES == cache.bytes


def test_a_cache_without_room_keeps_nothing() -> None:
    """`max_bytes: 0` turns it off."""
    cache = cache_of(0)
    cache.keep("a", NOTHING_FOUND, ttl_seconds=None)
    assert cache.recall("a") is None
    assert 0 == cache.bytes


@pytest.mark.parametrize("seed", range(20))
def test_the_count_of_bytes_is_always_right(seed: int) -> None:
    """After any walk the cache agrees with a plain list of what it should hold."""
    chance, clock = random.Random(seed), Clock()
    room = 6 * SMALL_BYTES
    cache, model = cache_of(room, clock), OrderedDict[str, tuple[Kept, float, int]]()
    for _ in range(300):
        name = chance.choice("abcdefgh")
        clock.now += chance.choice((0.0, 1.0, 9.0))
        if chance.random() < 0.5:
            runs = chance.choice((0, 1, 50, 200))
            kept, ttl = (answer(runs) if runs else NOTHING_FOUND), chance.choice((None, 5.0, 30.0))
            size = ENTRY_BYTES + (INSTANCE_BYTES + 32 * runs if runs else 0)
            cache.keep(name, kept, ttl_seconds=ttl)
            model.pop(name, None)
            if size <= room:
                seconds = 100.0 if ttl is None else ttl
                model[name] = (kept, clock.now + (seconds if runs else min(seconds, 10.0)), size)
            while sum(entry[2] for entry in model.values()) > room:
                model.popitem(last=False)
        else:
            entry = model.get(name)
            if entry is not None and entry[1] <= clock.now:
                del model[name]
                entry = None
            assert (None if entry is None else entry[0]) is cache.recall(name)
            if entry is not None:
                model.move_to_end(name)
        assert sum(entry[2] for entry in model.values()) == cache.bytes
