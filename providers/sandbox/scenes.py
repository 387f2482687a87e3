"""
The pictures that the sandbox knows exactly.

Each is painted from the masks of its objects, in order, later ones on top; an object's true mask is what is left
visible of it, so a mask that differs from the truth by one pixel is a wrong mask.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from blake3 import blake3

from providers.contract import Mask

Rgb = npt.NDArray[np.uint8]
"""`(height, width, 3)`, red first."""

Shape = npt.NDArray[np.bool_]
"""`(height, width)`, true on the object."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One named thing in a scene."""

    name: str
    mask: Mask


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One picture and the truth about it."""

    name: str
    rgb: Rgb = field(repr=False)
    png: bytes = field(repr=False)
    objects: tuple[SceneObject, ...]

    @property
    def size(self) -> tuple[int, int]:
        """`(height, width)` in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def digest(self) -> bytes:
        """The name of its pixels, whatever file holds them."""
        return pixels_digest(self.rgb)

    def named(self, text: str) -> tuple[int, ...]:
        """Return the indices of the objects that *text* names, in the scene's order."""
        return tuple(index for index, thing in enumerate(self.objects) if names(text, thing.name))


def pixels_digest(rgb: Rgb) -> bytes:
    """Return a digest over size and pixels."""
    return blake3(np.ascontiguousarray(rgb).data, key=rgb.shape[0].to_bytes(16) + rgb.shape[1].to_bytes(16)).digest()


def names(text: str, name: str) -> bool:
    """
    Say whether *text* is *name*, some successive words of it, or the plural of either.

    >>> names("Shoes", "left shoe"), names("left", "left shoe"), names("boot", "left shoe"), names("", "left shoe")
    (True, True, False, False)
    """
    asked, words = _words(text), _words(name)
    if not asked:
        return False
    for start in range(len(words) - len(asked) + 1):
        stretch = words[start : start + len(asked)]
        if asked[:-1] == stretch[:-1] and asked[-1] in _forms(stretch[-1]):
            return True
    return False


@cache
def paint_scenes() -> tuple[Scene, ...]:
    """Paint all scenes, once a process. Takes a tenth of a second the first time: not for the event loop."""
    return _shapes(), _shoes(), _desk(), _crowd(), _street()


def _words(text: str) -> list[str]:
    """Return the words of *text* in lower case."""
    return re.findall(r"\w+", text.casefold())


def _forms(word: str) -> set[str]:
    """Return a word and its plurals."""
    forms = {word, word + "s", word + "es"}
    if word.endswith("y"):
        forms.add(word[:-1] + "ies")
    return forms


class _Canvas:
    """A picture being painted."""

    def __init__(self, width: int, height: int, top: Colour, bottom: Colour) -> None:
        """Start with a vertical gradient from *top* to *bottom*."""
        ramp = np.linspace(0.0, 1.0, height)[:, None, None]
        column = np.array(top) * (1 - ramp) + np.array(bottom) * ramp
        self._rgb: Rgb = np.ascontiguousarray(np.broadcast_to(column, (height, width, 3)).astype(np.uint8))
        self._owner = np.full((height, width), -1, np.int32)
        self._names: list[str] = []
        self.y, self.x = np.ogrid[0:height, 0:width]

    def disc(self, x: int, y: int, radius: int) -> Shape:
        """Return the disc around a centre."""
        return self.ellipse(x, y, radius, radius)

    def ellipse(self, x: int, y: int, half_width: int, half_height: int) -> Shape:
        """Return an upright ellipse, in integers so that no rounding differs between machines."""
        across = (self.x - x) ** 2 * half_height**2 + (self.y - y) ** 2 * half_width**2
        return np.asarray(across <= (half_width * half_height) ** 2)

    def box(self, x_min: int, y_min: int, x_max: int, y_max: int) -> Shape:
        """Return a half-open rectangle."""
        return np.asarray((self.x >= x_min) & (self.x < x_max) & (self.y >= y_min) & (self.y < y_max))

    def polygon(self, *corners: tuple[int, int]) -> Shape:
        """Return the filled polygon through *corners*, `(x, y)` each."""
        filled = np.zeros(self._owner.shape, np.uint8)
        cv2.fillPoly(filled, [np.array(corners, np.int32)], 1)
        return filled.astype(np.bool_)

    def add(self, name: str, shape: Shape, colour: Colour) -> None:
        """Paint an object over what is there, a little darker towards its bottom."""
        self.decorate(shape, colour)
        self._owner[shape] = len(self._names)
        self._names.append(name)

    def decorate(self, shape: Shape, colour: Colour) -> None:
        """Paint over pixels without changing whose they are."""
        pixels = np.flatnonzero(shape)
        height, width = shape.shape
        light = 1.0 - 0.2 * (pixels // width / height)
        self._rgb.reshape(-1, 3)[pixels] = (np.array(colour)[None, :] * light[:, None]).astype(np.uint8)

    def finish(self, name: str) -> Scene:
        """Return the scene: the picture, and what is visible of every object."""
        objects = tuple(
            SceneObject(label, Mask.from_bitmap(self._owner == index)) for index, label in enumerate(self._names)
        )
        written, png = cv2.imencode(".png", self._rgb[:, :, ::-1])
        assert written
        self._rgb.setflags(write=False)  # every sandbox of the process shows the same
        return Scene(name, self._rgb, png.tobytes(), objects)


def _shapes() -> Scene:
    """Plain shapes, one of them with a hole and one half hidden."""
    canvas = _Canvas(512, 384, (236, 238, 242), (206, 210, 220))
    canvas.add("red circle", canvas.disc(110, 110, 70), (214, 48, 49))
    canvas.add("blue square", canvas.box(230, 50, 350, 170), (41, 98, 255))
    canvas.add("green triangle", canvas.polygon((70, 340), (150, 210), (230, 340)), (32, 150, 83))
    canvas.add("orange ring", canvas.disc(330, 280, 72) & ~canvas.disc(330, 280, 36), (240, 140, 20))
    canvas.add("purple bar", canvas.box(400, 60, 430, 330), (120, 60, 180))
    canvas.add("yellow square", canvas.box(410, 120, 480, 190), (250, 210, 40))
    return canvas.finish("shapes")


def _shoes() -> Scene:
    """Draw a pair of shoes and the carton they came in."""
    canvas = _Canvas(640, 480, (225, 215, 200), (190, 176, 158))
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
    canvas = _Canvas(1024, 768, (214, 189, 152), (186, 158, 120))
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
    canvas = _Canvas(800, 600, (44, 92, 72), (30, 66, 52))
    for index in range(16):
        row, column = divmod(index, 4)
        x, y = 110 + 190 * column + 14 * (row % 2), 90 + 138 * row
        radius = 38 + 4 * (index % 5)
        canvas.add("coin", canvas.disc(x, y, radius), (206 - 5 * index, 168 - 3 * index, 74))
        canvas.decorate(canvas.disc(x, y, radius - 10) & ~canvas.disc(x, y, radius - 13), (150, 118, 44))
    return canvas.finish("crowd")


def _street() -> Scene:
    """Draw a car: its wheels are found by whoever forgets that Runflow's prompt defaults to "wheel"."""
    canvas = _Canvas(720, 405, (150, 196, 232), (208, 222, 230))
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
