"""What holds for the client, over a real gateway."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from cv2 import imencode

from gateway.client import Client, GatewayUnreachable, Options, Problem
from providers.contract import Box, Money, ObjectPrompt, Prompt, TextPrompt
from tests.gateway.house import House


@pytest.fixture
async def gateway(house: House) -> AsyncIterator[Client]:
    """Return a client of the running gateway."""
    async with Client(house.url, house.key) as client:
        yield client


async def test_answer_is_typed(gateway: Client, house: House) -> None:
    """Masks, money, attempts and origin of an answer are values, and the mask is the scene's own."""
    options = Options(deployments=["runflow-eu"], cache="skip", tags={"team": "catalogue"}, metadata={"order": 7})
    answer = await gateway.segment(house.picture("shoes"), [TextPrompt("left shoe")], options=options)
    truth = house.truth("shoes", "left shoe")
    (found,) = answer.instances
    assert found.mask is not None
    assert found.mask.mask() == truth
    assert (found.box, found.area, found.label) == (truth.box, truth.area, "left shoe")
    assert answer.cost.charged == Money(5000)
    assert [(attempt.deployment, attempt.outcome) for attempt in answer.attempts] == [("runflow-eu", "succeeded")]
    assert (answer.deployments, answer.caches) == (("runflow-eu",), ("skip",))
    assert answer.best_score == found.score
    assert (answer.document["tags"], answer.document["metadata"]) == ({"team": "catalogue"}, {"order": 7})


async def test_picture_goes_by_url_too(gateway: Client, house: House) -> None:
    """A URL is fetched by the gateway, and brings the same masks."""
    url = house.scenes()["shoes"]["image_url"]
    answer = await gateway.segment(url, [TextPrompt("right shoe")], options=Options(deployments=["prodia"]))
    assert answer.instances[0].mask is not None
    assert answer.instances[0].mask.mask() == house.truth("shoes", "right shoe")


async def test_what_is_invented_is_said(gateway: Client, house: House) -> None:
    """The sandbox's masks of a picture that it does not know carry a warning, kept ones too; true masks carry none."""
    unknown = imencode(".jpg", np.arange(1500 * 2000 * 3, dtype=np.uint8).reshape(1500, 2000, 3))[1].tobytes()
    for deployment in ("runflow-eu", "prodia"):
        for cache in ("miss", "hit"):
            options = Options(deployments=[deployment])
            answer = await gateway.segment(unknown, [TextPrompt(f"cup for {deployment}")], options=options)
            assert answer.caches == (cache,)
            assert any("the sandbox does not know" in warning for warning in answer.answers[0].warnings)
        known = Options(deployments=[deployment])
        answer = await gateway.segment(house.picture("coffee"), [TextPrompt("the cup")], options=known)
        assert answer.answers[0].warnings == ()
        assert answer.instances[0].mask is not None
        assert answer.instances[0].mask.mask() == house.truth("coffee", "cup")


async def test_pictures_of_the_providers_documents_are_fetched_from_the_sandbox(gateway: Client, house: House) -> None:
    """Their addresses bring the sandbox's stand-ins, whether the gateway fetches them or an upstream does."""
    url = "https://v3b.fal.media/files/b/0a92a995/fV5oYdcCV3NAmgWJISpIP_tmpdddcks4v.png"
    for deployment in ("runflow-eu", "prodia"):
        answer = await gateway.segment(url, [TextPrompt("keyboard")], options=Options(deployments=[deployment]))
        assert answer.instances[0].mask is not None
        assert answer.instances[0].mask.mask() == house.truth("desk", "keyboard")


async def test_large_picture_goes_without_a_warning(gateway: Client) -> None:
    """A body of more than a megabyte is sent piece by piece; here it is refused as no picture."""
    with pytest.raises(Problem) as caught:
        await gateway.segment(bytes(3_000_000), [TextPrompt("shoe")])
    assert (caught.value.code, caught.value.status, caught.value.field) == ("invalid_image", 422, "image")


async def test_half_an_answer_says_which_half(gateway: Client, house: House) -> None:
    """When one of two prompts cannot be answered there, the other's instances come with that prompt's problem."""
    prompts: list[Prompt] = [TextPrompt("left shoe"), ObjectPrompt(box=Box(10, 10, 90, 90))]
    answer = await gateway.segment(house.picture("shoes"), prompts, options=Options(deployments=["prodia"]))
    assert answer.status == "partially_succeeded"
    assert [origin.error is None for origin in answer.answers] == [True, False]
    assert answer.answers[1].error is not None
    assert answer.answers[1].error.code == "unsupported_capability"
    assert {found.prompt_index for found in answer.instances} == {0}


async def test_quote_is_typed(gateway: Client, house: House) -> None:
    """A quote has its candidates in order with the most that each may cost."""
    quote = await gateway.quote(house.picture("desk"), [TextPrompt("lamp")])
    (prompt,) = quote.prompts
    assert [(each.deployment, each.most) for each in prompt.candidates] == [
        ("prodia", Money(1100)),
        ("runflow-eu", Money(5000)),
        ("runflow-us", Money(5000)),
    ]
    assert [(each.deployment, each.reason) for each in prompt.excluded] == [("local-classic", "unsupported_capability")]
    assert (quote.likely, quote.most) == (Money(1100), Money(11100))


async def test_deployments_are_typed(gateway: Client) -> None:
    """Each deployment has its price and its health."""
    prices = {each.name: each.price.amount for each in await gateway.deployments() if each.price is not None}
    assert prices["prodia"] == Money(1100)
    assert {each.health for each in await gateway.deployments()} == {"closed"}


async def test_usage_is_typed(gateway: Client, house: House) -> None:
    """What was charged under a tag is in the report of that tag alone."""
    options = Options(deployments=["prodia"], cache="skip", tags={"batch": "typed"})
    await gateway.segment(house.picture("desk"), [TextPrompt("mug")], options=options)
    report = await gateway.usage(by="deployment,tag:batch", tags=["batch:typed"])
    assert [dict(line.group) for line in report.lines] == [{"deployment": "prodia", "tag:batch": "typed"}]
    assert (report.total.settled, report.total.charged, report.total.cost) == (1, Money(1100), Money(1100))


async def test_refused_key_is_a_problem(house: House) -> None:
    """A key that nobody has is refused with 401, and the request is named in the log."""
    async with Client(house.url, "mg_nobody") as client:
        with pytest.raises(Problem, match="unauthenticated") as caught:
            await client.deployments()
    assert caught.value.status == 401
    assert caught.value.request_id is not None


async def test_silence_ends_with_the_deadline() -> None:
    """A server that takes the connection and says nothing is unreachable once the time is up."""
    left = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    asked = [TextPrompt("shoe")]
    async with server, Client(url, round_trip_seconds=0.1) as client:
        with pytest.raises(GatewayUnreachable, match=r"has not answered within 0\.2 seconds"):
            await client.segment("https://example.com/a.png", asked, options=Options(deadline_seconds=0.1))
        await left.wait()


async def test_client_outside_of_its_block_is_a_mistake() -> None:
    """A client that was not entered says how it is used."""
    with pytest.raises(RuntimeError, match="async with Client"):
        await Client("http://127.0.0.1:1").deployments()
