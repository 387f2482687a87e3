"""The hash chain of one writer."""

from __future__ import annotations

import pytest
from blake3 import blake3

from gateway.store import CHAINED, Kind, chained, ending, genesis, link
from gateway.store.chain import STORED, begin
from gateway.store.tables import entries

ENDINGS = [ending(f"att_{n}", Kind.SETTLE, set_aside=5, amount=n, cost=n, upstream_ref="ü", at=7) for n in range(3)]


def test_it_covers_every_column() -> None:
    """Every column is stored, and all but the number and the hash itself are covered, in the order of the table."""
    names = [column.name for column in entries.columns if column.name != "id"]
    assert list(STORED) == names
    assert [*CHAINED, "chain", "upstream_account"] == names


def test_the_hash_is_that_of_the_text() -> None:
    """The hash is that of the one before as hexadecimal digits, and of the values as JSON without spaces."""
    first = genesis("w_1")
    assert blake3(b"w_1").hexdigest() == first
    assert blake3(first.encode() + '["ü",null,-7]'.encode()).hexdigest() == link(first, ("ü", None, -7))


def test_it_goes_on_where_it_ended() -> None:
    """Two batches make the chain that one batch of both makes, numbered from 1."""
    whole, head = chained(begin("w_1"), ENDINGS)
    first, between = chained(begin("w_1"), ENDINGS[:1])
    rest, end = chained(between, ENDINGS[1:])
    assert whole == first + rest
    assert head == end
    assert [1, 2, 3] == [row[STORED.index("sequence")] for row in whole]
    assert ("w_1", 3, whole[-1][-2]) == head


@pytest.mark.parametrize("place", range(len(CHAINED)))
def test_no_value_can_be_changed(place: int) -> None:
    """Another value in any column makes another hash."""
    rows, _ = chained(begin("w_1"), ENDINGS[:1])
    values, chain = list(rows[0][: len(CHAINED)]), rows[0][-2]
    assert chain == link(genesis("w_1"), values)
    values[place] = 999 if values[place] != 999 else 0
    assert chain != link(genesis("w_1"), values)


def test_the_account_is_covered_where_there_is_one() -> None:
    """An entry from before it was kept has the hash that it had; one that has it, another for every other account."""
    [without], _ = chained(begin("w_1"), ENDINGS[:1])
    [one], _ = chained(begin("w_1"), [ENDINGS[0]._replace(upstream_account="a")])
    [other], _ = chained(begin("w_1"), [ENDINGS[0]._replace(upstream_account="b")])
    assert without[-2] == link(genesis("w_1"), without[: len(CHAINED)])
    assert 3 == len({without[-2], one[-2], other[-2]})


def test_what_cannot_be_stored_is_refused() -> None:
    """Half a character has no bytes, so it has no hash."""
    with pytest.raises(TypeError):
        link(genesis("w_1"), ["\ud800"])
