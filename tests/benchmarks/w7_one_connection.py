"""W7: one connection, one request at a time: the milliseconds that Maskgate adds to the upstream called directly."""

from __future__ import annotations

from contextlib import ExitStack

from tests.benchmarks import maskgate, nginx, question
from tests.benchmarks.contender import Contender, compare, summary
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.table import Aim, Row
from tests.benchmarks.wrk import Post

NAME = "W7 one connection"
UPSTREAM_PATH = "/v2/job"
MASKGATE = "maskgate"
BESIDE = "the upstream called directly"
AIMS = ((BESIDE, Aim(1.5, "ms", at_most=True)),)


def measure(stage: Stage) -> list[Row]:
    """Take turns, and return the row of added milliseconds, median latency less median latency."""
    media_type = f"multipart/form-data; boundary={question.BOUNDARY}"
    answers = {UPSTREAM_PATH: nginx.Answer(media_type, question.upstream_answer())}
    with ExitStack() as running:
        upstream = running.enter_context(
            nginx.upstream(answers, folder=stage.folder / "upstream", core=stage.cores.load)
        )
        gateway = running.enter_context(
            maskgate.gateway(upstream.url("/v2"), folder=stage.folder / "maskgate", core=stage.cores.gateway)
        )
        asked = stage.folder / "upstream_request"
        asked.write_bytes(question.upstream_request())
        direct = Contender(Post(upstream.url(UPSTREAM_PATH), asked, media_type, "Bearer benchmark"), upstream.pid)
        gateway.check_answer()
        before = gateway.booked()
        found = compare({MASKGATE: gateway.contender(), BESIDE: direct}, connections=1, stage=stage)
        gateway.check_books(before=before, answered=found.answered[MASKGATE], cut=found.cut)
    runs = found.runs
    added = tuple(
        ours.load.p50_ms - theirs.load.p50_ms for ours, theirs in zip(runs[MASKGATE], runs[BESIDE], strict=True)
    )
    return [Row(NAME, BESIDE, AIMS[0][1], added, {MASKGATE: summary(runs[MASKGATE]), "beside": summary(runs[BESIDE])})]


WORK = Work(NAME, AIMS, measure)
