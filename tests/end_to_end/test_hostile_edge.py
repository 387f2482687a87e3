"""An honest caller is answered while strangers do what they can to stop the gateway."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.sandboxed import RunningSandbox
from tests.end_to_end import hostile
from tests.end_to_end.household import Process, gateway_process
from tests.end_to_end.loop_monitor import sandbox_process

#: How long each attack goes on, in seconds; `make soak` takes more.
SECONDS = float(os.environ.get("MASKGATE_HOSTILE_SECONDS", "2"))
A_SECOND = 20
PLACES = 32
GROWTH_BYTES = 300 * 2**20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Attack = Callable[[tuple[str, int], str, threading.Event], int]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    """A sandbox in a process of its own."""
    with sandbox_process() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def gateway(sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A gateway in a process of its own, with few places."""
    state = tmp_path_factory.mktemp("state")
    with gateway_process(sandbox, state, changes={"limits": {"max_in_flight": PLACES}}) as gateway:
        yield gateway


@pytest.fixture
async def session(gateway: Process) -> AsyncIterator[aiohttp.ClientSession]:
    """A session of the honest caller, with its key."""
    key = gateway.house.key
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        yield session


async def honest(session: aiohttp.ClientSession, url: str, body: object, seconds: float) -> list[float]:
    """Ask twenty times a second for so long, whoever is slow; return what each answer took, in rising order."""
    took: list[float] = []

    async def ask(method: str, path: str, **options: object) -> None:
        started = time.monotonic()
        async with session.request(method, url + path, **options) as answer:  # type: ignore[arg-type]
            assert answer.status == 200, await answer.text()
            await answer.read()
        took.append(time.monotonic() - started)

    async with asyncio.TaskGroup() as asking:
        for number in range(round(seconds * A_SECOND)):
            if number % 2:
                asking.create_task(ask("GET", "/healthz"))
            else:
                asking.create_task(ask("POST", "/v1/segmentations", json=body))
            await asyncio.sleep(1 / A_SECOND)
    return sorted(took)


def long_heads(address: tuple[str, int], _key: str, stop: threading.Event) -> int:
    """H1."""
    return hostile.send_again_and_again(address, hostile.of_long_heads(), stop)


def semicolons(address: tuple[str, int], key: str, stop: threading.Event) -> int:
    """H2."""
    return hostile.send_again_and_again(address, hostile.of_semicolons(key), stop)


def much_json(address: tuple[str, int], key: str, stop: threading.Event) -> int:
    """H3."""
    return hostile.send_again_and_again(address, hostile.of_much_json(key), stop)


def silence(address: tuple[str, int], _key: str, stop: threading.Event) -> int:
    """H4: more of each kind than there are places."""
    return hostile.keep_open(address, [start for start in hostile.SILENT for _ in range(PLACES + 8)], stop)


ATTACKS: dict[str, Attack] = {
    "long heads": long_heads,
    "semicolons": semicolons,
    "much JSON": much_json,
    "silence": silence,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
async def test_strangers_do_not_stop_an_honest_caller(
    gateway: Process, sandbox: RunningSandbox, session: aiohttp.ClientSession, name: str
) -> None:
    """Every one of its requests is answered, and the gateway's memory stays bounded."""
    async with session.get(f"{sandbox.control_url}/scenes") as answer:
        scene = (await answer.json())["scenes"][0]
    body = {
        "image": {"url": scene["image_url"]},
        "prompts": [{"kind": "object", "box": scene["objects"][0]["box"]}],
        "route": {"deployments": ["local-classic"]},
    }
    url = gateway.house.url
    quiet = await honest(session, url, body, SECONDS / 2)
    host, port = url.removeprefix("http://").split(":")
    before, stop = memory(gateway), threading.Event()
    key = f"Authorization: Bearer {gateway.house.key}"
    attacking = asyncio.create_task(asyncio.to_thread(ATTACKS[name], (host, int(port)), key, stop))
    try:
        took = await honest(session, url, body, SECONDS)
    finally:
        stop.set()
        sent = await attacking
    grown = memory(gateway) - before
    sys.stdout.write(
        f"{name}: {sent} sent; of {len(took)} p50 {at(took, 50):.1f}, p99 {at(took, 99):.1f} ms, "
        f"quiet {at(quiet, 50):.1f} and {at(quiet, 99):.1f} ms; memory grown by {grown / 2**20:.1f} MB\n"
    )
    assert sent > 0
    assert grown < GROWTH_BYTES


def at(took: list[float], percent: int) -> float:
    """Return a percentile, in milliseconds."""
    return took[min(len(took) - 1, len(took) * percent // 100)] * 1000


def memory(gateway: Process) -> int:
    """Return the resident bytes of the serving process."""
    with Path(f"/proc/{gateway.process.pid}/statm").open() as statm:
        return int(statm.read().split()[1]) * PAGE_BYTES
