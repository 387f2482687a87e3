"""The benchmarks are chosen by their names."""

from tests.benchmarks.run import LONG_WORKS, WORKS, chosen


def test_without_a_name_all_are_run_that_do_not_take_long() -> None:
    """The long ones are left out of the table unless somebody asks for them."""
    assert list(WORKS) == chosen(None)
    assert list(WORKS) == chosen([])


def test_a_name_chooses_by_its_beginning_among_all() -> None:
    """Several names choose together, in the order of the table; one that nothing begins with chooses nothing."""
    assert ["W1 JSON request", "W7 one connection"] == [work.name for work in chosen(["W7", "W1"])]
    assert list(LONG_WORKS) == chosen(["load"])
    assert [] == chosen(["W99"])


def test_no_two_benchmarks_have_one_name() -> None:
    """Each can be chosen alone."""
    names = [work.name for work in (*WORKS, *LONG_WORKS)]

    assert len(names) == len(set(names))
