"""One Idempotency-Key over real sockets: one request to the provider, one bill, and the same answer to the byte."""

import asyncio
import json
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.app import create_app
from gateway.serving import running
from gateway.settings import settings_from_yaml
from tests.end_to_end.asking import Caller, on, text
from tests.end_to_end.household import House, configuration, gateway_process, gateway_running
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import RUNFLOW_MICROUSD, Upstreams, until

PATH = "/v1/segmentations"
KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}


def question(upstreams: Upstreams, phrase: str = "left shoe", **wishes: Any) -> dict[str, Any]:
    """Return a question that no cache answers, to one region."""
    return {
        "image": {"url": upstreams.scene("shoes").url},
        "prompts": [text(phrase)],
        "route": on("runflow-eu", **wishes),
        "cache": {"mode": "skip"},
    }


@dataclass(frozen=True, slots=True)
class Bytes:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def replayed(self) -> bool:
        """Whether it was given before."""
        return self.headers.get("Idempotent-Replayed") == "true"

    @property
    def code(self) -> str:
        """The problem's code."""
        return str(json.loads(self.body)["code"])


async def post(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str] = KEY, **options: Any) -> Bytes:
    """Ask for a segmentation under the key."""
    async with session.post(url + PATH, headers=headers, **options) as answer:
        return Bytes(answer.status, answer.headers, await answer.read())


def multipart(picture: bytes, asked: dict[str, Any]) -> aiohttp.FormData:
    """Return the two parts, with a boundary that was never used before."""
    form = aiohttp.FormData()
    form.add_field("image", picture, filename="a.jpg", content_type="image/jpeg")
    form.add_field("request", json.dumps(asked), content_type="application/json")
    return form


async def test_the_same_key_is_billed_once(house: House, upstreams: Upstreams, session: aiohttp.ClientSession) -> None:
    """The second request gets the first one's bytes and cost, and its own request id, and nobody is asked."""
    asked = question(upstreams)
    first = await post(session, house.url, json=asked)
    second = await post(session, house.url, json=asked)
    assert (200, False, True) == (first.status, first.replayed, second.replayed)
    assert first.body == second.body
    for name in ("Content-Type", "Maskgate-Charge-Microusd", "Maskgate-Deployment", "Maskgate-Cache", "Server-Timing"):
        assert first.headers[name] == second.headers[name]
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]
    assert 1 == len(upstreams.books())
    assert_books_agree(house.ledger(), upstreams.books())


async def test_fifty_twins_are_billed_once(house: House, upstreams: Upstreams, session: aiohttp.ClientSession) -> None:
    """Fifty requests at the same time under one key are one call, one charge, and fifty equal answers."""
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 0.5})
    asked = question(upstreams)
    answers = await asyncio.gather(*(post(session, house.url, json=asked) for _ in range(50)))
    assert ({200}, 1) == ({answer.status for answer in answers}, len({answer.body for answer in answers}))
    assert 49 == sum(answer.replayed for answer in answers)
    assert 1 == len(upstreams.books())
    assert_books_agree(house.ledger(), upstreams.books())


async def test_two_gateways_bill_a_key_once(
    upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Twins at two gateways on one ledger are one call, and each of them has the same answer."""
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 0.5})
    with gateway_running(upstreams.sandbox, tmp_path) as here, gateway_running(upstreams.sandbox, tmp_path) as there:
        asked = question(upstreams)
        urls = [here.url, there.url] * 10
        answers = await asyncio.gather(*(post(session, url, json=asked) for url in urls))
        assert ({200}, 1) == ({answer.status for answer in answers}, len({answer.body for answer in answers}))
        assert 1 == len(upstreams.books())
        assert_books_agree(here.ledger(), upstreams.books())


async def test_a_restart_forgets_nothing(upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """A gateway that was stopped and started again gives the same answer to the byte."""
    asked = question(upstreams)
    with gateway_running(upstreams.sandbox, tmp_path) as before:
        first = await post(session, before.url, json=asked)
    with gateway_running(upstreams.sandbox, tmp_path) as after:
        second = await post(session, after.url, json=asked)
    assert (first.body, True) == (second.body, second.replayed)
    assert 1 == len(upstreams.books())


async def test_who_hangs_up_finds_the_answer(
    caller: Caller, house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """A caller whose connection breaks gets, with the same key, what was bought for it."""
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 1})
    asked = question(upstreams)
    leaving = asyncio.create_task(post(session, house.url, json=asked))
    await caller.until_in_flight("runflow-eu", 1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    again = await post(session, house.url, json=asked)
    assert (200, True) == (again.status, again.replayed)
    assert RUNFLOW_MICROUSD == json.loads(again.body)["cost"]["charged_microusd"]
    assert 1 == len(upstreams.books())


async def test_a_failed_attempt_is_the_answer(
    house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Once a provider was asked its failure is kept, so that nothing is asked again under the key."""
    upstreams.strike("runflow-eu", {"kind": "refuse"})
    asked = question(upstreams)
    first = await post(session, house.url, json=asked)
    failed = house.ledger()
    assert failed
    upstreams.reset()
    second = await post(session, house.url, json=asked)
    assert (502, first.body, True) == (second.status, second.body, second.replayed)
    assert (failed, []) == (house.ledger(), upstreams.books())


async def test_a_refused_request_leaves_its_key_free(
    house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """What was refused before any attempt may be corrected and sent again under the same key."""
    asked = question(upstreams)
    wrong = await post(session, house.url, json=asked | {"image": {"url": upstreams.scene("shoes").url + "/none"}})
    assert (422, False) == (wrong.status, wrong.replayed)
    right = await post(session, house.url, json=asked)
    assert (200, False) == (right.status, right.replayed)


async def test_another_request_is_refused(house: House, upstreams: Upstreams, session: aiohttp.ClientSession) -> None:
    """The key of one request answers no other one."""
    await post(session, house.url, json=question(upstreams))
    other = await post(session, house.url, json=question(upstreams, "right shoe"))
    assert (422, "idempotency_conflict") == (other.status, other.code)
    assert "Idempotency-Key" == json.loads(other.body)["field"]
    assert 1 == len(upstreams.books())


async def test_multipart_is_known_again(house: House, upstreams: Upstreams, session: aiohttp.ClientSession) -> None:
    """Another boundary is the same request, and another picture is another one."""
    async with session.get(upstreams.scene("shoes").url) as got:
        picture = await got.read()
    asked = {name: value for name, value in question(upstreams).items() if name != "image"}
    first = await post(session, house.url, data=multipart(picture, asked))
    second = await post(session, house.url, data=multipart(picture, asked))
    assert (200, first.body, True) == (second.status, second.body, second.replayed)
    other = await post(session, house.url, data=multipart(picture + b"\0", asked))
    assert (422, "idempotency_conflict") == (other.status, other.code)


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, '"open'])
async def test_what_is_no_key_is_refused(
    house: House, upstreams: Upstreams, session: aiohttp.ClientSession, key: str
) -> None:
    """The header is named, and nothing is asked."""
    answer = await post(session, house.url, {"Idempotency-Key": key}, json=question(upstreams))
    assert (422, "invalid_request", "Idempotency-Key") == (
        answer.status,
        answer.code,
        json.loads(answer.body)["field"],
    )
    assert [] == upstreams.books()


async def test_a_killed_gateway_is_not_billed_twice(
    upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """After kill -9 with a call in flight, nobody asks again under its key: not during its lease, and not after."""
    upstreams.strike("runflow-eu", {"kind": "lost_answer"})
    asked = question(upstreams, deadline_seconds=4)
    with gateway_process(upstreams.sandbox, tmp_path) as first:
        leaving = asyncio.create_task(post(session, first.house.url, json=asked))
        await asyncio.to_thread(until, lambda: [each.ended for each in first.house.ledger()] == ["open"])
        await asyncio.to_thread(upstreams.books_of, 1)
        first.process.send_signal(signal.SIGKILL)
        assert -signal.SIGKILL == await asyncio.to_thread(first.process.wait)
        with pytest.raises(aiohttp.ClientError):
            await leaving
    upstreams.strike("runflow-eu")
    settings = settings_from_yaml(configuration(upstreams.sandbox), environ={"MASKGATE_STATE_DIR": str(tmp_path)})
    with gateway_running(upstreams.sandbox, tmp_path) as soon:
        waiting = await post(session, soon.url, json=asked)
        assert (409, "1", "idempotency_conflict") == (waiting.status, waiting.headers["Retry-After"], waiting.code)
    with (
        (tmp_path / "later.log").open("w") as log,
        running(lambda: create_app(settings, log_to=log, wall=lambda: time.time() + 120)) as later,
    ):
        answer = await post(session, later, json=asked)
        assert (409, "idempotency_conflict") == (answer.status, answer.code)
        assert "interrupted" in json.loads(answer.body)["detail"]
        fresh = await post(session, later, {"Idempotency-Key": "fresh"}, json=asked)
        assert 200 == fresh.status
    assert 2 == len(upstreams.books())
