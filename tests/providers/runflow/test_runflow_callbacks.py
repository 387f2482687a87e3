"""Callbacks: whose they are, and that they do no more than end a pause."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import replace

import pytest
from aiohttp import web

from providers.contract import Notice, Secret
from providers.runflow.callbacks import is_genuine, read_run_id
from providers.runflow.waits import Waits
from tests.providers.runflow.fake_runflow import ATTEMPT, CREATE, RUN, TRUTHS, Scene

# The golden vector: made from the documented rule (the whole secret as the key, the raw body, lower-case hex).
SECRET = Secret("whsec_test_0123456789")
BODY = (
    b'{"event":"run.completed","run_id":"0197aaaa-0000-7000-8000-000000000001","status":"succeeded","output":{"outputs"'
    b':[{"type":"image","url":"https://example.com/m.png"}]},"duration_ms":1234,"created_at":"2026-05-06T10:00:00+00:00'
    b'","completed_at":"2026-05-06T10:01:42+00:00","metadata":null}'
)
SIGNATURE = "84855507bcc10f2f44d1a1a9ced9e48890bf790ff3cc621ecaae2e6bfa0d8c26"
OTHER = Secret("whsec_other_9876543210")
URL = "https://maskgate.example/v1/callbacks/eu"


def signed(body: bytes, secret: Secret = SECRET) -> dict[str, str]:
    """Return the headers that Runflow sends with *body*."""
    digest = hmac.new(secret.reveal().encode(), body, hashlib.sha256).hexdigest()
    return {"runflow-signature": digest, "runflow-request-id": "req_1"}


@pytest.mark.parametrize(
    "header",
    [SIGNATURE, f"sha256={SIGNATURE}", SIGNATURE.upper(), f"{'0' * 64}, {SIGNATURE}", f" sha256={SIGNATURE} ,x"],
)
@pytest.mark.parametrize("secrets", [(SECRET,), (OTHER, SECRET), (SECRET, OTHER)])
def test_golden_vector(header: str, secrets: tuple[Secret, ...]) -> None:
    """The documented signature fits, with a prefix or among others, under any one of the secrets in force."""
    assert 287 == len(BODY)
    assert is_genuine({"runflow-signature": header}, BODY, secrets)


@pytest.mark.parametrize("header", ["", SIGNATURE[:-1], SIGNATURE + "0", "0" * 64, "ü", ",,,", "sha256="])
def test_forged(header: str) -> None:
    """Any other signature, and none, fits under no secret."""
    assert not is_genuine({"runflow-signature": header}, BODY, [SECRET, OTHER])
    assert not is_genuine({}, BODY, [SECRET, OTHER])


def test_changed_body() -> None:
    """One byte of the body changed makes the signature wrong; without a secret none is right."""
    assert not is_genuine({"runflow-signature": SIGNATURE}, BODY.replace(b"1234", b"1235"), [SECRET])
    assert not is_genuine({"runflow-signature": SIGNATURE}, BODY, [])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"{}", b'{"run_id":7}', b'{"run_id":""}', b"\xff"])
def test_no_run(body: bytes) -> None:
    """A body that names no run names none, whatever it is."""
    assert read_run_id(body) is None


async def test_sent_with_the_run(scene: Scene) -> None:
    """A run is told where to call back where there is such an address, and the attempt goes as metadata always."""
    await scene.ask()
    scene.use(callback_url=URL)
    scene.fake.walk = ["succeeded"]
    await scene.ask()
    without, told = [json.loads(body) for _, body in scene.fake.sent("POST", CREATE)]
    assert "callback_url" not in without
    assert URL == told["callback_url"]
    assert {"maskgate_attempt": ATTEMPT} == without["metadata"] == told["metadata"]


async def test_wakes_the_poller(scene: Scene) -> None:
    """A callback ends the pause between two looks, so a run is collected at once however rarely it is looked at."""
    scene.use(callback_url=URL, poll_seconds=60)
    scene.deployment = replace(scene.deployment, callback_secrets=(SECRET,))
    looked = asyncio.Event()

    async def look(_request: web.Request) -> web.Response | None:
        if looked.is_set():
            return None
        looked.set()
        return web.json_response({"id": RUN, "status_code": "running"})

    scene.fake.walk, scene.fake.look = ["succeeded"], look
    asked = asyncio.ensure_future(scene.ask(seconds=600))
    await looked.wait()
    notices = []
    while not asked.done():  # the look's answer is still on its way to the adapter
        notices.append(scene.runflow.notified(scene.deployment, headers=signed(BODY), body=BODY))
        await asyncio.sleep(0.01)
    instances, _, _ = await asked
    assert TRUTHS == [mask for mask, _, _ in instances]
    assert [Notice.WOKEN] == [notice for notice in notices if notice is not Notice.IDLE]
    assert 2 == scene.fake.looks


async def test_polling_is_the_truth(scene: Scene) -> None:
    """A genuine callback that says of a running run that it succeeded is not believed: the run is polled to its end."""
    scene.use(callback_url=URL)
    assert Notice.IDLE is scene.runflow.notified(scene.deployment, headers=signed(BODY), body=BODY)  # early
    instances, _, _ = await scene.ask()
    assert TRUTHS == [mask for mask, _, _ in instances]
    assert 4 == scene.fake.looks
    assert Notice.IDLE is scene.runflow.notified(scene.deployment, headers=signed(BODY), body=BODY)  # late


async def test_without_callbacks(scene: Scene) -> None:
    """A run whose callback never comes is polled to its end."""
    scene.use(callback_url=URL)
    instances, _, _ = await scene.ask()
    assert TRUTHS == [mask for mask, _, _ in instances]


def test_notices(scene: Scene) -> None:
    """With a secret the unsigned is forged; without one it is the same hint; what names no run is unreadable."""
    secured = replace(scene.deployment, callback_secrets=(OTHER, SECRET))
    assert Notice.FORGED is scene.runflow.notified(secured, headers={}, body=BODY)
    assert Notice.FORGED is scene.runflow.notified(secured, headers=signed(BODY, Secret("guess")), body=BODY)
    assert Notice.IDLE is scene.runflow.notified(secured, headers=signed(BODY), body=BODY)
    assert Notice.UNREADABLE is scene.runflow.notified(secured, headers=signed(b"{}"), body=b"{}")
    assert Notice.IDLE is scene.runflow.notified(scene.deployment, headers={}, body=BODY)
    assert Notice.UNREADABLE is scene.runflow.notified(scene.deployment, headers={}, body=b"no JSON")


class Slept(Exception):
    """A pause was slept through."""


async def never(_seconds: float) -> None:
    """Sleep longer than any test."""
    await asyncio.Event().wait()


async def at_once(_seconds: float) -> None:
    """Say that the pause was slept."""
    raise Slept


async def test_word_ends_one_pause() -> None:
    """Word of a run's end shortens the pause that it falls into, and no other."""
    waits = Waits()
    with waits.wait(("eu", RUN)) as wait:
        with pytest.raises(Slept):
            await wait.pause(60, at_once)
        pausing = asyncio.ensure_future(wait.pause(60, never))
        await asyncio.sleep(0)
        assert waits.ended(("eu", RUN))
        assert not waits.ended(("eu", RUN))
        await pausing
        with pytest.raises(Slept):
            await wait.pause(60, at_once)
    assert not waits.ended(("eu", RUN))


async def test_early_word() -> None:
    """Word that came before the wait shortens its first pause; of unknown runs the last ones are remembered."""
    waits = Waits()
    for number in range(3000):
        assert not waits.ended(("eu", str(number)))
    with waits.wait(("eu", "2999")) as wait:
        await wait.pause(60, never)
        with pytest.raises(Slept):
            await wait.pause(60, at_once)
    for unknown in (("eu", "0"), ("us", "2998")):
        with waits.wait(unknown) as wait, pytest.raises(Slept):
            await wait.pause(60, at_once)
