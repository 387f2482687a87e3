"""What the works about load run against: regions, gateways in front of them and callers, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import orjson
import yaml

from tests.benchmarks import question
from tests.benchmarks.contender import WrongAnswer, ask
from tests.benchmarks.load_caller import Ending, Plan, read_endings
from tests.benchmarks.load_regions import Behaviour, Call
from tests.benchmarks.processes import NotRunnable, pinned, serving
from tests.benchmarks.stage import Stage
from tests.ports import free_row

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
#: A caller's process needs so long to begin.
PREPARING_SECONDS = 3.0
WARM_UP_REQUESTS = 10
#: From so many rounds on a work is measured in full length.
FULL_ROUNDS = 5


def lasting(stage: Stage, full: float, *, quick: float) -> float:
    """Return how many seconds something lasts: less where a first look is wanted."""
    return full if stage.rounds >= FULL_ROUNDS else quick


@dataclass(frozen=True, slots=True)
class Regions:
    """The running upstreams."""

    names: tuple[str, ...]
    control_url: str
    ports: Mapping[str, int]

    def behave(self, name: str, behaviour: Behaviour) -> float:
        """Have a region answer so; return a moment from which on it does, in monotonic seconds."""
        body = orjson.dumps(asdict(behaviour))
        request = urllib.request.Request(f"{self.control_url}/{name}", data=body, method="PUT")
        with _opened(request):
            return time.monotonic()

    def calls(self) -> list[Call]:
        """Return every call so far, in the order in which they ended."""
        with _opened(urllib.request.Request(f"{self.control_url}/calls")) as answer:
            return [Call(**each) for each in json.load(answer)]


@dataclass(frozen=True, slots=True)
class Gateway:
    """One running gateway."""

    url: str
    log: Path
    key: str
    """The first key, as the state folder that they share keeps it."""


@dataclass(frozen=True, slots=True)
class House:
    """Everything that one work runs."""

    stage: Stage
    """With a folder of its own."""
    regions: Regions
    gateways: tuple[Gateway, ...]
    state: Path
    """Where the ledger is, when that is SQLite's."""
    _callers: list[Caller] = field(default_factory=list)

    @property
    def admin(self) -> str:
        """The first key, as `Authorization`."""
        return f"Bearer {self.gateways[0].key}"

    def key_of(self, tenant: str, **limits: Any) -> str:
        """Make a key for a tenant and return it as `Authorization`."""
        body = orjson.dumps({"tenant": tenant, "scopes": ["segment", "usage"], **limits})
        headers = {"Authorization": self.admin, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.gateways[0].url}/admin/v1/keys", data=body, headers=headers)
        with _opened(request) as answer:
            return f"Bearer {json.load(answer)['key']}"

    def caller(
        self,
        per_second: float,
        seconds: float,
        *,
        starts: float,
        strategy: str = "priority",
        authorization: str | None = None,
        gateway: int = 0,
        cache: str = "skip",
    ) -> Caller:
        """Begin to ask; `starts` is in monotonic seconds, see `soon`."""
        number = len(self._callers)
        body, told, plan = (self.stage.folder / f"{name}-{number}.json" for name in ("request", "told", "plan"))
        body.write_bytes(request_body(self.regions.names, strategy, cache))
        wanted = Plan(
            url=f"{self.gateways[gateway].url}/v1/segmentations",
            authorization=authorization or self.admin,
            body=str(body),
            starts=starts,
            per_second=per_second,
            seconds=seconds,
            told=str(told),
        )
        plan.write_bytes(orjson.dumps(asdict(wanted)))
        command = [sys.executable, "-m", "tests.benchmarks.load_caller", str(plan)]
        process = subprocess.Popen(pinned(command, core=self.stage.cores.load), cwd=ROOT)
        caller = Caller(process, told)
        self._callers.append(caller)
        return caller

    def warm_up(self) -> None:
        """
        Ask every gateway some questions, one after another: its first ones take longer.

        Raises:
            WrongAnswer: one was not answered.
        """
        body = self.stage.folder / "warm-up.json"
        body.write_bytes(request_body(self.regions.names, "fastest", "skip"))
        for gateway in self.gateways:
            for _ in range(WARM_UP_REQUESTS):
                heard = ask(f"{gateway.url}/v1/segmentations", authorization=self.admin, body=body)
                if heard.status != 200:
                    raise WrongAnswer(f"the gateway answers {heard.status}: {heard.body[:400]!r}")

    def dismiss(self) -> None:
        """End the callers that are still at work: something has failed."""
        for caller in self._callers:
            caller.dismiss()


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller at work."""

    process: subprocess.Popen[bytes]
    told: Path

    def endings(self) -> list[Ending]:
        """
        Return how its requests ended, as soon as all have.

        Raises:
            WrongAnswer: it failed.
        """
        if self.process.wait():
            raise WrongAnswer(f"a caller ended with {self.process.returncode}; what it says is above")
        return read_endings(self.told)

    def dismiss(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def soon() -> float:
    """Return the moment at which callers that are started now can begin, in monotonic seconds."""
    return time.monotonic() + PREPARING_SECONDS


def pause_until(moment: float) -> None:
    """Sleep until then: what happens meanwhile is other processes' work."""
    time.sleep(max(0.0, moment - time.monotonic()))


def request_body(names: Sequence[str], strategy: str, cache: str) -> bytes:
    """Return what a caller asks: of these deployments by that strategy, with 8 seconds, by that use of the cache."""
    route = {"strategy": strategy, "deployments": list(names), "deadline_seconds": 8}
    return orjson.dumps({**orjson.loads(question.request_body()), "route": route, "cache": {"mode": cache}})


@contextmanager
def house(
    stage: Stage,
    name: str,
    behaviours: Mapping[str, Behaviour],
    *,
    bounds: Mapping[str, int] | None = None,
    gateways: int = 1,
    environ: Mapping[str, str] | None = None,
) -> Iterator[House]:
    """
    Run regions and gateways until the block ends, with everything on that a gateway has by default.

    Args:
        stage: where.
        name: what its folder is called.
        behaviours: the regions by name, the first one being the first under `priority`.
        bounds: what each deployment's settings say beside what is needed, `max_concurrency` for one.
        gateways: how many.
        environ: what they find in their environment beside what is ours: databases that they share.

    Raises:
        NotRunnable: something does not start, or keeps no key.
    """
    stage = replace(stage, folder=stage.folder / name)
    stage.folder.mkdir()
    with ExitStack() as running:
        regions = running.enter_context(regions_running(stage, tuple(behaviours)))
        for region, behaviour in behaviours.items():
            regions.behave(region, behaviour)
        configuration = stage.folder / "maskgate.yaml"
        configuration.write_text(yaml.safe_dump(_configuration(regions, bounds or {})), encoding="utf-8")
        state = stage.folder / "state"
        started = tuple(
            running.enter_context(
                _gateway(stage, configuration, number, {"MASKGATE_STATE_DIR": str(state), **(environ or {})})
            )
            for number in range(gateways)
        )
        standing = House(stage, regions, started, state)
        running.callback(standing.dismiss)
        standing.warm_up()
        yield standing


@contextmanager
def regions_running(stage: Stage, names: tuple[str, ...]) -> Iterator[Regions]:
    """Run regions of these names until the block ends; they answer at once until they are told how to."""
    control, ports = free_row(1), {name: free_row(1) for name in names}
    command = [sys.executable, "-m", "tests.benchmarks.load_regions", str(control)]
    command += [f"{name}:{port}" for name, port in ports.items()]
    with serving(
        command,
        core=stage.cores.load,
        port=control,
        log=stage.folder / "regions.log",
        environ={**os.environ, "PYTHONPATH": str(ROOT)},
    ):
        yield Regions(names, f"http://{HOST}:{control}", ports)


@contextmanager
def _gateway(stage: Stage, configuration: Path, number: int, environ: Mapping[str, str]) -> Iterator[Gateway]:
    log, port = stage.folder / f"gateway-{number}.log", free_row(1)
    command = [sys.executable, "-m", "gateway.cli.main", "serve", "--config", str(configuration), "--port", str(port)]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MASKGATE_", "PRODIA_"))}
    core = stage.cores.load if number % 2 else stage.cores.gateway  # a second one has to share
    with serving(command, core=core, port=port, log=log, environ={**ours, "PYTHONPATH": str(ROOT), **environ}):
        url = f"http://{HOST}:{port}"
        _opened(urllib.request.Request(f"{url}/readyz")).close()
        kept = Path(environ["MASKGATE_STATE_DIR"]) / "key"
        if not kept.exists():
            raise NotRunnable(f"the gateway keeps no API key: {log.read_text(encoding='utf-8')[-400:]!r}")
        yield Gateway(url, log, kept.read_text(encoding="ascii").strip())


def _configuration(regions: Regions, bounds: Mapping[str, int]) -> dict[str, object]:
    price = {"usd": "0.0011", "unit": "success", "valid_from": "2026-01-01", "source": "benchmark"}
    deployments = [
        {
            "name": name,
            "provider": "prodia",
            "model": "inference.sam3.segment.v1",
            "region": name,
            "endpoint": f"http://{HOST}:{regions.ports[name]}/v2",
            "credential": "benchmark",
            "priority": number,
            "price": price,
            **bounds,
        }
        for number, name in enumerate(regions.names, 1)
    ]
    return {"deployments": deployments, "access": {"keyless_on_loopback": False}}


def _opened(request: urllib.request.Request) -> HTTPResponse:
    """
    Send a request to one of our own processes.

    Raises:
        WrongAnswer: it was not answered with a success.
    """
    try:
        answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
    except OSError as fault:  # `URLError`, or a connection that broke
        raise WrongAnswer(f"{request.get_method()} {request.full_url}: {fault}") from fault
    assert isinstance(answer, HTTPResponse)
    return answer
