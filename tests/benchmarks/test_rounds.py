"""Contenders take turns."""

from tests.benchmarks.rounds import take_turns


def test_every_round_sees_every_contender_in_order() -> None:
    """Two contenders in three rounds run A B A B A B, and each one's findings stay in that order."""
    order: list[str] = []

    def turn(name: str) -> int:
        order.append(name)
        return len(order)

    found = take_turns({"a": lambda: turn("a"), "b": lambda: turn("b")}, rounds=3)

    assert order == ["a", "b", "a", "b", "a", "b"]
    assert found == {"a": [1, 3, 5], "b": [2, 4, 6]}
