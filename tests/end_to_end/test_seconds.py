"""A price by the second reserves what its deployment declares, and is weighed by what its calls take."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.asking import Caller
from tests.end_to_end.money_house import Here, Office, deployment, gateway_here
from tests.end_to_end.upstreams import RUNFLOW_MICROUSD, Upstreams

Make = Callable[[str, float], Here]


@pytest.fixture
def make(upstreams: Upstreams, tmp_path: Path) -> Iterator[Make]:
    """Return what runs a gateway whose local model has a price by the second, and declares its longest call."""
    with ExitStack() as stack:

        def made(usd: str, longest_seconds: float) -> Here:
            def amend(document: dict[str, Any]) -> None:
                local = deployment(document, "local-classic")
                local["price"] = {"usd": usd, "unit": "second", "valid_from": "2026-01-01", "source": "the meter"}
                local |= {"longest_seconds": longest_seconds, "last_resort": False}

            return stack.enter_context(gateway_here(upstreams.sandbox, tmp_path, amend=amend))

        yield made


def boxed(upstreams: Upstreams, **route: Any) -> dict[str, Any]:
    """Return a request that Runflow and the local model can answer."""
    scene = upstreams.scene("shoes")
    prompt = {"kind": "object", "box": scene.named("carton")[0].box}
    return {"image": {"url": scene.url}, "prompts": [prompt], "route": {"strategy": "cheapest", **route}}


async def test_it_is_the_cheapest_and_passes_a_ceiling_of_what_it_declares(
    make: Make, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """At $0.001 a second and one second at most it is asked before Runflow at $0.005, for a tenth of a cent at most."""
    here = make("0.001", 1.0)
    _, key = await Office(here, session).key()
    caller = Caller(here.url, session)
    quote = await caller.send("POST", "/v1/quotes", status=200, json=boxed(upstreams), headers=key)
    [quoted] = quote.body["questions"]
    assert ("local-classic", 1000) == (
        quoted["candidates"][0]["deployment"],
        quoted["candidates"][0]["most_microusd"],
    )
    reply = await caller.segment(boxed(upstreams, max_charge_usd="0.001"), headers=key)
    assert [("local-classic", "succeeded")] == reply.attempts
    assert 0 < reply.charged <= 1000 < RUNFLOW_MICROUSD


@pytest.mark.parametrize("quoted", [False, True])
async def test_a_call_beyond_what_is_declared_is_capped_and_counted(
    make: Make, upstreams: Upstreams, session: aiohttp.ClientSession, *, quoted: bool
) -> None:
    """The tenant pays what was reserved, and a metric has what the operator bears."""
    here = make("10", 0.0001)
    office = Office(here, session)
    _, key = await office.key()
    caller = Caller(here.url, session)
    body = boxed(upstreams, deployments=["local-classic"])
    if quoted:
        quote = await caller.send("POST", "/v1/quotes", status=200, json=body, headers=key)
        body["quote_id"] = quote.body["quote_id"]
    reply = await caller.segment(body, headers=key)
    assert 1000 == reply.charged
    entries = (await caller.get("/v1/ledger", headers=key)).body["entries"]
    [settled] = [each for each in entries if each["kind"] == "settle"]
    lines = (await caller.text("/metrics", headers=here.admin)).splitlines()
    [counted] = [
        line for line in lines if line.startswith('maskgate_uncharged_micros_total{deployment="local-classic"}')
    ]
    uncharged = float(counted.split()[-1])
    assert settled["cost_microusd"] - settled["amount_microusd"] == uncharged > 0
