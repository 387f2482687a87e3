"""What is decided to be done with a picture, for every limit and every shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitting.geometry import Geometry, Sides
from gateway.fitting.plan import (
    JPEG,
    PNG,
    QUALITIES,
    WEBP,
    CannotFit,
    Encoding,
    encodings,
    outside,
    plan_for,
    smaller,
)
from providers.contract import (
    AutomaticPrompt,
    Box,
    ExemplarBox,
    ExemplarsPrompt,
    Limits,
    ObjectPrompt,
    Picture,
    Point,
    TextPrompt,
)
from tests.gateway.fitting.drawn import SAM2, SAM3


def picture(width: int, height: int, *, size: int = 1000, media_type: str = PNG) -> Picture:
    """Return a picture of that size, in pixels and in bytes."""
    return Picture(bytes(size), media_type, width, height, "blake3:0")


@pytest.mark.parametrize(
    ("sides", "limits", "content", "canvas"),
    [
        ((12_000, 9000), SAM3, (4096, 3072), (4096, 3072)),
        ((9000, 12_000), SAM2, (1536, 2048), (1536, 2048)),
        ((4097, 300), SAM3, (4096, 300), (4096, 300)),
        ((100, 100), SAM3, (300, 300), (300, 300)),
        ((300, 255), SAM3, (600, 510), (600, 510)),
        ((8, 100), SAM3, (256, 3200), (256, 3200)),
        ((100, 2000), SAM3, (100, 2000), (256, 2000)),
        ((8, 4000), SAM3, (8, 4000), (256, 4000)),
        ((4000, 8), SAM3, (4000, 8), (4000, 256)),
        ((20_000, 300), SAM3, (4096, 61), (4096, 256)),
        ((300, 20_000), SAM2, (31, 2048), (256, 2048)),
        ((50, 40), Limits(min_side=256), (350, 280), (350, 280)),
        ((5000, 40), Limits(max_side=1000), (1000, 8), (1000, 8)),
        ((640, 480), SAM3, (640, 480), (640, 480)),
    ],
)
def test_each_shape_has_its_geometry(sides: Sides, limits: Limits, content: Sides, canvas: Sides) -> None:
    """Too long is scaled down, too short is scaled up in blocks where that fits, and padded where it does not."""
    assert Geometry(sides, content, canvas) == plan_for(picture(*sides), limits).geometry


@pytest.mark.parametrize(
    ("sides", "limits", "words"),
    [
        ((8, 4000), SAM2, "the picture is 8 x 4000; scaled down to the 2048 pixels that it takes, the shorter side"),
        ((100_000, 60), SAM3, "the shorter side would have 2, and at least 8 are needed"),
        ((1_000_000, 8), SAM3, "would have 0"),
        ((3000, 3000), Limits(min_side=256, max_side=128), "its limits leave no picture"),
        ((100, 100), Limits(media_types=frozenset({"image/tiff"}), min_side=256), "it takes image/tiff"),
    ],
)
def test_what_cannot_fit_says_why(sides: Sides, limits: Limits, words: str) -> None:
    """Where nothing would be left of the picture, or no file could be written, there is a reason instead of a plan."""
    with pytest.raises(CannotFit, match=words):
        plan_for(picture(*sides), limits)


@given(st.integers(8, 30_000), st.integers(8, 30_000), st.sampled_from([SAM3, SAM2]))
def test_a_plan_is_within_the_limits(width: int, height: int, limits: Limits) -> None:
    """Whatever the picture, the fitted one has sides that the model takes; one that has them is left as it is."""
    assert limits.min_side is not None
    assert limits.max_side is not None
    try:
        geometry = plan_for(picture(width, height), limits).geometry
    except CannotFit:
        assert max(width, height) > 100 * min(width, height)
        return
    assert limits.min_side <= min(geometry.canvas)
    assert max(geometry.canvas) <= limits.max_side
    assert all(inner <= outer for inner, outer in zip(geometry.content, geometry.canvas, strict=True))
    if outside(picture(width, height), limits) is None:
        assert (width, height) == geometry.content == geometry.canvas


@pytest.mark.parametrize(
    ("media_type", "lossless", "taken", "expected"),
    [
        (PNG, True, {PNG, JPEG, WEBP}, "png png+ webp jpeg95 jpeg90 jpeg82 jpeg75 webp95"),
        (JPEG, False, {PNG, JPEG, WEBP}, "jpeg95 jpeg90 jpeg82 jpeg75 webp95"),
        (WEBP, True, {PNG, JPEG, WEBP}, "webp png png+ jpeg95"),
        (WEBP, False, {PNG, JPEG, WEBP}, "webp95 webp90 webp82 webp75 jpeg95"),
        (WEBP, False, {PNG, JPEG}, "png png+ jpeg95"),
        (JPEG, False, {PNG}, "png png+"),
        (JPEG, False, {WEBP}, "webp webp95"),
        (WEBP, True, {JPEG}, "jpeg95 jpeg90"),
    ],
)
def test_formats_are_tried_in_order(media_type: str, taken: set[str], expected: str, *, lossless: bool) -> None:
    """Without loss while it fits, in its own format where it was lossy, then in falling quality."""
    plan = plan_for(picture(5000, 5000), Limits(max_side=1024, media_types=frozenset(taken)))
    tried = [
        f"{each.media_type[6:]}{each.quality or ''}{'+' * each.thorough}"
        for each in encodings(media_type, plan, lossless=lossless)
    ]
    assert expected.split() == tried[: len(expected.split())]
    assert len(set(tried)) == len(tried)


def test_ways_that_take_too_long_are_not_tried() -> None:
    """Of a large picture a thorough PNG and a WebP without loss would take longer than a decoder process may."""
    plan = plan_for(picture(5000, 5000), Limits(max_side=4096))
    assert [PNG, JPEG, JPEG] == [each.media_type for each in encodings(PNG, plan, lossless=True)][:3]
    assert Encoding(WEBP) not in encodings(WEBP, plan, lossless=True)


def test_a_format_that_is_too_small_for_the_picture_is_not_tried() -> None:
    """WebP holds sides of 16383 pixels; a longer picture is written otherwise."""
    plan = plan_for(picture(20_000, 300), Limits(max_bytes=10))
    assert [Encoding(PNG), Encoding(PNG, thorough=True), *(Encoding(JPEG, q) for q in QUALITIES)] == encodings(
        PNG, plan, lossless=True
    )


def test_too_many_bytes_make_a_smaller_picture() -> None:
    """As much smaller as the bytes say, a tenth at least; blocks are given up first; and there is an end to it."""
    plan = plan_for(picture(4000, 2000), Limits(max_bytes=1000))
    assert Geometry((4000, 2000), (1940, 970), (1940, 970)) == smaller(plan, size=4000)
    assert Geometry((4000, 2000), (3600, 1800), (3600, 1800)) == smaller(plan, size=1001)
    assert smaller(plan, size=10**9) is None
    blocks = plan_for(picture(100, 100), SAM3)
    assert Geometry((100, 100), (100, 100), (256, 256)) == smaller(blocks, size=10**9)


def test_prompts_go_in_whatever_their_kind() -> None:
    """Words stay words; every point and box is brought to the fitted picture."""
    geometry = plan_for(picture(100, 100), SAM3).geometry
    box, put = Box(1, 2, 30, 40), Box(3, 6, 90, 120)
    assert TextPrompt("shoe") == geometry.prompt(TextPrompt("shoe"))
    assert AutomaticPrompt() == geometry.prompt(AutomaticPrompt())
    assert ObjectPrompt((Point(16, 1, positive=False),), put) == geometry.prompt(
        ObjectPrompt((Point(5, 0, positive=False),), box)
    )
    assert ObjectPrompt((Point(298, 298),)) == geometry.prompt(ObjectPrompt((Point(99, 99),)))
    assert ExemplarsPrompt((ExemplarBox(put, positive=False),), "shoe") == geometry.prompt(
        ExemplarsPrompt((ExemplarBox(box, positive=False),), "shoe")
    )
