"""
Load one address with wrk, and read what it says.

wrk ends by cutting its connections: up to *connections* requests of a run were sent and are not in its count.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.processes import pinned

SCRIPT = Path(__file__).with_name("post.lua")


class LoadFailed(Exception):
    """A run in which not every request was answered with a success: its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Post:
    """One request, sent again and again."""

    url: str
    body: Path
    content_type: str
    authorization: str


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk measured in one run."""

    requests: int
    """Answered requests."""
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return self.requests / self.seconds


def parse(output: str) -> Load:
    """
    Read the output of a wrk run with `post.lua`.

    Raises:
        LoadFailed: some request got an error or no answer at all, or the output is not wrk's.
    """
    line = re.search(r"^\{.*\}$", output, re.MULTILINE)
    if line is None:
        raise LoadFailed(f"wrk printed no figures: {output.strip()[-400:]!r}")
    figures = json.loads(line.group())
    faults = {kind: figures[kind] for kind in ("connect", "read", "write", "timeout", "status") if figures[kind]}
    if faults:
        told = ", ".join(f"{kind} {count}" for kind, count in faults.items())
        raise LoadFailed(
            f"of {figures['requests']} requests some failed: {told} (status counts answers of 400 and more)"
        )
    if "Non-2xx" in output:
        raise LoadFailed("some answers were not a success")
    if figures["requests"] == 0:
        raise LoadFailed("not one request was answered")
    return Load(
        requests=figures["requests"],
        seconds=figures["microseconds"] / 1e6,
        p50_ms=figures["p50"] / 1e3,
        p99_ms=figures["p99"] / 1e3,
    )


def load(post: Post, *, connections: int, seconds: int, core: int) -> Load:
    """
    Load *post.url* over *connections* kept-alive connections for *seconds*, from *core*.

    Raises:
        LoadFailed: see `parse`.
    """
    told = {
        "BENCH_BODY": str(post.body),
        "BENCH_CONTENT_TYPE": post.content_type,
        "BENCH_AUTHORIZATION": post.authorization,
    }
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", str(SCRIPT)]
    run = subprocess.run(
        pinned(["wrk", *options, post.url], core=core),
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    if run.returncode != 0:
        raise LoadFailed(f"wrk ended with {run.returncode}: {(run.stdout + run.stderr).strip()[-400:]}")
    return parse(run.stdout)
