"""
What holds for every fault of the table: the stated result, and books and ledger that agree.

One struck deployment comes first, a healthy one second. Both are the sandbox's, over sockets.
"""

import asyncio
import base64
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import yaml

from gateway.app import create_app, sandbox_config
from gateway.serving import running
from gateway.settings import settings_from_yaml
from tests.end_to_end.asking import Caller, Reply, on, text
from tests.end_to_end.bends import bad_crc, form
from tests.end_to_end.crooked import Crooked
from tests.end_to_end.fault_table import (
    ABSENT,
    CASES,
    GROUPS,
    LOCAL,
    LOOKED_UP,
    PRODIA,
    RUNS,
    SHAPES,
    SYNC,
    Bent,
    Case,
    Knob,
    Place,
    Row,
    Shown,
    Then,
)
from tests.end_to_end.household import House, assert_nothing_broke
from tests.end_to_end.ledger import Account, assert_books_agree
from tests.end_to_end.masks import bitmap_of, iou
from tests.end_to_end.upstreams import PATIENCE_SECONDS, PRODIA_MICROUSD, RUNFLOW_MICROUSD, Billed, Upstreams, until
from tests.tiers import sampled

STRUCK = {RUNS: "runflow-eu", SYNC: "runflow-eu", PRODIA: "prodia", LOCAL: "local-classic"}
HEALTHY = {RUNS: "runflow-us", SYNC: "runflow-us", PRODIA: "runflow-us", LOCAL: "runflow-us"}
STATUS = {Then.NEXT: 200, Then.SERVED: 200, Then.REFUSED: 422, Then.LATE: 504}
MOST_MASKS = 32


def _chosen_first() -> list[Case]:
    """Return the cases so that the first of a group, which `make test` runs, is now of one shape, now of another."""
    return sorted(CASES, key=lambda case: SHAPES[case.row.group % len(SHAPES)] != case.shape)


def test_every_group_of_every_shape_is_in_the_table() -> None:
    """Each of the 28 x 4 cells has rows, or a reason why it cannot have any; and there are the promised 110 cases."""
    told = {(case.row.group, case.shape) for case in CASES}
    cells = {(group, shape) for group in GROUPS for shape in SHAPES}
    assert cells == told | ABSENT.keys()
    assert set() == told & ABSENT.keys()
    assert all(ABSENT.values())
    assert [] == [name for name, count in Counter(case.name for case in CASES).items() if count > 1]
    assert len(CASES) >= 110


@pytest.mark.parametrize("case", sampled(_chosen_first(), lambda case: case.row.group), ids=lambda case: case.name)
async def test_fault(case: Case, upstreams: Upstreams, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """The fault comes to what the table states, for the caller, the deployment and the money."""
    row, struck, healthy = case.row, STRUCK[case.shape], HEALTHY[case.shape]
    async with struck_house(case, upstreams, tmp_path) as house:
        caller = Caller(house.url, session, house.key)
        if row.twice:
            upstreams.strike(struck)
            before = await caller.segment(question(upstreams, row, "right shoe", struck, healthy))
            assert [(struck, "succeeded")] == before.attempts
            assert isinstance(row.fault, Knob)
            upstreams.strike(struck, row.fault.told)
        reply = await caller.segment(question(upstreams, row, row.asked, struck, healthy), status=STATUS[row.then])
        next_one = [(healthy, "succeeded")] if row.then is Then.NEXT else []
        assert [(struck, row.outcome), *next_one] == reply.attempts
        assert row.said in reply.body["attempts"][0].get("message", "")
        assert_shown(reply, row, upstreams)
        await assert_rests(caller, case.shape, row)
        books = upstreams.books_of(row.billed + len(next_one) + row.twice)
        accounts = house.ledger()[row.twice :]
    assert [case.ledger, *["settle"] * len(next_one)] == [account.ended for account in accounts]
    assert row.billed + row.twice == len([call for call in books if call.upstream == struck])
    assert len(books) == row.billed + len(next_one) + row.twice
    assert_told(accounts[0], row)
    assert (accounts[0].amount if case.ledger == "hold" else 0) == reply.body["attempts"][0].get("held_microusd", 0)
    assert_books_agree(*told_apart(house.ledger(), books, row, case.shape))
    if case in LOOKED_UP:
        await assert_cleared_up(case, upstreams, tmp_path, session)


async def assert_cleared_up(case: Case, upstreams: Upstreams, state: Path, session: aiohttp.ClientSession) -> None:
    """
    Demand that a gateway which starts later, the fault gone, finds out what the held call cost, if anybody can.

    Where the deployment has another endpoint by then, nothing is released: that place knows nothing of the other one.
    """
    upstreams.strike(STRUCK[case.shape])
    document = plain(case, upstreams)
    document["reconcile"] = {"every_seconds": 0.05, "first_seconds": 0.0, "absent_seconds": 0.2}
    with house_of(document, state) as house:
        known = case.shape == RUNS and (case.row.billed or not isinstance(case.row.fault, Bent))
        if known:
            until(lambda: "hold" not in {account.ended for account in house.ledger()})
        else:
            await until_asked(Caller(house.url, session, house.key), STRUCK[case.shape])
        account = house.ledger()[case.row.twice]
    ended = "settle" if case.row.billed else "release"
    assert (ended if known else "hold") == account.ended
    assert_books_agree(*told_apart(house.ledger(), upstreams.books(), case.row, case.shape))


async def until_asked(caller: Caller, deployment: str) -> None:
    """Return as soon as a deployment has been asked about a held call, and could not tell."""
    series = f'maskgate_reconciliations_total{{deployment="{deployment}",result="unknown"}}'
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if (await caller.metrics()).get(series):
                return


def assert_shown(reply: Reply, row: Row, upstreams: Upstreams) -> None:
    """Demand the masks that the row states, or the refusal."""
    if row.then in {Then.REFUSED, Then.LATE}:
        refused = "invalid_image" if LOCAL in row.shapes else "invalid_request"
        assert {Then.REFUSED: refused, Then.LATE: "deadline_exceeded"}[row.then] == reply.body["code"]
        return
    masks = [bitmap_of(each["mask"]) for each in reply.body["instances"]]
    (truth,) = upstreams.scene("shoes").named("left shoe")
    match row.shown:
        case Shown.TRUE:
            assert [1.0] == [iou(mask, truth.bitmap) for mask in masks]
        case Shown.NOTHING:
            assert [] == masks
        case Shown.EVERYTHING:
            assert [True] == [bool(mask.all()) for mask in masks]
        case Shown.MOST:
            assert most(row) == len(masks)
    warnings = [warning for each in reply.body["answers"] for warning in each.get("warnings", [])]
    warnings += reply.body.get("warnings", [])
    assert row.warned == "" or any(row.warned in str(warning) for warning in warnings), warnings


async def assert_rests(caller: Caller, shape: str, row: Row) -> None:
    """Demand that the struck deployment is left alone for as long as stated; denials and price drifts are counted."""
    struck = STRUCK[shape]
    listed = (await caller.get("/v1/deployments")).body["deployments"]
    health = next(each for each in listed if each["name"] == struck)["health"]
    if row.rests is None:
        assert ("closed", None) == (health["state"], health["reason"])
    else:
        least, longest = row.rests
        assert health["state"] == "open" or least == 0
        assert least <= health["retry_after_seconds"] <= longest
        assert health["reason"]
    metrics = await caller.metrics()
    assert float(row.outcome == "denied") == metrics.get(
        f'maskgate_upstream_denied_total{{deployment="{struck}"}}', 0.0
    )
    if row.told is not None:
        drift = abs(row.told - {RUNS: RUNFLOW_MICROUSD, PRODIA: PRODIA_MICROUSD}[shape])
        assert drift == metrics[f'maskgate_price_drift_micros_total{{deployment="{struck}"}}']


def assert_told(account: Account, row: Row) -> None:
    """Demand that a price which the provider names is what it is owed, and that the charge stays within the reserve."""
    if row.told is not None:
        assert (row.told, min(row.told, account.reserved)) == (account.cost, account.amount)


def told_apart(
    accounts: list[Account], books: list[Billed], row: Row, shape: str
) -> tuple[list[Account], list[Billed]]:
    """
    Return ledger and books as they stand where a provider bills what it names, and names the call.

    A synchronous call of Runflow carries no reference of ours, and its answer has no id; there is but one of them.
    """
    struck = STRUCK[shape]
    if shape == SYNC:
        ours = next(each.attempt_id for each in accounts if each.deployment == struck)
        books = [replace(call, client_ref=call.client_ref or ours) for call in books]
        names = {call.client_ref: call.id for call in books}
        accounts = [replace(each, upstream_ref=each.upstream_ref or names.get(each.attempt_id)) for each in accounts]
    if row.unnamed:
        (call,) = books
        accounts = [replace(each, upstream_ref=each.upstream_ref or call.id) for each in accounts]
    if row.told is None:
        return accounts, books
    return (
        [replace(each, amount=each.cost) if each.deployment == struck else each for each in accounts],
        [replace(call, microusd=row.told) if call.upstream == struck else call for call in books],
    )


def most(row: Row) -> int:
    """Return the most masks that the row's question asks for."""
    return 3 if row.asked == "everything" else MOST_MASKS


def question(upstreams: Upstreams, row: Row, asked: str, *deployments: str) -> dict[str, Any]:
    """Return the question to those deployments, in that order; what only the local engine is asked goes to it alone."""
    body: dict[str, Any] = {
        "image": {"url": upstreams.scene("shoes").url},
        "prompts": [text(asked)],
        "max_masks": most(row),
        "route": on(*deployments, deadline_seconds=row.deadline_seconds),
        "cache": {"mode": "skip"},
    }
    if asked in LOCAL_QUESTIONS:
        picture, prompt = LOCAL_QUESTIONS[asked](upstreams)
        body["image"] = {"data": base64.b64encode(picture).decode()}
        body["prompts"] = [prompt]
        body["route"]["deployments"] = [STRUCK[LOCAL]]
    return body


def _large(_: Upstreams) -> tuple[bytes, dict[str, Any]]:
    """Return a picture that takes longer to be read than the question allows, and the question for all there is."""
    stripes = np.arange(6500).astype(np.uint8)[:, None] * np.ones((1, 6500), np.uint8)
    return form("PNG", "RGB", compress_level=1)(stripes), {"kind": "automatic"}


def _damaged(upstreams: Upstreams) -> tuple[bytes, dict[str, Any]]:
    """Return a picture whose head and end are whole and whose pixels are not, and a question about it."""
    levels = upstreams.scene("shapes").things[0].bitmap * np.uint8(255)
    return bad_crc(levels), {"kind": "automatic"}


def _everything(upstreams: Upstreams) -> tuple[bytes, dict[str, Any]]:
    """Return a picture of six things, and the question for all there is."""
    return upstreams.picture("shapes"), {"kind": "automatic"}


LOCAL_QUESTIONS = {"large picture": _large, "damaged picture": _damaged, "everything": _everything}


@asynccontextmanager
async def struck_house(case: Case, upstreams: Upstreams, state: Path) -> AsyncIterator[House]:
    """Run a new gateway whose first deployment has the fault."""
    fault, struck = case.row.fault, STRUCK[case.shape]
    document = plain(case, upstreams)
    deployment = next(each for each in document["deployments"] if each["name"] == struck)
    home = deployment.get("endpoint", "")
    if isinstance(fault, Knob):
        upstreams.strike(struck, fault.told)
    match fault:
        case Bent():
            origin = "/".join(home.split("/")[:3])
            async with Crooked(origin, fault.twist(case.shape)).open() as port:
                deployment["endpoint"] = home.replace(origin, f"http://127.0.0.1:{port}")
                document["fetch"]["allow"].append(f"127.0.0.1:{port}")
                with house_of(document, state) as house:
                    yield house
            return
        case Place("tls"):
            deployment["endpoint"] = home.replace("http:", "https:")
        case Place():
            with blackhole() as port:
                deployment["endpoint"] = f"http://127.0.0.1:{port}"
                with house_of(document, state) as house:
                    yield house
            return
    with house_of(document, state) as house:
        yield house


def plain(case: Case, upstreams: Upstreams) -> dict[str, Any]:
    """Return a configuration without the fault: the deployment to be struck comes first, and holds are left alone."""
    document = yaml.safe_load(sandbox_config(upstreams.sandbox.host, upstreams.sandbox.port))
    deployment = next(each for each in document["deployments"] if each["name"] == STRUCK[case.shape])
    deployment["priority"] = 0
    if case.shape == SYNC:
        deployment["options"] = {**deployment["options"], "generation": 2}
    return {**document, "reconcile": {"first_seconds": 3600}}


@contextmanager
def house_of(document: dict[str, Any], state: Path) -> Iterator[House]:
    """Run a gateway of that configuration while the block lasts."""
    settings = settings_from_yaml(yaml.safe_dump(document), environ={"MASKGATE_STATE_DIR": str(state)})
    with (
        (state / "gateway.log").open("a", encoding="utf-8") as log,
        running(lambda: create_app(settings, log_to=log, show=lambda _: None)) as url,
    ):
        yield House(url, state)
    assert_nothing_broke(state)


@contextmanager
def blackhole() -> Iterator[int]:
    """Hold a port that takes no connection and refuses none: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(listener.getsockname())
            yield listener.getsockname()[1]
        finally:
            for each in waiting:
                each.close()
