"""
LiteLLM's proxy with what it has of the same kind switched on: a key, cost, Prometheus; one worker, no database.

It lives in a virtual environment of its own, made once and kept. It asks the upstream for a chat completion, since that
is the work it is made for; the completion is as long as Maskgate's upstream answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.benchmarks.contender import Contender, WrongAnswer, ask
from tests.benchmarks.nginx import Answer
from tests.benchmarks.processes import NotRunnable, serving
from tests.benchmarks.wrk import Post
from tests.ports import free_row

REQUIREMENTS = ("litellm[proxy]==1.106.2", "prometheus-client==0.26.0")
KEY = "sk-benchmark-0123456789abcdef0123456789abcdef"
UPSTREAM_PATH = "/v1/chat/completions"

_FILLER = "The quick brown fox jumps over the lazy dog. "


def upstream_answer(length: int) -> Answer:
    """Return a chat completion of *length* bytes, as the upstream gives it."""
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 250, "total_tokens": 260},
    }
    empty = json.dumps(completion)
    room = length - len(empty)
    written = empty.replace('"content": ""', f'"content": "{(_FILLER * (room // len(_FILLER) + 1))[:room]}"')
    return Answer("application/json", written.encode())


@contextmanager
def proxy(upstream_url: str, *, environment: Path, folder: Path, core: int) -> Iterator[Contender]:
    """
    Serve one model whose upstream is at *upstream_url*, until the block ends.

    Args:
        upstream_url: the API's base, ending in `/v1`.
        environment: the folder of LiteLLM's virtual environment; made when it is not there.
        folder: for its files; made.
        core: where it runs.

    Raises:
        NotRunnable: it cannot be installed, or does not start.
        WrongAnswer: it runs without key, cost or metrics.
    """
    install(environment)
    folder.mkdir()
    configuration = folder / "litellm.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(upstream_url)), encoding="utf-8")
    body = folder / "request.json"
    body.write_text(
        json.dumps({"model": "fake", "messages": [{"role": "user", "content": "hi there"}]}), encoding="utf-8"
    )
    port = free_row(1)
    command = [str(environment / "bin" / "litellm"), "--config", str(configuration), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with serving(command, core=core, port=port, log=folder / "litellm.log", environ=environ, seconds=120) as pid:
        base = f"http://127.0.0.1:{port}"
        contender = Contender(Post(f"{base}/v1/chat/completions", body, "application/json", f"Bearer {KEY}"), pid)
        _check(base, contender)
        yield contender


def install(environment: Path) -> None:
    """
    Make LiteLLM's virtual environment, unless it is there with the same requirements.

    Raises:
        NotRunnable: the packages cannot be had.
    """
    mark = environment / "installed"
    wanted = "\n".join(REQUIREMENTS)
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", *REQUIREMENTS]
    for command in ([sys.executable, "-m", "venv", "--clear", str(environment)], pip):
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise NotRunnable(f"LiteLLM could not be installed: {(run.stdout + run.stderr).strip()[-400:]}")
    mark.write_text(wanted, encoding="utf-8")


def _configuration(upstream_url: str) -> dict[str, object]:
    model = {
        "model": "openai/gpt-4o-mini",
        "api_base": upstream_url,
        "api_key": "benchmark",
        "input_cost_per_token": 0.000001,
        "output_cost_per_token": 0.000002,
    }
    return {
        "model_list": [{"model_name": "fake", "litellm_params": model}],
        "litellm_settings": {"callbacks": ["prometheus"], "num_retries": 0, "request_timeout": 30},
        "general_settings": {"master_key": KEY},
    }


def _check(base: str, contender: Contender) -> None:
    post = contender.post
    heard = ask(post.url, authorization=post.authorization, body=post.body)
    if heard.status != 200 or not heard.json()["choices"][0]["message"]["content"].startswith(_FILLER):
        raise WrongAnswer(f"LiteLLM answers {heard.status}: {heard.body[:400]!r}")
    if "x-litellm-response-cost" not in heard.headers:
        raise WrongAnswer("LiteLLM states no cost")
    if ask(post.url, authorization="Bearer sk-another", body=post.body).status == 200:
        raise WrongAnswer("LiteLLM answers to another key than its own")
    if b"litellm_" not in ask(f"{base}/metrics/", authorization=post.authorization).body:
        raise WrongAnswer("LiteLLM exposes no metrics")
