"""Maskgate as its users run it: a key, a durable ledger in SQLite, metrics and logs, all on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.benchmarks import question
from tests.benchmarks.contender import Contender, WrongAnswer, ask
from tests.benchmarks.processes import NotRunnable, serving
from tests.benchmarks.wrk import Post
from tests.ports import free_row


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway and the question that it is asked."""

    base_url: str
    pid: int
    authorization: str
    body: Path
    """The file that holds the request."""

    def contender(self) -> Contender:
        """Return what takes turns with others."""
        url = f"{self.base_url}/v1/segmentations"
        return Contender(Post(url, self.body, "application/json", self.authorization), self.pid)

    def check_answer(self) -> None:
        """
        Ask once.

        Raises:
            WrongAnswer: the answer is not the one mask of the upstream, paid for, or came without a key.
        """
        url = f"{self.base_url}/v1/segmentations"
        refused = ask(url, body=self.body)
        if refused.status != 401:
            raise WrongAnswer(f"without a key maskgate answers {refused.status}, not 401: authentication is off")
        heard = ask(url, authorization=self.authorization, body=self.body)
        if heard.status != 200:
            raise WrongAnswer(f"maskgate answers {heard.status}: {heard.body[:400]!r}")
        answer = heard.json()
        said = ([instance["area"] for instance in answer["instances"]], answer["cost"]["charged_microusd"])
        if said != ([question.area()], question.PRICE_MICROUSD):
            raise WrongAnswer(
                f"maskgate finds areas and charge {said}, right is {question.area()} for {question.PRICE_MICROUSD}"
            )

    def booked(self) -> int:
        """
        Return how many attempts the ledger holds, once no attempt is open.

        Raises:
            WrongAnswer: attempts stay open for ten seconds, or some did not end in a settled charge.
        """
        until = time.monotonic() + 10
        while True:
            heard = ask(f"{self.base_url}/v1/usage", authorization=self.authorization)
            if heard.status != 200:
                raise WrongAnswer(f"/v1/usage answers {heard.status}: {heard.body[:400]!r}")
            total = heard.json()["total"]
            if total["open"] == 0:
                break
            if time.monotonic() > until:
                raise WrongAnswer(f"attempts stay open in the ledger: {total}")
            time.sleep(0.1)  # the requests that wrk cut off are still being answered
        if total["held"] or total["released"]:
            raise WrongAnswer(f"every upstream call was answered, and yet the ledger says {total}")
        settled: int = total["settled"]
        return settled

    def check_books(self, *, before: int, answered: int, cut: int) -> None:
        """
        Compare the ledger with what was sent.

        Args:
            before: what was booked before the first of these requests.
            answered: requests that got an answer.
            cut: the most requests that may have been sent without the sender waiting for the answer.

        Raises:
            WrongAnswer: the ledger lacks an attempt, or has one that nobody asked for.
        """
        found = self.booked() - before
        if not answered <= found <= answered + cut:
            raise WrongAnswer(
                f"{answered} requests were answered (and up to {cut} cut off), the ledger has {found} attempts"
            )


@contextmanager
def gateway(upstream_url: str, *, folder: Path, core: int) -> Iterator[Gateway]:
    """
    Serve with one Prodia deployment at *upstream_url*, until the block ends.

    Raises:
        NotRunnable: it does not start, or keeps no key.
    """
    folder.mkdir()
    body = folder / "request.json"
    body.write_bytes(question.request_body())
    configuration = folder / "maskgate.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(upstream_url)), encoding="utf-8")
    log = folder / "maskgate.log"
    port = free_row(1)
    command = [str(_program()), "serve", "--config", str(configuration), "--port", str(port)]
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("MASKGATE_", "RUNFLOW_", "PRODIA_"))
    }
    environ = {**inherited, "MASKGATE_STATE_DIR": str(folder / "state")}
    with serving(command, core=core, port=port, log=log, environ=environ) as pid:
        base_url = f"http://127.0.0.1:{port}"
        ready = ask(f"{base_url}/readyz")  # its port is open before it answers: this waits until it does
        key = folder / "state" / "key"
        if ready.status != 200 or not key.exists():
            said = log.read_text(encoding="utf-8")
            raise NotRunnable(f"maskgate is not ready ({ready.status}) or keeps no API key: {said[-400:]!r}")
        yield Gateway(base_url, pid, f"Bearer {key.read_text(encoding='ascii').strip()}", body)


def _program() -> Path:
    program = Path(sys.executable).with_name("maskgate")
    if not program.exists():
        raise NotRunnable(f"there is no console script maskgate beside {sys.executable}; run make setup")
    return program


def _configuration(upstream_url: str) -> dict[str, object]:
    price = {"usd": "0.0011", "unit": "success", "valid_from": "2026-01-01", "source": "benchmark"}
    deployment = {
        "name": "prodia",
        "provider": "prodia",
        "model": "inference.sam3.segment.v1",
        "region": "global",
        "endpoint": upstream_url,
        "credential": "benchmark",
        "priority": 1,
        "price": price,
    }
    return {"deployments": [deployment], "access": {"keyless_on_loopback": False}}
