"""What entries add to the running sums."""

from __future__ import annotations

from gateway.store import Entry, Kind, ending, moves
from gateway.store.usage_lines import Figures, added_up, divided, figures, line_name

DAY = 86_400_000_000


def opening(kind: Kind, *, at: int = 5, amount: int = 0, cost: int = 0, tags: str = "{}") -> Entry:
    """Return the entry that opens an attempt."""
    moved = moves(kind, phase=0, set_aside=0, amount=amount, cost=cost)
    return Entry("att_1", 0, kind.value, amount, cost, None, None, None, at, *moved)._replace(
        request_id="seg",
        prompt_index=0,
        tenant="acme",
        key_id="key",
        deployment="eu",
        provider="runflow",
        model="sam-3",
        region="eu",
        price_id="eu@2026-01-01",
        expires_at=2,
        tags=tags,
    )


RESERVED = opening(Kind.RESERVE, amount=60)
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
    assert Figures(1, 1, 0, 0, 0, 0, 45, 0, 0) == added(opening(Kind.IMPORT, cost=45))


def test_an_attempt_belongs_to_the_day_of_its_reservation() -> None:
    """Attempts of two days or with two sets of tags are two lines, which have two names."""
    late = opening(Kind.RESERVE, at=DAY - 1)
    others = [opening(Kind.RESERVE, at=DAY), opening(Kind.RESERVE, at=DAY, tags='{"team":"a"}')]
    sums = added_up([(entry, entry) for entry in (RESERVED, late, *others)] + [(HELD, RESERVED)])
    assert [2, 1, 1] == [line.attempts for line in sums.values()]
    assert [0, 1, 1] == [line.day for line in sums]
    assert 3 == len({line_name(line) for line in sums})


def test_what_moves_is_what_is_added() -> None:
    """Money in the sums is the money that entries move, so that both can be compared in the database."""
    assert (HELD.held_microusd, HELD.reserved_microusd) == figures(HELD)[-2:]
    assert divided(RESERVED)[1:] == ("acme", "key", "eu", "runflow", "sam-3", "eu", "{}")
