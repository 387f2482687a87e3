"""What a failure costs is found by the questions' numbers, whatever the order in which regions noted their calls."""

from tests.benchmarks.region_calls import Call, gaps


def test_a_gap_reaches_from_a_failure_to_the_next_call_for_the_same_question() -> None:
    """Other questions' calls in between, and the order of the notes, do not matter."""
    calls = [
        Call("far", 1, arrived=10.004, left=10.024, status=200),
        Call("near", 2, arrived=10.001, left=10.002, status=500),
        Call("near", 1, arrived=9.999, left=10.0, status=500),
        Call("far", 2, arrived=10.0045, left=10.025, status=200),
    ]

    assert [4.0, 2.5] == [round(gap * 1000, 6) for gap in gaps(calls)]


def test_two_failures_of_one_question_are_two_gaps() -> None:
    """Each failure that a call follows has one of its own; the last failure has none."""
    calls = [Call("near", 7, float(at), at + 0.25, 500) for at in (1, 2, 3)]

    assert [0.75, 0.75] == gaps(calls)


def test_what_was_answered_or_cut_off_is_no_failure_to_count_from() -> None:
    """A success has no next call, and a call that got no answer has no moment at which its answer left."""
    calls = [
        Call("near", 1, 1.0, 2.0, 200),
        Call("near", 2, 1.0, None, None),
        Call("far", 2, 3.0, 4.0, 200),
    ]

    assert [] == gaps(calls)
