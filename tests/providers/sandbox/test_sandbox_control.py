"""The control server, its mistakes included, and the start and the end of a sandbox."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from providers.contract import Money
from providers.sandbox import PortTaken, Sandbox, gateway_config
from providers.sandbox.config import PRODIA_MICROUSD, RUNFLOW_MICROUSD
from providers.sandbox.documented import ADDRESSES
from providers.sandbox.faults import Kind
from providers.workers import ThreadWorkers
from tests.ports import free_row


async def test_upstreams_are_told_with_their_addresses(sandbox: Sandbox, control: Any) -> None:
    """Each upstream has a port of its own, and the same base URL here and over HTTP."""
    told = await control.get("/upstreams")
    assert {name: upstream["base_url"] for name, upstream in told.items()} == dict(sandbox.upstreams)
    assert [(name, upstream["provider"], upstream["region"]) for name, upstream in told.items()] == [
        ("runflow-eu", "runflow", "eu"),
        ("runflow-us", "runflow", "us"),
        ("prodia", "prodia", "global"),
    ]
    assert len({urlsplit(url).port for url in (*sandbox.upstreams.values(), sandbox.control_url)}) == 4
    assert sandbox.upstreams["prodia"].endswith("/v2")
    assert await control.get("/healthz") == {"status": "ok"}


async def test_addresses_follow_the_host_by_which_the_sandbox_was_reached(sandbox: Sandbox, control: Any) -> None:
    """A client that comes by another name of this machine gets addresses under that name."""
    port = urlsplit(sandbox.control_url).port
    async with control.session.get(f"http://localhost:{port}/upstreams") as answer:
        told = await answer.json()
    assert told["runflow-eu"]["base_url"].startswith("http://localhost:")


async def test_faults_are_listed_with_their_fields(control: Any) -> None:
    """All kinds are listed, each with what it is told, where it can be put, and its source or that it is invented."""
    faults = {fault["kind"]: fault for fault in (await control.get("/faults"))["faults"]}
    assert set(faults) == set(Kind)
    assert set(faults["status"]["fields"]) == {"status", "body", "share", "on", "times"}
    assert faults["refuse"]["fields"] == {}
    assert [faults[kind]["billed"] for kind in ("lost_answer", "reset_before", "run_failed")] == [True, False, False]
    assert (faults["stuck"]["upstreams"], faults["parts"]["upstreams"]) == (["runflow-eu", "runflow-us"], ["prodia"])
    assert (faults["stuck"]["source"], faults["run_failed"]["source"][:15]) == ("invented", "docs.runflow.io")
    assert all(fault["means"].endswith(".") and fault["source"] for fault in faults.values())


async def test_requests_are_counted_whatever_became_of_them(control: Any, runflow: Any) -> None:
    """By the name of the call, struck ones too; each upstream has counts of its own, and none is in the books."""
    assert {"requests": {}} == await control.get("/upstreams/runflow-eu/requests")
    await runflow.get("/v1/auth/me")
    await control.strike("runflow-eu", {"kind": "status", "status": 503, "on": "account"})
    await runflow.get("/v1/auth/me", status=503)
    await runflow.get("/v1/readiness", status=503)
    await runflow.get("/v1/no/such/call", status=404)
    counted = {"account.me": 2, "account.readiness": 1, "unknown": 1}
    assert {"requests": counted} == await control.get("/upstreams/runflow-eu/requests")
    assert {"requests": {}} == await control.get("/upstreams/runflow-us/requests")
    assert [] == await control.books()


async def test_a_fault_can_be_read_back(control: Any) -> None:
    """What was put is what is on, with its defaults, and healing leaves nothing."""
    await control.strike("prodia", {"kind": "latency", "seconds": 2, "share": 0.25})
    on = {"kind": "latency", "on": "job", "share": 0.25, "seconds": 2}
    assert await control.get("/upstreams/prodia/fault") == {"upstream": "prodia", "faults": [on]}
    await control.strike("runflow-eu", {"kind": "bad_png"})
    assert (await control.get("/upstreams/runflow-eu/fault"))["faults"][0]["on"] == "download"
    await control.heal("prodia")
    assert (await control.get("/upstreams/prodia/fault"))["faults"] == []


@pytest.mark.parametrize(
    ("path", "value", "status", "word"),
    [
        ("/upstreams/none/fault", {"kind": "refuse"}, 404, "runflow-eu"),
        ("/upstreams/prodia/fault", {"kind": "nonsense"}, 422, "kind: one of status"),
        ("/upstreams/prodia/fault", "status", 422, "a fault is an object"),
        ("/upstreams/prodia/fault", {"kind": "status"}, 422, "status: required"),
        ("/upstreams/prodia/fault", {"kind": "status", "status": 200}, 422, "300 to 599"),
        ("/upstreams/prodia/fault", {"kind": "status", "status": 500, "body": 3}, 422, "body: a string"),
        ("/upstreams/prodia/fault", {"kind": "status", "status": 500, "seconds": 3}, 422, "no such field"),
        ("/upstreams/prodia/fault", {"kind": "latency", "seconds": -1}, 422, "seconds: a number"),
        ("/upstreams/prodia/fault", {"kind": "latency", "seconds": True}, 422, "seconds: a number"),
        ("/upstreams/prodia/fault", {"kind": "drip", "bytes_per_second": 0}, 422, "a whole number"),
        ("/upstreams/prodia/fault", {"kind": "lost_answer", "share": 2}, 422, "share: a number"),
        ("/upstreams/prodia/fault", {"kind": "lost_answer", "on": "create"}, 422, "on: one of job"),
        ("/upstreams/prodia/fault", {"kind": "refuse", "share": 0.5}, 422, "leave them out"),
        ("/upstreams/prodia/fault", {"kind": "throttle", "retry_after": "soon"}, 422, "an HTTP date"),
        ("/upstreams/prodia/fault", {"kind": "throttle", "form": "x"}, 422, "seconds"),
        ("/upstreams/runflow-us/fault", {"kind": "bad_multipart"}, 422, "multipart"),
        ("/upstreams/prodia/variant", {"variant": "a"}, 422, "no variants"),
        ("/upstreams/runflow-us/variant", {"variant": "e"}, 422, "a, b, c or d"),
        ("/upstreams/runflow-us/variant", {"form": "e"}, 422, "variant"),
    ],
)
async def test_bad_control_input_says_what_is_wrong(
    path: str, value: Any, status: int, word: str, control: Any
) -> None:
    """A control call that cannot be carried out is a 4xx with the field and the remedy, and changes nothing."""
    assert word in (await control.put(path, value, status=status))["error"]
    assert (await control.get("/upstreams/prodia/fault"))["faults"] == []


async def test_other_bad_control_calls_are_json_too(control: Any) -> None:
    """Broken JSON, unknown routes, scenes and filters are 4xx with a sentence."""
    async with control.session.put(f"{control.url}/upstreams/prodia/fault", data=b"{") as answer:
        assert (answer.status, "not JSON" in (await answer.json())["error"]) == (400, True)
    for path, status in (("/x", 404), ("/scenes/x.png", 404), ("/books?since=1", 422), ("/books?answered=1", 422)):
        async with control.session.get(control.url + path) as answer:
            assert (answer.status, set(await answer.json())) == (status, {"error"})


async def test_the_books_are_filtered_and_emptied(control: Any, runflow: Any, prodia: Any) -> None:
    """The books answer for one upstream, one reference or one outcome, and can be begun anew."""
    scene = await control.scene("desk")
    await runflow.run(scene["image_url"], prompt="pen", client_ref="a")
    await runflow.run(scene["image_url"], prompt="pen", client_ref="b")
    await prodia.segment(await control.picture("desk"), "pen")
    counts = [
        len((await control.get("/books" + query))["calls"])
        for query in ("", "?upstream=prodia", "?client_ref=b", "?answered=true", "?answered=false")
    ]
    assert counts == [3, 1, 1, 3, 0]
    async with control.session.delete(control.url + "/books") as answer:
        assert await answer.json() == {"calls": []}
    assert await control.books() == []


async def test_fixed_ports_follow_each_other_and_a_taken_one_is_named(workers: ThreadWorkers) -> None:
    """On port P the upstreams are on the next three, and a taken one among them ends the start by its name."""
    port = free_row(6) + 2
    sandbox = await Sandbox.start(workers=workers, port=port)
    try:
        ports = [urlsplit(url).port for url in (sandbox.control_url, *sandbox.upstreams.values())]
        assert ports == [port, port + 1, port + 2, port + 3]
        with pytest.raises(PortTaken, match=f"port {port} \\(runflow-us\\) is taken"):
            await Sandbox.start(workers=workers, port=port - 2)
    finally:
        await sandbox.stop()
    again = await Sandbox.start(workers=workers, port=port)
    await again.stop()


async def test_a_stopped_sandbox_leaves_neither_ports_nor_calls_behind(workers: ThreadWorkers) -> None:
    """Stopping ends a call that is kept waiting, and closes every port."""
    sandbox = await Sandbox.start(workers=workers)
    async with aiohttp.ClientSession() as client:
        fault = {"kind": "latency", "seconds": 3600, "on": "any"}
        await client.put(f"{sandbox.control_url}/upstreams/prodia/fault", json=fault)
        waiting = asyncio.ensure_future(client.post(sandbox.upstreams["prodia"] + "/job"))
        await asyncio.sleep(0.02)
        await sandbox.stop()
        with pytest.raises(aiohttp.ClientError):
            await waiting
        for url in (sandbox.control_url, *sandbox.upstreams.values()):
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.get(url)


def test_the_printed_configuration_names_exactly_its_own_addresses() -> None:
    """The YAML parses, prices equal the books', and the allow-list is the four ports and nothing else."""
    told = yaml.safe_load(gateway_config("127.0.0.1", 9100))
    rows = {row["name"]: row for row in told["deployments"]}
    assert list(rows) == ["runflow-eu", "runflow-us", "prodia", "local-classic"]
    assert [rows[name].get("endpoint") for name in rows] == [
        "http://127.0.0.1:9101",
        "http://127.0.0.1:9102",
        "http://127.0.0.1:9103/v2",
        None,
    ]
    assert [row["priority"] for row in rows.values()] == [1, 2, 3, 9]
    assert [Money.from_usd(row["price"]["usd"]).microusd for row in rows.values()] == [
        RUNFLOW_MICROUSD,
        RUNFLOW_MICROUSD,
        PRODIA_MICROUSD,
        0,
    ]
    assert {
        "allow": [],
        "allow_pictures": ["127.0.0.1:9100"],
        "allow_masks": ["127.0.0.1:9101", "127.0.0.1:9102"],
        "instead": {url: f"http://127.0.0.1:9100/scenes/{name}" for url, name in ADDRESSES.items()},
    } == told["fetch"]
    assert "instead" not in yaml.safe_load(gateway_config("10.0.0.7", 9100))["fetch"]


@pytest.mark.parametrize("port", [0, -1, 65_533])
def test_a_configuration_needs_fixed_ports(port: int) -> None:
    """Port 0, and a port that leaves no room for the upstreams, are refused."""
    with pytest.raises(ValueError, match="port"):
        gateway_config("127.0.0.1", port)
