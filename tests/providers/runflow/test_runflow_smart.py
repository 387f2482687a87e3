"""Smart Segmentation: masks for a phrase, of a polarity that nobody documents."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from providers.contract import Bitmap, Money, ProviderFailed, TextPrompt
from tests.providers.loopback import file_of
from tests.providers.runflow.fake_runflow import DISCS, SIZE, SMART_CREATE, TRUTHS, Scene

SMART = "runflow/smart-segmentation"


@pytest.fixture
def smart(scene: Scene) -> Scene:
    """A deployment of Smart Segmentation whose runs give the first disc, in WebP."""
    scene.use(SMART)
    give(scene, mask=file_of(DISCS[0], ".webp"))
    scene.fake.extra = {"cost": "0.12", "duration_ms": 5000}
    return scene


def give(scene: Scene, **files: bytes) -> None:
    """Have runs give these files."""
    scene.fake.files = {**files, "picture": b""}
    outputs = [{"url": scene.fake.mask_url(name), "type": "image"} for name in files]
    scene.fake.output = {"outputs": outputs, "seed": None, "timing": None, "nsfw_detected": None}


def inverted(bitmap: Bitmap) -> bytes:
    """Return the file of a mask that is black on its object."""
    return file_of(1 - bitmap)


async def test_one_mask(smart: Scene) -> None:
    """The mask comes without a score, labelled with the phrase, at the price of a run."""
    instances, warnings, usage = await smart.ask()
    assert [(TRUTHS[0], None, "disc")] == instances
    assert () == warnings
    assert Money(120_000) == usage.reported


async def test_two_fields(smart: Scene) -> None:
    """A run's input is the address and the phrase, and nothing that it does not know."""
    await smart.ask(TextPrompt("left shoe"), url="https://a.example/shoes.JPG?size=large")
    [(_, body)] = smart.fake.sent("POST", SMART_CREATE)
    assert {"image_url": "https://a.example/shoes.JPG?size=large", "prompt": "left shoe"} == json.loads(body)["input"]
    assert [] == smart.fake.sent("POST", "/v1/asset-uploads")


@pytest.mark.parametrize("url", ["https://a.example/shoes", "https://a.example/?file=shoes.png", None])
async def test_address_without_an_extension(smart: Scene, url: str | None) -> None:
    """The file's name is taken from the address, so a picture whose address has none is uploaded under one."""
    await smart.ask(url=url)
    [(_, body)] = smart.fake.sent("POST", "/v1/asset-uploads")
    assert "image.png" == json.loads(body)["filename"]


async def test_turned_over(smart: Scene) -> None:
    """A mask whose white surrounds all else is read as its black, and says so."""
    give(smart, mask=inverted(DISCS[0]))
    instances, warnings, _ = await smart.ask()
    assert [TRUTHS[0]] == [mask for mask, _, _ in instances]
    assert ["turned over"] == [" ".join(warning.split()[3:5]).rstrip(":") for warning in warnings]


@pytest.mark.parametrize(
    ("phrase", "options"), [("the background", {}), ("disc", {"polarity": "white"})], ids=["background", "settled"]
)
async def test_not_turned_over(smart: Scene, phrase: str, options: dict[str, Any]) -> None:
    """What surrounds is what was asked for, or the operator knows that white is the object: nothing is turned over."""
    smart.use(**options)
    give(smart, mask=inverted(DISCS[0]))
    instances, warnings, _ = await smart.ask(TextPrompt(phrase))
    assert [TRUTHS[0].area] == [SIZE[0] * SIZE[1] - mask.area for mask, _, _ in instances]
    assert not any("turned" in warning for warning in warnings)


async def test_black_is_the_object(smart: Scene) -> None:
    """Where the operator has settled that black is the object, it is, however small."""
    smart.use(polarity="black")
    give(smart, mask=inverted(DISCS[1]))
    instances, warnings, _ = await smart.ask()
    assert ([TRUTHS[1]], ()) == ([mask for mask, _, _ in instances], warnings)


async def test_nothing_found(smart: Scene) -> None:
    """An all-black mask and an empty list are answers with nothing in them."""
    give(smart, mask=file_of(np.zeros(SIZE, np.uint8)))
    assert [] == (await smart.ask())[0]
    smart.fake.walk = ["succeeded"]
    give(smart)
    assert [] == (await smart.ask())[0]


async def test_all_white(smart: Scene) -> None:
    """An all-white mask covers the picture, and a warning says that this is not certain."""
    give(smart, mask=file_of(np.ones(SIZE, np.uint8)))
    instances, warnings, _ = await smart.ask()
    assert [SIZE[0] * SIZE[1]] == [mask.area for mask, _, _ in instances]
    assert ["not certain." in warning for warning in warnings] == [True]


async def test_several_outputs(smart: Scene) -> None:
    """It returns one or more masks, and all of them count; of several files those that are named as the result."""
    give(smart, one=file_of(DISCS[0]), two=file_of(DISCS[1]))
    instances, warnings, _ = await smart.ask()
    assert (TRUTHS[:2], ()) == ([mask for mask, _, _ in instances], warnings)
    smart.fake.walk = ["succeeded"]
    give(smart, step_one=file_of(DISCS[0]), result_two=file_of(DISCS[1]))
    instances, warnings, _ = await smart.ask()
    assert ([TRUTHS[1]], ()) == ([mask for mask, _, _ in instances], warnings)


async def test_preview_in_colours(smart: Scene) -> None:
    """A preview in colours is left out beside a mask, and alone it is an answer that cannot be read."""
    noise = np.random.default_rng(3).integers(0, 2, (*SIZE, 3), np.uint8)
    give(smart, preview=file_of(noise), mask=file_of(DISCS[0]))
    instances, warnings, _ = await smart.ask()
    assert [TRUTHS[0]] == [mask for mask, _, _ in instances]
    assert ("1 of the provider's files were previews in colours and are left out.",) == warnings
    smart.fake.walk = ["succeeded"]
    give(smart, preview=file_of(noise))
    error = await smart.failure(ProviderFailed)
    assert error.may_have_charged
