"""Five hundred random scenes through fitting and back: every pixel, point and box lands where it came from."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.fitting.masks import mask_back
from gateway.fitting.plan import outside, plan_for
from gateway.fitting.rendering import render
from providers.contract import Box, Limits, Mask, Point
from tests.gateway.fitting.drawn import SAM2, SAM3, picture_of, seen, truth
from tests.tiers import sampled

SEED = 20261120
SCENES = 500
GROUPS = 20

#: Shares of the scenes by the longest side that they may have: pixels cost time, and small pictures show as much.
LARGEST = (*(700,) * 11, *(1500,) * 3, 3000, 3000, 4096, 4096, 6000, 6000)


def sides(chance: np.random.Generator, number: int) -> tuple[int, int]:
    """Return width and height from 64 to 6,000 pixels, of any shape."""
    largest = LARGEST[number % len(LARGEST)]
    longer = int(chance.integers(max(64, largest // 3), largest + 1))
    other = int(chance.integers(max(64, longer // 4), longer + 1))
    return (longer, other) if chance.integers(2) else (other, longer)


@pytest.mark.parametrize("group", sampled(range(GROUPS), lambda group: group % 2))
def test_masks_come_back(group: int) -> None:
    """A model that marks what it sees has marked the truth: exactly, or nearly so where it saw a smaller picture."""
    for number in range(group, SCENES, GROUPS):
        chance = np.random.default_rng([SEED, number])
        width, height = sides(chance, number // GROUPS)
        wanted = truth(width, height, chance)
        limits = SAM3 if number % 2 else SAM2
        picture = picture_of(wanted, number % 8 + 1)
        assert (height, width) == picture.size
        if outside(picture, limits) is None:
            assert min(width, height) >= 256
            assert max(width, height) <= (limits.max_side or 0)
            continue
        fitted = render(picture, plan_for(picture, limits))
        assert outside(fitted.picture, limits) is None
        geometry = fitted.geometry
        back = mask_back(Mask.from_bitmap(seen(fitted.picture) >= 128), geometry)
        iou = back.iou(Mask.from_bitmap(wanted))
        scene = f"scene {number}: {width}x{height}, {geometry}"
        if geometry.factor >= 1:
            assert iou == 1.0, scene
        else:
            assert iou >= (0.99 if geometry.factor >= 0.5 else 0.985), scene


@pytest.mark.parametrize("limits", [SAM3, SAM2, Limits(max_side=200), Limits(min_side=900)])
def test_points_and_boxes_land_on_the_same_pixels(limits: Limits) -> None:
    """A point becomes the pixel that holds it, a box the smallest one around it, and neither leaves the picture."""
    chance = np.random.default_rng(SEED)
    for number in range(SCENES):
        width, height = sides(chance, number)
        bare = picture_of(np.zeros((8, 8), np.uint8))
        geometry = plan_for(type(bare)(bare.data, bare.media_type, width, height, bare.digest), limits).geometry
        xs, ys = np.sort(chance.integers(0, width, 2)), np.sort(chance.integers(0, height, 2))
        for x, y in ((int(xs[0]), int(ys[1])), (0, 0), (width - 1, height - 1)):
            point = geometry.point(Point(x, y, positive=False))
            assert not point.positive
            for place, put, before, after in zip(
                (x, y), (point.x, point.y), geometry.source, geometry.content, strict=True
            ):
                assert 0 <= put < after
                assert put * before <= (place + 0.5) * after < (put + 1) * before
                if after >= before:
                    assert place == put // geometry.blocks
        box = Box(int(xs[0]), int(ys[0]), int(xs[1]) + 1, int(ys[1]) + 1)
        put_box = geometry.box(box)
        for low, high, put_low, put_high, before, after in (
            (box.x_min, box.x_max, put_box.x_min, put_box.x_max, geometry.source[0], geometry.content[0]),
            (box.y_min, box.y_max, put_box.y_min, put_box.y_max, geometry.source[1], geometry.content[1]),
        ):
            assert 0 <= put_low < put_high <= after
            assert put_low * before <= low * after < (put_low + 1) * before
            assert (put_high - 1) * before < high * after <= put_high * before
