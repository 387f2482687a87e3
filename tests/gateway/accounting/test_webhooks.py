"""Webhooks, sent to a real socket."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator

import pytest

from gateway.accounting.webhooks import PAUSES, Delivery, Message, Webhook, signed, signing_keys
from providers.transport import HttpUpstream
from tests.gateway.accounting.receiver import Received, Receiver

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLD_SECRET = "whsec_" + base64.b64encode(bytes(range(24, 64))).decode()
MESSAGE = Message("evt_1", b'{"type":"budget.passed",  "data":{}}')


class Waits:
    """A sleep that takes no time and remembers, and the word that every delivery is ours."""

    def __init__(self) -> None:
        """Begin with no pauses."""
        self.pauses: list[float] = []
        self.announced: list[float] = []

    async def __call__(self, seconds: float, /) -> None:
        """Do not wait."""
        self.pauses.append(seconds)

    async def ours(self, seconds: float) -> bool:
        """Say that the delivery is ours."""
        self.announced.append(seconds)
        return True


@pytest.fixture
async def upstream() -> AsyncIterator[HttpUpstream]:
    """What calls configured endpoints."""
    opened = HttpUpstream(time.monotonic)
    yield opened
    await opened.close()


def sent(received: Received, secret: str) -> str:
    """Return the signature that the request must have under a secret, worked out as the standard says."""
    content = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    mac = hmac.new(base64.b64decode(secret[6:]), content, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


async def deliver(receiver: Receiver, upstream: HttpUpstream, waits: Waits, *secrets: str) -> Delivery:
    """Deliver the message to a receiver; the wall clock goes on a second with each look at it."""
    ticks = iter(range(1_800_000_000, 1_800_001_000))
    async with receiver.open():
        webhook = Webhook(
            receiver.url,
            signing_keys(secrets or (SECRET,)),
            upstream=upstream,
            clock=time.monotonic,
            wall=lambda: next(ticks) + 0.9,
            sleep=waits,
        )
        return await webhook.deliver(MESSAGE, before=waits.ours)


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    """
    The published example of the scheme comes out as published.

    Source: https://docs.svix.com/receiving/verifying-payloads/how-manual, read 2026-11.
    """
    (key,) = signing_keys(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    message = Message("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    assert signed(message, [key], at=1_614_265_330) == {
        "content-type": "application/json",
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


async def test_a_message_that_is_taken_is_sent_once(upstream: HttpUpstream) -> None:
    """The exact bytes arrive by POST, signed, and a 2xx ends the delivery."""
    receiver, waits = Receiver([202]), Waits()
    assert Delivery.TAKEN == await deliver(receiver, upstream, waits)
    (received,) = receiver.received
    assert ("POST", "/alerts?team=ops", MESSAGE.body) == (received.method, received.path, received.body)
    assert {"content-type": "application/json", "webhook-id": "evt_1"}.items() <= received.headers.items()
    assert sent(received, SECRET) == received.headers["webhook-signature"]
    assert [0] == waits.pauses


async def test_each_attempt_has_the_same_id_and_bytes_and_its_own_time(upstream: HttpUpstream) -> None:
    """After a 500 and a redirect the message comes again, later, under its old id and a signature of its own."""
    receiver, waits = Receiver([500, 302, 200]), Waits()
    assert Delivery.TAKEN == await deliver(receiver, upstream, waits)
    assert [(MESSAGE.id, MESSAGE.body)] * 3 == [(got.headers["webhook-id"], got.body) for got in receiver.received]
    assert ["1800000000", "1800000001", "1800000002"] == [got.headers["webhook-timestamp"] for got in receiver.received]
    assert [sent(got, SECRET) for got in receiver.received] == [
        got.headers["webhook-signature"] for got in receiver.received
    ]
    assert {"/alerts?team=ops"} == {got.path for got in receiver.received}
    assert [0, 5, 300] == waits.pauses == waits.announced


async def test_while_secrets_are_rotated_there_is_a_signature_with_each(upstream: HttpUpstream) -> None:
    """Receivers that know either secret believe the message."""
    receiver = Receiver([200])
    await deliver(receiver, upstream, Waits(), SECRET, OLD_SECRET)
    (received,) = receiver.received
    assert [sent(received, SECRET), sent(received, OLD_SECRET)] == received.headers["webhook-signature"].split(" ")


async def test_a_receiver_that_is_gone_is_not_asked_again(upstream: HttpUpstream) -> None:
    """A 410 ends the delivery at once."""
    receiver = Receiver([503, 410, 200])
    assert Delivery.GONE == await deliver(receiver, upstream, Waits())
    assert 2 == len(receiver.received)


async def test_a_delivery_is_given_up_in_the_end(upstream: HttpUpstream) -> None:
    """A receiver that never takes it is tried ten times, over three days."""
    receiver, waits = Receiver([404]), Waits()
    assert Delivery.GIVEN_UP == await deliver(receiver, upstream, waits)
    assert list(PAUSES) == waits.pauses
    assert 10 == len(receiver.received)
    assert 3 == sum(waits.pauses) // 86_400


async def test_a_receiver_that_nobody_listens_at_is_tried_again(upstream: HttpUpstream) -> None:
    """Where no connection comes about, the attempt has failed like any other."""
    receiver = Receiver()
    async with receiver.open():
        pass
    waits = Waits()
    webhook = Webhook(
        receiver.url, signing_keys([SECRET]), upstream=upstream, clock=time.monotonic, wall=time.time, sleep=waits
    )
    assert Delivery.GIVEN_UP == await webhook.deliver(MESSAGE, before=waits.ours)
    assert list(PAUSES) == waits.pauses


async def test_the_status_counts_and_not_what_comes_with_it(upstream: HttpUpstream) -> None:
    """A 200 with a body that is too large to read is a 200."""
    receiver = Receiver([200], extra=b"x" * 100_000)
    assert Delivery.TAKEN == await deliver(receiver, upstream, Waits())


async def test_a_delivery_that_another_has_taken_over_is_left_to_it(upstream: HttpUpstream) -> None:
    """Nothing is sent once the delivery is not ours."""
    receiver = Receiver([500])

    async def never(_seconds: float) -> bool:
        return False

    async with receiver.open():
        webhook = Webhook(
            receiver.url, signing_keys([SECRET]), upstream=upstream, clock=time.monotonic, wall=time.time, sleep=Waits()
        )
        assert Delivery.LEFT == await webhook.deliver(MESSAGE, before=never)
    assert [] == receiver.received


async def test_each_attempt_is_told_with_why_it_failed(upstream: HttpUpstream) -> None:
    """An answer that is no success, a receiver that is gone, and a success, each once."""
    receiver, told = Receiver([503, 200]), list[str | None]()
    for url in ("", "http://127.0.0.1:9/told"):
        async with receiver.open():
            webhook = Webhook(
                url or receiver.url,
                signing_keys([SECRET]),
                upstream=upstream,
                clock=time.monotonic,
                wall=time.time,
                sleep=Waits(),
                attempted=lambda _message, reason: told.append(reason),
            )
            await webhook.deliver(MESSAGE, before=Waits().ours)
    assert ["its receiver answered 503", None] == told[:2]
    assert len(PAUSES) == len(told[2:])
    assert None not in told[2:]


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("hunter2", "does not begin with whsec_"),
        ("whsec_not base64!", "is not base64"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "has 23 bytes"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "has 65 bytes"),
        ("whsec_ü", "is not base64"),
    ],
)
def test_a_secret_that_is_none_is_refused_without_being_shown(secret: str, told: str) -> None:
    """A secret of another form or length is refused, and the message says how to make one."""
    with pytest.raises(ValueError, match=told) as refused:
        signing_keys([SECRET, secret])
    assert "openssl rand -base64 32" in str(refused.value)
    assert secret.removeprefix("whsec_") not in str(refused.value)
