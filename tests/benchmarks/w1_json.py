"""
W1: a JSON request, an upstream answer of 1.5 KB, the cache off, 32 connections.

Maskgate decodes a picture, reserves, asks upstream in multipart, reads a mask, settles and answers in JSON. LiteLLM
passes a chat completion of the same length; nginx passes Maskgate's own request and the upstream's answer as they are.
"""

from __future__ import annotations

from contextlib import ExitStack

from tests.benchmarks import litellm, maskgate, nginx, question
from tests.benchmarks.contender import Comparison, Contender, WrongAnswer, compare, summary
from tests.benchmarks.processes import NotRunnable
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.table import Aim, Row
from tests.benchmarks.wrk import Post

CONNECTIONS = 32
NAME = "W1 JSON request"
UPSTREAM_PATH = "/v2/job"
MASKGATE = "maskgate"
LITELLM = "LiteLLM proxy"
NGINX = "nginx proxy_pass"
AIMS = ((LITELLM, Aim(50)), (NGINX, Aim(0.12)))


def measure(stage: Stage) -> list[Row]:
    """Take turns, check the ledger against what was sent, and return one row for each rival."""
    answer = nginx.Answer(f"multipart/form-data; boundary={question.BOUNDARY}", question.upstream_answer())
    answers = {UPSTREAM_PATH: answer, litellm.UPSTREAM_PATH: litellm.upstream_answer(len(answer.body))}
    gateway_core = stage.cores.gateway
    with ExitStack() as running:
        upstream = running.enter_context(
            nginx.upstream(answers, folder=stage.folder / "upstream", core=stage.cores.load)
        )
        gateway = running.enter_context(
            maskgate.gateway(upstream.url("/v2"), folder=stage.folder / "maskgate", core=gateway_core)
        )
        proxy = running.enter_context(nginx.proxy(upstream.port, folder=stage.folder / "proxy", core=gateway_core))
        ours = gateway.contender()
        passed = Post(proxy.url(UPSTREAM_PATH), ours.post.body, ours.post.content_type, ours.post.authorization)
        gateway.check_answer()
        before = gateway.booked()
        everybody = {MASKGATE: ours, NGINX: Contender(passed, proxy.pid)}
        absent: dict[str, str] = {}
        try:
            everybody[LITELLM] = running.enter_context(
                litellm.proxy(
                    upstream.url("/v1"),
                    environment=stage.kept / "litellm-venv",
                    folder=stage.folder / "litellm",
                    core=gateway_core,
                )
            )
        except (NotRunnable, WrongAnswer) as absence:  # what stands beside nginx is measured all the same
            absent[LITELLM] = str(absence)
        found = compare(everybody, connections=CONNECTIONS, stage=stage)
        gateway.check_books(before=before, answered=found.answered[MASKGATE], cut=found.cut)
    return [
        Row(NAME, beside, aim, fault=absent[beside]) if beside in absent else _row(beside, aim, found)
        for beside, aim in AIMS
    ]


def _row(beside: str, aim: Aim, found: Comparison) -> Row:
    ours, theirs = found.runs[MASKGATE], found.runs[beside]
    ratios = tuple(our.load.per_second / their.load.per_second for our, their in zip(ours, theirs, strict=True))
    return Row(NAME, beside, aim, ratios, {MASKGATE: summary(ours), "beside": summary(theirs)})


WORK = Work(NAME, AIMS, measure)
