"""Who is next, and whom there is no room for."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from gateway.fair_queue import FairQueue


def test_tenants_take_turns_and_are_served_in_their_order() -> None:
    """Three of one tenant and one of another: the other one is second, and nobody overtakes within a tenant."""
    queue: FairQueue[str] = FairQueue(10)
    for waiter in ("a1", "a2", "a3", "b1", "c1"):
        assert queue.push(waiter[0], waiter) is None
    assert [5, 3, 5] == [queue.ahead_of("b"), queue.ahead_of("new"), queue.ahead_of("a")]
    assert ["a1", "b1", "c1", "a2", "a3"] == [queue.pop() for _ in range(5)]
    assert 0 == len(queue)


def test_room_is_shared_too() -> None:
    """In a full queue, whoever has less than an equal part still comes in, and the longest lane's last one goes."""
    queue: FairQueue[str] = FairQueue(4)
    assert [None] * 4 == [queue.push("a", f"a{number}") for number in range(4)]
    assert "a4" == queue.push("a", "a4")
    assert ["a3", "a2", "b2"] == [queue.push("b", f"b{number}") for number in range(3)]
    assert ["a0", "b0", "a1", "b1"] == [queue.pop() for _ in range(4)]
    assert "x" == FairQueue[str](0).push("a", "x")


def test_room_that_is_taken_away_puts_the_last_of_the_longest_lane_out() -> None:
    """Shrinking the queue puts out as many as there is no room for."""
    queue: FairQueue[str] = FairQueue(9)
    for waiter in ("a1", "a2", "a3", "b1"):
        queue.push(waiter[0], waiter)
    assert [] == queue.resize(4)
    assert ["a3", "a2"] == queue.resize(2)
    assert ["a1", "b1"] == [queue.pop(), queue.pop()]


@given(st.integers(1, 8), st.lists(st.tuples(st.sampled_from(["push", "pop", "discard"]), st.integers(0, 3))))
def test_the_queue_is_its_lanes(room: int, steps: list[tuple[str, int]]) -> None:
    """Whatever happens in it, the length is that of its lanes, within its room, and each lane is in its order."""
    queue: FairQueue[tuple[str, int]] = FairQueue(room)
    lanes: dict[str, deque[tuple[str, int]]] = {tenant: deque() for tenant in "abcd"}
    for number, (step, index) in enumerate(steps):
        tenant = "abcd"[index]
        if step == "push":
            waiter = (tenant, number)
            lanes[tenant].append(waiter)
            out = queue.push(tenant, waiter)
            if out is not None:
                assert out == lanes[out[0]].pop()
                sizes = Counter({name: len(lane) for name, lane in lanes.items()})
                assert len(lanes[out[0]]) + 1 >= sizes.most_common(1)[0][1] or out == waiter
        elif step == "pop" and len(queue):
            waiter = queue.pop()
            assert waiter == lanes[waiter[0]].popleft()
        elif step == "discard" and lanes[tenant]:
            queue.discard(tenant, lanes[tenant].pop())
        queue.discard(tenant, (tenant, -1))
        assert sum(map(len, lanes.values())) == len(queue) <= room
