"""CPU time is that of a process and all that it started."""

import os
import subprocess
import sys

from tests.benchmarks.cpu import cpu_seconds, ticks, tree

STAT = (
    "12524 (a ) b) R 12471 12471 6794 0 -1 4194304 101 0 0 0 700 30 5 2 20 0 1 0 156552 3133440 424 "
    "18446744073709551615 1 1 1 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 1 1 1 1 1 1 1 0\n"
)

# A little more than is asked for: the system counts in whole ticks of 0.01 seconds, user and system apart.
GRANDPARENT = """
import subprocess, sys
work = "import time\\nwhile time.process_time() < 0.35: pass\\nprint('done', flush=True)\\nsys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", "import sys\\n" + work], stdin=subprocess.PIPE)
sys.stdin.read()
child.communicate()
"""


def test_four_fields_of_a_stat_line_are_added_up() -> None:
    """Own and waited-for time count, in user and in system mode, whatever the process is called."""
    assert ticks(STAT) == 700 + 30 + 5 + 2


def test_the_tree_holds_this_process() -> None:
    """A process is in its own tree, first."""
    assert os.getpid() == tree(os.getpid())[0]


def test_a_childs_work_counts() -> None:
    """What a child has used counts for the process that started it, while both live."""
    command = [sys.executable, "-c", GRANDPARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        assert len(tree(process.pid)) == 2
        assert cpu_seconds(process.pid) >= 0.3
        process.communicate()
