"""Usage and the ledger's entries through the client, over a real gateway."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.client import Client, LedgerFilter, Options, Problem
from gateway.client import client as client_module
from providers.contract import Money, TextPrompt
from tests.gateway.house import House


@pytest.fixture
async def gateway(house: House) -> AsyncIterator[Client]:
    """Return a client of the running gateway."""
    async with Client(house.url, house.key) as client:
        yield client


async def spend(gateway: Client, house: House, batch: str) -> list[str]:
    """Buy an answer of each of two deployments under a tag; return the ids of the answers."""
    answers = []
    for deployment in ("prodia", "runflow-eu"):
        options = Options(deployments=[deployment], cache="skip", tags={"batch": batch})
        answers.append(await gateway.segment(house.picture("desk"), [TextPrompt("mug")], options=options))
    return [answer.document["id"] for answer in answers]


async def test_the_entries_of_a_tag_come_in_their_order(gateway: Client, house: House) -> None:
    """Each attempt is reserved and settled; what is settled is what usage adds up."""
    first, second = await spend(gateway, house, "entries")
    wanted = LedgerFilter(tags=("batch:entries",))
    entries = [entry async for entry in gateway.ledger(wanted, oldest_first=True)]
    assert [
        ("reserve", "prodia", first),
        ("settle", "prodia", first),
        ("reserve", "runflow-eu", second),
        ("settle", "runflow-eu", second),
    ] == [(entry.kind, entry.deployment, entry.request_id) for entry in entries]
    assert [Money(1100), Money(5000)] == [entry.amount for entry in entries if entry.kind == "settle"]
    assert Money(6100) == (await gateway.usage(tags=["batch:entries"])).total.charged
    assert {"entries"} == {entry.tags["batch"] for entry in entries}


async def test_pages_are_one_to_their_reader(gateway: Client, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports and entries that come in pages of one are what they are in one piece."""
    await spend(gateway, house, "pages")
    wanted = LedgerFilter(tags=("batch:pages",))
    report = await gateway.usage(by="deployment,day", tags=["batch:pages"])
    entries = [entry async for entry in gateway.ledger(wanted)]
    monkeypatch.setattr(client_module, "USAGE_LINES", "1")
    monkeypatch.setattr(client_module, "LEDGER_ENTRIES", "1")
    assert (2, report) == (len(report.lines), await gateway.usage(by="deployment,day", tags=["batch:pages"]))
    assert (4, entries) == (len(entries), [entry async for entry in gateway.ledger(wanted)])


@pytest.mark.parametrize(("path", "lines"), [("usage?by=deployment&", 2), ("ledger?", 4)])
async def test_csv_comes_in_one_stream(gateway: Client, house: House, path: str, lines: int) -> None:
    """Under one header, with no shared cache allowed to keep it."""
    await spend(gateway, house, f"csv{lines}")
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {house.key}"}) as session:
        answer = await session.get(f"{house.url}/v1/{path}format=csv&tag=batch:csv{lines}")
        text, headers = await answer.text(), answer.headers
    assert lines == len(list(csv.DictReader(io.StringIO(text))))
    assert ("text/csv; charset=utf-8", "private, no-store") == (headers["Content-Type"], headers["Cache-Control"])


async def test_what_cannot_be_listed_is_a_problem(gateway: Client) -> None:
    """The gateway names the parameter."""
    with pytest.raises(Problem, match="no kind 'gift'") as caught:
        _ = [entry async for entry in gateway.ledger(LedgerFilter(kind="gift"))]
    assert ("invalid_request", "kind") == (caught.value.code, caught.value.field)
