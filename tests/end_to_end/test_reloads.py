"""What holds while the configuration changes under load: no request fails, and nothing is left behind."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml

from gateway.reloading import Result
from tests.end_to_end.asking import Caller, on, text
from tests.end_to_end.household import gateway_process
from tests.end_to_end.ledger import assert_books_agree, read_ledger
from tests.end_to_end.reloadable import Reloadable, reloadable
from tests.end_to_end.upstreams import PATIENCE_SECONDS, RUNFLOW, RUNFLOW_MICROUSD, Upstreams, until

CALLERS = 2
#: Connections that stand ready for the next call come and go with chance; a leak would be hundreds of them.
SPARE_FILES = 12
#: Threads that read files are made when one is needed and none is idle, up to a handful.
SPARE_THREADS = 4


@pytest.fixture
def gateway(upstreams: Upstreams, tmp_path: Path) -> Iterator[Reloadable]:
    """Run a gateway that watches its configuration file."""
    with reloadable(upstreams.sandbox, tmp_path / "reloadable") as gateway:
        yield gateway


def question(upstreams: Upstreams, *deployments: str) -> dict[str, Any]:
    """Return a question that is bought anew each time."""
    route = on(*(deployments or RUNFLOW), deadline_seconds=100)
    prompts = [text("left shoe")]
    return {
        "image": {"url": upstreams.scene("shoes").url},
        "prompts": prompts,
        "route": route,
        "cache": {"mode": "skip"},
    }


def named(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a deployment of a configuration."""
    return next(each for each in document["deployments"] if each["name"] == name)


def changed(document: dict[str, Any], round_: int) -> dict[str, Any] | str:
    """Return another configuration for each round: every tenth is broken, the others change all that can change."""
    if round_ % 10 == 9:
        good = orjson.dumps(document).decode()
        return ["deployments: [", good.replace("sam-3", "sam-33"), '{"nonsense": 1}', ""][round_ // 10 % 4]
    document["fetch"]["allow"] = [*document["fetch"]["allow"][:4], f"10.0.0.{1 + round_ % 250}:80"]
    named(document, "runflow-us")["credential"] = f"sandbox-{round_}"
    named(document, "runflow-eu")["weight"] = round_ % 7
    document["limits"] = {"max_in_flight": 100 + round_ % 50, "concurrency": 50 + round_ % 3}
    document["routing"] = {"retry_percent": round_ % 30, "doubt": {"per_request_usd": f"0.{1 + round_ % 8}"}}
    document["reconcile"] = {"every_seconds": 30 + round_ % 5}
    return document


@pytest.mark.parametrize("reloads", [100, pytest.param(1000, marks=pytest.mark.slow)])
async def test_many_reloads_under_load_fail_nobody_and_leave_nothing_behind(
    gateway: Reloadable, upstreams: Upstreams, session: aiohttp.ClientSession, reloads: int
) -> None:
    """Every tenth file is broken and refused; requests succeed throughout, and what was replaced is closed."""
    caller, over = Caller(gateway.url, session, gateway.first_key), asyncio.Event()
    answered: Counter[str] = Counter()

    async def ask() -> None:
        while not over.is_set():
            reply = await caller.segment(question(upstreams))
            assert [("runflow-eu", "succeeded")] == reply.attempts
            answered[reply.body["status"]] += 1

    async def ask_for_a_while() -> None:
        await asyncio.gather(*(caller.segment(question(upstreams)) for _ in range(CALLERS)))

    await ask_for_a_while()
    await gateway.reload()  # the thread that reads files is there from now on
    before, good = await gateway.counted(), gateway.document()
    asking = [asyncio.create_task(ask()) for _ in range(CALLERS)]
    results: Counter[Result] = Counter()
    for round_ in range(reloads):
        gateway.write(changed(good, round_))
        results[(await gateway.reload()).result] += 1
    over.set()
    await asyncio.gather(*asking)
    assert {Result.APPLIED: reloads * 9 // 10, Result.REFUSED: reloads // 10} == results
    assert answered.keys() == {"succeeded"}
    await ask_for_a_while()
    after = await gateway.counted()
    assert before.tasks >= after.tasks
    assert before.threads + SPARE_THREADS >= after.threads
    assert before.files + SPARE_FILES >= after.files
    assert_books_agree(read_ledger(gateway.state), upstreams.books())


async def test_what_is_under_way_ends_with_what_it_began_with(
    gateway: Reloadable, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """A call to a deployment that is taken out ends as if nothing had happened; the next request does not know it."""
    caller = Caller(gateway.url, session, gateway.first_key)
    upstreams.strike("runflow-us", {"kind": "latency", "seconds": 1})
    before = await gateway.services()
    asked = asyncio.create_task(caller.segment(question(upstreams, "runflow-us")))
    await caller.until_in_flight("runflow-us", 1)
    document = gateway.document()
    document["deployments"] = [each for each in document["deployments"] if each["name"] != "runflow-us"]
    document["fetch"]["allow"].append("10.0.0.1:80")  # so that every connection is a new one
    gateway.write(document)
    assert ("deployments", "fetch") == (await gateway.reload()).changed
    refused = await caller.segment(question(upstreams, "runflow-us"), status=422)
    assert "no_deployment" == refused.body["code"]
    assert 0 < before.uses.count
    reply = await asked
    assert ([("runflow-us", "succeeded")], RUNFLOW_MICROUSD) == (reply.attempts, reply.charged)
    await asyncio.to_thread(until, lambda: before.uses.count == 0)
    assert_books_agree(read_ledger(gateway.state), upstreams.books())


async def test_what_a_deployment_has_shown_of_itself_is_kept_unless_it_is_another_one(
    gateway: Reloadable, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """An open breaker stays open when prices change, and begins anew with another credential."""
    caller = Caller(gateway.url, session, gateway.first_key)
    upstreams.strike("runflow-eu", {"kind": "status", "status": 402})
    reply = await caller.segment(question(upstreams))
    assert [("runflow-eu", "denied"), ("runflow-us", "succeeded")] == reply.attempts
    upstreams.reset()
    document = gateway.document()
    named(document, "runflow-us")["markup"] = "2"
    gateway.write(document)
    assert Result.APPLIED is (await gateway.reload()).result
    reply = await caller.segment(question(upstreams))
    assert ([("runflow-us", "succeeded")], 2 * RUNFLOW_MICROUSD) == (reply.attempts, reply.charged)
    named(document, "runflow-eu")["credential"] = "another-account"
    gateway.write(document)
    assert Result.APPLIED is (await gateway.reload()).result
    assert [("runflow-eu", "succeeded")] == (await caller.segment(question(upstreams))).attempts


async def test_bad_file_is_refused_by_line_and_the_old_one_stays(
    gateway: Reloadable, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """The answer, the log and the metrics say what is wrong and where; requests are answered as before."""
    caller = Caller(gateway.url, session, gateway.first_key)
    good = yaml.safe_dump(gateway.document(), sort_keys=False)
    wrong = "model: meta/sam-3/video"
    assert 2 == good.count("model: meta/sam-3/image")
    lines = good.replace("model: meta/sam-3/image", wrong, 1).splitlines()
    gateway.write("\n".join(lines) + "\n")
    line = 1 + next(number for number, each in enumerate(lines) if wrong in each)
    reloaded = await gateway.reload()
    assert (Result.REFUSED, [(line, 10)]) == (
        reloaded.result,
        [(each.line, each.column) for each in reloaded.problems],
    )
    (logged,) = gateway.logged("config_refused")
    assert (str(gateway.file), "deployments[0] (runflow-eu)", line, 10) == (
        logged["file"],
        logged["path"],
        logged["line"],
        logged["column"],
    )
    assert "sam-3/video" in logged["message"]
    assert [("runflow-eu", "succeeded")] == (await caller.segment(question(upstreams))).attempts
    metrics = await caller.metrics()
    assert 1 == metrics['maskgate_config_reloads_total{result="refused"}']
    assert 0 < metrics["maskgate_config_last_success_timestamp_seconds"]


async def test_administrator_reloads_and_hears_what_needs_a_restart(
    gateway: Reloadable, session: aiohttp.ClientSession
) -> None:
    """POST /admin/v1/reload says what has changed, that nothing has, or by name what cannot change."""
    caller, document = Caller(gateway.url, session, gateway.first_key), gateway.document()
    keyed = {"Authorization": f"Bearer {gateway.first_key}"}

    async def reload(status: int) -> dict[str, Any]:
        return (await caller.send("POST", "/admin/v1/reload", status=status, headers=keyed)).body

    document["quotes"] = {"ttl_seconds": 60}
    gateway.write(document)
    assert {"object": "reload", "result": "applied", "changed": ["quotes"]} == await reload(200)
    assert {"object": "reload", "result": "unchanged", "changed": []} == await reload(200)
    document["cache"] = {"max_bytes": 1000}
    document["tenants"] = {"default": {"requests_per_second": 100}}
    gateway.write(document)
    problem = await reload(422)
    assert "line 1, column" in problem["detail"]
    assert "cache.max_bytes: needs a restart" in problem["detail"]
    await caller.send("POST", "/admin/v1/reload", status=401, headers={"Authorization": "Bearer mg_nobody"})


async def test_limits_of_a_tenant_hold_from_the_next_request_on(
    gateway: Reloadable, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """A tenant that is limited anew is refused at once, and is free again when the limit is taken out."""
    caller, document = Caller(gateway.url, session, gateway.first_key), gateway.document()
    keyed = {"Authorization": f"Bearer {gateway.first_key}"}
    gateway.write(document | {"tenants": {"default": {"requests_per_second": "0.001", "burst": 1}}})
    await gateway.reload()
    await caller.segment(question(upstreams), headers=keyed)
    assert "rate_limited" == (await caller.segment(question(upstreams), status=429, headers=keyed)).body["code"]
    gateway.write(document)
    await gateway.reload()
    await caller.segment(question(upstreams), headers=keyed)


async def test_serve_reads_a_changed_file_by_itself_and_on_sighup(
    upstreams: Upstreams, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """A real gateway takes a new file over when it sees it and when it gets SIGHUP; a broken one leaves it as it is."""
    with gateway_process(upstreams.sandbox, tmp_path / "served") as running:
        caller, file = Caller(running.house.url, session, running.house.key), running.house.state / "maskgate.yaml"
        document = yaml.safe_load(file.read_text())

        async def weight(name: str) -> int:
            listed = (await caller.get("/v1/deployments")).body["deployments"]
            return next(each["weight"] for each in listed if each["name"] == name)

        async def until_counted(result: str, count: int) -> None:
            series = f'maskgate_config_reloads_total{{result="{result}"}}'
            async with asyncio.timeout(PATIENCE_SECONDS):
                while count > (await caller.metrics()).get(series, 0):
                    await caller.get("/v1/deployments")

        named(document, "prodia")["weight"] = 7
        file.write_text(yaml.safe_dump(document))
        await until_counted("applied", 1)
        assert 7 == await weight("prodia")
        file.write_text("deployments: {")
        os.kill(running.process.pid, signal.SIGHUP)
        await until_counted("refused", 1)
        assert 7 == await weight("prodia")
        named(document, "prodia")["weight"] = 8
        file.write_text(yaml.safe_dump(document))
        os.kill(running.process.pid, signal.SIGHUP)
        await until_counted("applied", 2)
        assert 8 == await weight("prodia")
        assert running.process.poll() is None


@pytest.mark.slow
async def test_every_process_of_a_gateway_reloads(
    upstreams: Upstreams, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """SIGHUP to the gateway has each of its processes read the new file; none of them is replaced."""
    with gateway_process(upstreams.sandbox, tmp_path / "served", workers=2) as running:
        caller, file = Caller(running.house.url, session, running.house.key), running.house.state / "maskgate.yaml"
        document = yaml.safe_load(file.read_text())

        async def until_all(result: str, count: int) -> None:
            series = f'maskgate_config_reloads_total{{result="{result}"}}'
            async with asyncio.timeout(PATIENCE_SECONDS):
                while count > (await caller.metrics()).get(series, 0):
                    await caller.get("/v1/deployments")

        await until_all("unchanged", 2)  # each has looked once
        children = workers_of(running.process.pid)
        assert 2 == len(children)
        named(document, "prodia")["weight"] = 7
        file.write_text(yaml.safe_dump(document))
        os.kill(running.process.pid, signal.SIGHUP)
        await until_all("applied", 2)
        assert children == workers_of(running.process.pid)


def workers_of(pid: int) -> set[int]:
    """Return the processes that a gateway serves with."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return {each for each in map(int, listed) if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()}
