"""Masks for pictures that the sandbox does not know: invented, said to be so, and of any size in little time."""

from __future__ import annotations

import random
from typing import Any

import cv2
import numpy as np
import pytest

from providers.contract import Box, Mask, ObjectPrompt, Point
from providers.local.classic import ClassicEngine
from providers.sandbox.choosing import Ask
from providers.sandbox.inventing import _scaled_mask, invent, scaled_png

INVENTED = '199 maskgate-sandbox "the sandbox does not know this picture'


def photograph(extension: str, width: int, height: int) -> bytes:
    """Return a picture of some blurred blobs, as a file."""
    chance = np.random.default_rng(8)
    small = chance.integers(0, 256, (12, 16, 3), np.uint8)
    rgb = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(extension, rgb)[1].tobytes()


@pytest.mark.parametrize("seed", range(20))
def test_a_scaled_mask_and_its_file_are_the_same_pixels(seed: int) -> None:
    """Whatever the two sizes are, the runs and the PNG that are written from a small mask agree."""
    chance = random.Random(seed)
    height, width = chance.randint(1, 90), chance.randint(1, 90)
    small = np.array([[chance.random() < 0.4 for _ in range(width)] for _ in range(height)], np.uint8)
    more = [chance.choice([0, 1, chance.randint(0, 400)]) for _ in range(2)]
    size = (height + more[0], width + more[1])
    grey = cv2.imdecode(np.frombuffer(scaled_png(small, size), np.uint8), cv2.IMREAD_UNCHANGED)
    assert grey is not None
    assert (size, "uint8") == (grey.shape, grey.dtype.name)
    assert set(np.unique(grey)) <= {0, 255}
    assert Mask.from_bitmap(grey) == _scaled_mask(small, size)


@pytest.mark.parametrize(
    "ask",
    [
        Ask(text="cup"),
        Ask(automatic=True),
        Ask(objects=(ObjectPrompt((Point(4999, 3375),)), ObjectPrompt((Point(0, 0), Point(9, 9, positive=False))))),
        Ask(objects=(ObjectPrompt(box=Box(4998, 3374, 5000, 3376)), ObjectPrompt(box=Box(0, 0, 5000, 3376)))),
    ],
)
def test_a_large_photograph_is_answered_at_its_own_size(ask: Ask) -> None:
    """Every kind of prompt brings masks of 5000x3376, four at most, and none is empty."""
    found = invent(ClassicEngine(), photograph(".jpg", 5000, 3376), ask)
    assert 0 < len(found) <= 4
    assert {(3376, 5000)} == {each.mask.size for each in found}
    assert all(each.mask.area for each in found)


@pytest.mark.parametrize("size", [(9000, 3), (3, 9000), (641, 1)])
def test_a_strip_is_a_picture_too(size: tuple[int, int]) -> None:
    """A side of a pixel or three does not vanish when the other is shrunk."""
    found = invent(ClassicEngine(), photograph(".png", *size), Ask(automatic=True))
    assert all(each.mask.size == size[::-1] for each in found)


async def test_what_is_invented_is_said(control: Any, runflow: Any, prodia: Any) -> None:
    """Answers about an unknown picture carry a Warning, those about a known one do not."""
    unknown = photograph(".jpg", 3000, 2000)
    for picture, warned in ((unknown, True), (await control.picture("coffee"), False)):
        _, headers, _ = await prodia.segment(picture, "cup")
        assert warned == headers.get("Warning", "").startswith(INVENTED)
        run = await runflow.run(await runflow.upload(picture, "image/jpeg"), prompt="cup")
        answer = await runflow.session.get(f"{runflow.url}/v1/runs/{run['id']}", headers={"Authorization": "Bearer k"})
        assert warned == answer.headers.get("Warning", "").startswith(INVENTED)


async def test_cut_outs_of_a_large_picture_hold_its_pixels(runflow: Any) -> None:
    """With apply_mask the file is the picture on the mask and transparent black elsewhere."""
    data = photograph(".png", 900, 600)
    run = await runflow.run(await runflow.upload(data), prompt="cup", apply_mask=True, max_masks=1)
    (file,) = [await runflow.download(image["url"]) for image in run["output"]["model_data"]["masks"]]
    cut = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert cut is not None
    assert whole is not None
    solid = cut[:, :, 3] == 255
    assert 0 < solid.sum() < solid.size
    assert np.array_equal(cut[solid][:, :3], whole[solid])
    assert not cut[~solid].any()


async def test_a_large_picture_that_is_cut_off_is_the_caller_s_fault(control: Any, runflow: Any, prodia: Any) -> None:
    """It is found out when it is decoded: the run fails as an invalid input, the job is refused, nothing is billed."""
    cut = photograph(".jpg", 3000, 2000)[:20_000]
    run = await runflow.run(await runflow.upload(cut, "image/jpeg"), prompt="cup")
    assert ("failed", "INPUT_VALIDATION_FAILED") == (run["status_code"], run["failure_code"])
    status, _, body = await prodia.segment(cut, "cup")
    assert 400 == status
    assert b"cannot be decoded" in body
    assert [] == await control.books()
