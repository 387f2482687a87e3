"""A process is held on a core, and let go again."""

import os

import pytest

from tests.benchmarks.affinity import held_on


def stop_on(core: int) -> None:
    """Break off in the middle of the block."""
    with held_on(core):
        assert {core} == os.sched_getaffinity(0)
        raise InterruptedError


def test_a_process_runs_on_one_core_until_the_block_ends() -> None:
    """However the block ends, the process may afterwards run where it could before."""
    before = os.sched_getaffinity(0)
    with pytest.raises(InterruptedError):
        stop_on(max(before))
    assert before == os.sched_getaffinity(0)
