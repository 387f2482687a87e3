"""
The pictures that the sandbox knows exactly.

Most are painted from the masks of their objects (`canvas.py`); `documented.py` paints those that stand for pictures in
the providers' own documents; `photographs.py` has one that was taken, with masks drawn by hand.
"""

from __future__ import annotations

from functools import cache

from providers.sandbox.canvas import Canvas
from providers.sandbox.documented import headshot, robot_cat
from providers.sandbox.photographs import coffee
from providers.sandbox.scene import Rgb, Scene, SceneObject, names, pixels_digest

__all__ = ["Rgb", "Scene", "SceneObject", "names", "paint_scenes", "pixels_digest"]


@cache
def paint_scenes() -> tuple[Scene, ...]:
    """Paint all scenes, once a process. Takes a tenth of a second the first time: not for the event loop."""
    return _shapes(), _shoes(), _desk(), _crowd(), _street(), coffee(), headshot(), robot_cat()


def _shapes() -> Scene:
    """Plain shapes, one of them with a hole and one half hidden."""
    canvas = Canvas(512, 384, (236, 238, 242), (206, 210, 220))
    canvas.add("red circle", canvas.disc(110, 110, 70), (214, 48, 49))
    canvas.add("blue square", canvas.box(230, 50, 350, 170), (41, 98, 255))
    canvas.add("green triangle", canvas.polygon((70, 340), (150, 210), (230, 340)), (32, 150, 83))
    canvas.add("orange ring", canvas.disc(330, 280, 72) & ~canvas.disc(330, 280, 36), (240, 140, 20))
    canvas.add("purple bar", canvas.box(400, 60, 430, 330), (120, 60, 180))
    canvas.add("yellow square", canvas.box(410, 120, 480, 190), (250, 210, 40))
    return canvas.finish("shapes")


def _shoes() -> Scene:
    """Draw a pair of shoes and the carton they came in."""
    canvas = Canvas(640, 480, (225, 215, 200), (190, 176, 158))
    canvas.add("carton", canvas.polygon((180, 60), (460, 60), (480, 190), (160, 190)), (150, 104, 66))
    for name, x, colour in (("left shoe", 60, (38, 50, 64)), ("right shoe", 350, (52, 64, 80))):
        upper = canvas.polygon(
            (x, 400), (x + 4, 300), (x + 70, 280), (x + 110, 340), (x + 215, 375), (x + 226, 400), (x, 400)
        )
        toe = canvas.ellipse(x + 195, 385, 40, 24)
        canvas.add(name, upper | toe, colour)
        canvas.decorate(canvas.box(x + 30, 330, x + 60, 338) & upper, (230, 230, 230))
    return canvas.finish("shoes")


def _desk() -> Scene:
    """Draw a desk from above."""
    canvas = Canvas(1024, 768, (214, 189, 152), (186, 158, 120))
    canvas.add("keyboard", canvas.box(120, 470, 660, 660), (58, 62, 70))
    for row in range(4):
        for column in range(13):
            x, y = 136 + 40 * column, 484 + 43 * row
            canvas.decorate(canvas.box(x, y, x + 32, y + 34), (224, 226, 230))
    canvas.add("mouse", canvas.ellipse(770, 570, 48, 78), (40, 44, 52))
    canvas.add("mug", canvas.disc(830, 230, 92), (196, 60, 52))
    handle = canvas.ellipse(934, 230, 46, 58) & ~canvas.ellipse(930, 230, 24, 34) & ~canvas.disc(830, 230, 92)
    canvas.add("mug handle", handle, (170, 46, 40))
    canvas.add("notebook", canvas.polygon((110, 90), (420, 60), (450, 370), (140, 400)), (46, 110, 140))
    canvas.add("pen", canvas.polygon((480, 110), (496, 104), (600, 380), (584, 386)), (24, 28, 96))
    return canvas.finish("desk")


def _crowd() -> Scene:
    """Lay out many things of one name."""
    canvas = Canvas(800, 600, (44, 92, 72), (30, 66, 52))
    for index in range(16):
        row, column = divmod(index, 4)
        x, y = 110 + 190 * column + 14 * (row % 2), 90 + 138 * row
        radius = 38 + 4 * (index % 5)
        canvas.add("coin", canvas.disc(x, y, radius), (206 - 5 * index, 168 - 3 * index, 74))
        canvas.decorate(canvas.disc(x, y, radius - 10) & ~canvas.disc(x, y, radius - 13), (150, 118, 44))
    return canvas.finish("crowd")


def _street() -> Scene:
    """Draw a car: its wheels are found by whoever forgets that Runflow's prompt defaults to "wheel"."""
    canvas = Canvas(720, 405, (150, 196, 232), (208, 222, 230))
    canvas.decorate(canvas.box(0, 330, 720, 405), (110, 112, 116))
    body = canvas.polygon(
        (90, 310), (96, 240), (200, 226), (262, 150), (440, 150), (516, 226), (620, 244), (628, 310), (90, 310)
    )
    canvas.add("car", body, (178, 34, 52))
    canvas.add("car window", canvas.polygon((272, 166), (432, 166), (488, 226), (222, 226)), (60, 80, 98))
    canvas.add("front wheel", canvas.disc(200, 312, 46), (28, 28, 32))
    canvas.add("rear wheel", canvas.disc(520, 312, 46), (28, 28, 32))
    canvas.add("traffic light", canvas.box(660, 60, 690, 150) | canvas.box(671, 150, 679, 340), (66, 70, 64))
    return canvas.finish("street")
