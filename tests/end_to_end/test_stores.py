"""What holds of the stores beside a provider, and of masks that cannot be read: neither is the provider's account."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from gateway.app import create_app, sandbox_config
from gateway.serving import running
from gateway.settings import settings_from_yaml
from tests.end_to_end import bends
from tests.end_to_end.asking import Caller, on
from tests.end_to_end.crooked import Crooked, Genuine, Twist
from tests.end_to_end.household import House
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.masks import bitmap_of, iou
from tests.end_to_end.upstreams import PRODIA_MICROUSD, Upstreams

SMART_MICROUSD = 120_000


@contextmanager
def house_of(document: dict[str, Any], state: Path) -> Iterator[House]:
    """Run a gateway of that configuration while the block lasts."""
    settings = settings_from_yaml(yaml.safe_dump(document), environ={"MASKGATE_STATE_DIR": str(state)})
    with running(lambda: create_app(settings, show=lambda _: None)) as url:
        yield House(url, state)


@pytest.fixture
def smart_house(upstreams: Upstreams, tmp_path: Path) -> Iterator[House]:
    """Run a gateway whose first deployment is Smart Segmentation."""
    document = yaml.safe_load(sandbox_config(upstreams.sandbox.host, upstreams.sandbox.port))
    document["deployments"][0]["model"] = "runflow/smart-segmentation"
    document["deployments"][0]["price"]["usd"] = "0.12"
    with house_of(document, tmp_path) as house:
        yield house


STATUSES = (403, 401, 402, 404, 429, 500, 503)


async def test_a_store_that_refuses_uploads_takes_no_deployment_out(
    upstreams: Upstreams, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """However often, and whatever it answers: the next one answers, and pictures with an address still go there."""
    document = yaml.safe_load(sandbox_config(upstreams.sandbox.host, upstreams.sandbox.port))
    answers = [bends.answer(status) for status in reversed(STATUSES)]

    def refuse(genuine: Genuine) -> bytes:
        return answers.pop()(genuine)

    picture = {"data": base64.b64encode(upstreams.picture("shoes")).decode()}
    body: dict[str, Any] = {"image": picture, "prompt": "left shoe", "cache": {"mode": "skip"}}
    body["route"] = on("runflow-eu", "prodia")
    async with Crooked(document["deployments"][0]["endpoint"], Twist("upload", refuse, processed=False)).open() as port:
        document["deployments"][0]["endpoint"] = f"http://127.0.0.1:{port}"
        document["fetch"]["allow"].append(f"127.0.0.1:{port}")
        with house_of(document, tmp_path) as house:
            caller = Caller(house.url, session)
            for status in STATUSES:
                reply = await caller.segment(body)
                assert [("runflow-eu", "failed"), ("prodia", "succeeded")] == reply.attempts
                assert f"answered {status} to the upload" in reply.body["attempts"][0]["message"]
            listed = (await caller.get("/v1/deployments")).body["deployments"]
            health = next(each["health"] for each in listed if each["name"] == "runflow-eu")
            assert ("closed", None, 0.0) == (health["state"], health["reason"], health["error_rate"])
            assert ["release", "settle"] * len(STATUSES) == [account.ended for account in house.ledger()]
            reply = await caller.segment({**body, "image": {"url": upstreams.scene("shoes").url}})
            assert [("runflow-eu", "succeeded")] == reply.attempts
            assert_books_agree(house.ledger(), upstreams.books())


async def test_a_price_that_is_told_is_settled_whatever_the_masks_are(
    caller: Caller, house: House, upstreams: Upstreams
) -> None:
    """Prodia cannot be looked up later: its figure is taken when it comes, and the caller is told of it."""
    upstreams.strike("prodia", {"kind": "bad_png"})
    body = {"image": {"url": upstreams.scene("shoes").url}, "prompt": "left shoe", "route": on("prodia")}
    problem = (await caller.segment(body, status=502)).body
    assert [(PRODIA_MICROUSD, 0)] == [
        (each["charge_microusd"], each.get("held_microusd", 0)) for each in problem["attempts"]
    ]
    assert ["settle"] == [account.ended for account in house.ledger()]
    assert_books_agree(house.ledger(), upstreams.books())


async def test_smart_segmentation_returns_all_its_masks(
    smart_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """One run, one price, one or more masks."""
    scene = upstreams.scene("shoes")
    body = {"image": {"url": scene.url}, "prompt": "shoe", "route": on("runflow-eu")}
    reply = await Caller(smart_house.url, session).segment(body)
    shoes = sorted(scene.named("shoe"), key=lambda thing: -thing.area)
    assert [shoe.area for shoe in shoes] == [each["area"] for each in reply.body["instances"]]
    for shoe, found in zip(shoes, reply.body["instances"], strict=True):
        assert iou(bitmap_of(found["mask"]), shoe.bitmap) == 1.0
    assert SMART_MICROUSD == reply.charged
