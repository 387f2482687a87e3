"""What entries add to the running sums."""

from __future__ import annotations

from gateway.store import Entry, Kind, ending
from gateway.store.usage_lines import Figures, added_up, divided, figures, line_name
from tests.gateway.store.openings import opening

DAY = 86_400_000_000


RESERVED = opening(amount=60, at=5)
HELD = ending("att_1", Kind.HOLD, set_aside=60, reason="unanswered", at=6)


def added(*entries: Entry) -> Figures:
    """Return what the entries of one attempt add up to."""
    (sums,) = added_up([(entry, entries[0]) for entry in entries]).values()
    return sums


def test_each_end() -> None:
    """The entries of an attempt add up to where it stands, whatever way it took there."""
    settled = ending("att_1", Kind.SETTLE, set_aside=60, amount=40, cost=45, at=7)
    released = ending("att_1", Kind.RELEASE, set_aside=60, reason="refused", at=7, phase=2)
    corrected = ending("att_1", Kind.CORRECT, set_aside=0, amount=-1, cost=2, phase=3, reason="statement", at=8)
    assert Figures(1, 0, 0, 0, 1, 0, 0, 0, 60) == added(RESERVED)
    assert Figures(1, 1, 0, 0, 0, 40, 45, 0, 0) == added(RESERVED, settled)
    assert Figures(1, 0, 0, 1, 0, 0, 0, 60, 0) == added(RESERVED, HELD)
    assert Figures(1, 0, 1, 0, 0, 0, 0, 0, 0) == added(RESERVED, HELD, released)
    assert Figures(1, 1, 0, 0, 0, 39, 47, 0, 0) == added(RESERVED, settled, corrected)
    assert Figures(1, 1, 0, 0, 0, 0, 45, 0, 0) == added(opening(kind=Kind.IMPORT, amount=0, at=5, cost=45))


def test_an_attempt_belongs_to_the_day_of_its_reservation() -> None:
    """Attempts of two days or with two sets of tags are two lines, which have two names."""
    late = opening(amount=0, at=DAY - 1)
    others = [opening(amount=0, at=DAY), opening(amount=0, at=DAY, tags='{"team":"a"}')]
    sums = added_up([(entry, entry) for entry in (RESERVED, late, *others)] + [(HELD, RESERVED)])
    assert [2, 1, 1] == [line.attempts for line in sums.values()]
    assert [0, 1, 1] == [line.day for line in sums]
    assert 3 == len({line_name(line) for line in sums})


def test_what_moves_is_what_is_added() -> None:
    """Money in the sums is the money that entries move, so that both can be compared in the database."""
    assert (HELD.held_microusd, HELD.reserved_microusd) == figures(HELD)[-2:]
    assert divided(RESERVED)[1:] == ("acme", "key", "eu", "runflow", "sam-3", "eu", "{}")
