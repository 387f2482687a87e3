"""The engine `classic` on scenes whose objects are known."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from providers.contract import (
    AutomaticPrompt,
    Box,
    ExemplarBox,
    ExemplarsPrompt,
    Mask,
    ObjectPrompt,
    Picture,
    Point,
    Prompt,
    Question,
    TextPrompt,
)
from providers.local import ClassicEngine

Pixels = npt.NDArray[np.uint8]
SIDE = 512


def scene(side: int = SIDE) -> tuple[Pixels, dict[str, Mask]]:
    """Return four flat shapes on a shaded ground with noise (seed 11), and their masks."""
    rows, columns = np.mgrid[:side, :side] / side
    shapes = {
        "circle": (rows - 0.3) ** 2 + (columns - 0.3) ** 2 < 0.18**2,
        "square": (abs(rows - 0.3) < 0.12) & (abs(columns - 0.72) < 0.12),
        "triangle": (rows < 0.85) & (rows - 0.55 > 1.6 * abs(columns - 0.3)),
        "ellipse": ((rows - 0.72) / 0.12) ** 2 + ((columns - 0.72) / 0.2) ** 2 < 1,
    }
    colours = ((200, 40, 40), (40, 60, 190), (40, 150, 60), (230, 180, 20))
    rgb = np.stack((200 - 60 * rows, 205 - 50 * rows, 190 + 0 * rows), axis=-1)
    for shape, colour in zip(shapes.values(), colours, strict=True):
        rgb[shape] = colour
    rgb += np.random.default_rng(11).normal(0, 6, rgb.shape)
    return rgb.clip(0, 255).astype(np.uint8), {name: Mask.from_bitmap(shape) for name, shape in shapes.items()}


def middle(box: Box | None) -> Point:
    """Return the pixel in the middle of a box."""
    assert box is not None
    return Point((box.x_min + box.x_max) // 2, (box.y_min + box.y_max) // 2)


def test_automatic_finds_every_object_the_largest_first() -> None:
    """All four shapes are among what is found, to an IoU of 0.98 and more, and the ground comes first."""
    rgb, shapes = scene()
    masks = ClassicEngine().automatic(rgb, max_masks=30)
    assert all(max(mask.iou(shape) for mask in masks) >= 0.98 for shape in shapes.values())
    areas = [mask.area for mask in masks]
    assert sorted(areas, reverse=True) == areas
    assert min(areas) >= SIDE * SIDE / 1000
    assert masks[:2] == ClassicEngine().automatic(rgb, max_masks=2)


def test_automatic_parts_share_no_pixel() -> None:
    """No pixel belongs to two instances."""
    rgb, _ = scene(200)
    assert np.sum([mask.bitmap for mask in ClassicEngine().automatic(rgb, max_masks=99)], axis=0).max() == 1


@pytest.mark.parametrize("name", ["circle", "square", "triangle", "ellipse"])
def test_a_box_brings_the_object_in_it(name: str) -> None:
    """The tight box of a shape brings the shape to an IoU of 0.98 and more, with a point or without."""
    rgb, shapes = scene()
    box = shapes[name].box
    assert box is not None
    assert ClassicEngine().from_box(rgb, box).iou(shapes[name]) >= 0.98
    assert ClassicEngine().from_box(rgb, box, (middle(box),)).iou(shapes[name]) >= 0.98


def test_a_negative_point_takes_its_object_out_of_the_box() -> None:
    """Of two shapes in one box, the one that is clicked off is left out."""
    rgb, shapes = scene()
    box = Box(20, 40, 500, 260)
    both = ClassicEngine().from_box(rgb, box)
    seeds = (middle(shapes["circle"].box), Point(middle(shapes["square"].box).x, middle(shapes["square"].box).y, False))
    one = ClassicEngine().from_box(rgb, box, seeds)
    assert both.iou(shapes["circle"]) < one.iou(shapes["circle"])
    assert one.bitmap[seeds[0].y, seeds[0].x] == 1
    assert one.bitmap[seeds[1].y, seeds[1].x] == 0


@pytest.mark.parametrize("name", ["circle", "square", "triangle", "ellipse"])
def test_a_point_brings_the_object_under_it(name: str) -> None:
    """A click on a shape brings the shape to an IoU of 0.98 and more; a click beside it changes nothing."""
    rgb, shapes = scene()
    on, off = middle(shapes[name].box), Point(3, 3, positive=False)
    found = ClassicEngine().from_points(rgb, (on,))
    assert found.iou(shapes[name]) >= 0.98
    assert found == ClassicEngine().from_points(rgb, (on, off))


def test_two_points_bring_two_areas_and_a_negative_one_is_never_covered() -> None:
    """Fills of several clicks are joined, and a click off the object is never on the mask."""
    rgb, shapes = scene()
    clicks = [middle(shapes[name].box) for name in ("circle", "square")]
    together = Mask.from_bitmap(shapes["circle"].bitmap | shapes["square"].bitmap)
    assert ClassicEngine().from_points(rgb, tuple(clicks)).iou(together) >= 0.95
    off = Point(clicks[1].x + 9, clicks[1].y, positive=False)
    assert ClassicEngine().from_points(rgb, (*clicks, off)).bitmap[off.y, off.x] == 0


def test_points_that_are_all_negative_bring_nothing() -> None:
    """Without a positive point there is nothing to fill from."""
    rgb, _ = scene(64)
    assert ClassicEngine().from_points(rgb, (Point(5, 5, positive=False),)).area == 0


def test_a_picture_of_one_colour_is_one_area_and_no_object() -> None:
    """Automatic finds the whole; a click is refused, since its fill is more than 60 % of the picture."""
    flat = np.full((80, 90, 3), 77, np.uint8)
    assert [mask.area for mask in ClassicEngine().automatic(flat, max_masks=9)] == [7200]
    assert ClassicEngine().from_points(flat, (Point(40, 40),)).area == 0


def test_a_large_picture_has_masks_of_its_own_size() -> None:
    """What is found on a smaller copy comes back at the picture's size, to an IoU of 0.98 and more."""
    rgb, shapes = scene()
    large = np.asarray(cv2.resize(rgb, None, fx=5, fy=5, interpolation=cv2.INTER_NEAREST), np.uint8)
    truth = Mask.from_bitmap(cv2.resize(shapes["circle"].bitmap, None, fx=5, fy=5, interpolation=cv2.INTER_NEAREST))
    assert truth.box is not None
    assert max(mask.iou(truth) for mask in ClassicEngine().automatic(large, max_masks=9)) >= 0.98
    assert ClassicEngine().from_box(large, truth.box).iou(truth) >= 0.98
    assert ClassicEngine().from_points(large, (middle(truth.box),)).iou(truth) >= 0.95


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (5, 5), (6, 300), (1, 2000)])
@pytest.mark.parametrize("kind", ["flat", "noise", "halves"])
def test_odd_pictures_and_odd_prompts_end_in_a_mask(size: tuple[int, int], kind: str) -> None:
    """Pictures, boxes and points of a pixel, at the edges and beyond them, bring a mask of the picture's size."""
    height, width = size
    rgb = np.full((height, width, 3), 120, np.uint8)
    if kind == "noise":
        rgb = np.random.default_rng(3).integers(0, 256, rgb.shape, np.uint8)
    if kind == "halves":
        rgb[:, : width // 2] = 10
    engine = ClassicEngine()
    corners = (Point(0, 0), Point(width - 1, height - 1, positive=False))
    masks = engine.automatic(rgb, max_masks=3)
    for box in (
        Box(0, 0, width, height),
        Box(0, 0, 1, 1),
        Box(width - 1, height - 1, width, height),
        Box(-9, -9, width + 9, height + 9),
        Box(width + 2, height + 2, width + 8, height + 8),
    ):
        masks += [engine.from_box(rgb, box), engine.from_box(rgb, box, corners)]
    masks += [engine.from_points(rgb, points) for points in ((), corners[:1], corners, (Point(width + 5, -2),))]
    assert {mask.size for mask in masks} == {size}


def test_a_box_as_large_as_the_picture_brings_what_differs_from_its_rim() -> None:
    """With nothing around the box, the rim of the picture is the background."""
    rgb, shapes = scene(200)
    found = ClassicEngine().from_box(rgb, Box(0, 0, 200, 200))
    together = Mask.from_bitmap(np.bitwise_or.reduce([shape.bitmap for shape in shapes.values()]))
    assert found.iou(together) >= 0.9


def test_masks_are_the_same_in_every_thread() -> None:
    """Four threads at once find what one alone finds, though OpenCV draws random numbers in all of them."""
    rgb, shapes = scene(200)
    box = shapes["ellipse"].box
    assert box is not None

    def both() -> list[Mask]:
        return [*ClassicEngine().automatic(rgb, max_masks=20), ClassicEngine().from_box(rgb, box)]

    found: list[list[Mask]] = []
    start = threading.Barrier(4)

    def at_once() -> None:
        start.wait()
        found.append(both())

    threads = [threading.Thread(target=at_once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = both()
    assert [expected] * 4 == found


@pytest.mark.parametrize(
    ("prompt", "least"),
    [
        (AutomaticPrompt(), 4),
        (ObjectPrompt(box=Box(60, 60, 250, 250)), 1),
        (ObjectPrompt(points=(Point(153, 153),)), 1),
        (ObjectPrompt(points=(Point(153, 153, positive=False),)), 0),
    ],
)
def test_prompts_bring_instances_without_scores_and_without_empty_masks(prompt: Prompt, least: int) -> None:
    """Both kinds of prompt bring instances with neither score nor label, and never an all-black one."""
    rgb, _ = scene()
    instances = ClassicEngine().segment(rgb, Question(Picture(b"", "image/png", SIDE, SIDE, ""), prompt, max_masks=9))
    assert len(instances) >= least
    assert (len(instances) == 0) == (least == 0)
    assert all((one.score, one.label) == (None, None) and one.mask.area for one in instances)


@pytest.mark.parametrize("prompt", [TextPrompt("red circle"), ExemplarsPrompt((ExemplarBox(Box(0, 0, 9, 9)),))])
def test_text_is_never_guessed_at(prompt: Prompt) -> None:
    """A prompt that it cannot read is refused, not answered with something."""
    rgb, _ = scene(64)
    with pytest.raises(ValueError, match="classic reads no"):
        ClassicEngine().segment(rgb, Question(Picture(b"", "image/png", 64, 64, ""), prompt, max_masks=9))
