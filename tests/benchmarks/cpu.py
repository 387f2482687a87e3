"""
CPU seconds of a process and all that it started, from /proc.

Source: proc_pid_stat(5): fields 14 to 17 of `/proc/PID/stat` are utime, stime, cutime and cstime in clock ticks.
"""

from __future__ import annotations

import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def ticks(stat: str) -> int:
    """Return the clock ticks in the text of one `/proc/PID/stat`: its own, and those of children it has waited for."""
    fields = stat.rpartition(")")[2].split()  # the process's name, in brackets before, may hold blanks and brackets
    utime, stime, cutime, cstime = (int(field) for field in fields[11:15])
    return utime + stime + cutime + cstime


def cpu_seconds(pid: int) -> float:
    """Return what the process *pid* and its living descendants have used since they started."""
    return (
        sum(ticks(Path(f"/proc/{member}/stat").read_text(encoding="utf-8")) for member in tree(pid)) / TICKS_PER_SECOND
    )


def tree(pid: int) -> list[int]:
    """Return *pid* and every living process below it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found.extend(int(child) for child in (task / "children").read_text(encoding="utf-8").split())
    return found
