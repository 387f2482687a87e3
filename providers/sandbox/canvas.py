"""
A picture being painted from the masks of its objects.

Later objects lie on top; an object's true mask is what is left visible of it, so a mask that differs from the truth by
one pixel is a wrong mask.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from providers.contract import Mask
from providers.sandbox.scene import Rgb, Scene, SceneObject

Shape = npt.NDArray[np.bool_]
"""`(height, width)`, true on the object."""

Colour = tuple[int, int, int]

_JPEG_QUALITY = 92


class Canvas:
    """A picture being painted."""

    def __init__(self, width: int, height: int, top: Colour, bottom: Colour) -> None:
        """Start with a vertical gradient from *top* to *bottom*."""
        ramp = np.linspace(0.0, 1.0, height)[:, None, None]
        column = np.array(top) * (1 - ramp) + np.array(bottom) * ramp
        self._rgb: Rgb = np.ascontiguousarray(np.broadcast_to(column, (height, width, 3)).astype(np.uint8))
        self._owner = np.full((height, width), -1, np.int32)
        self._names: list[tuple[str, tuple[str, ...]]] = []
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

    def add(self, name: str, shape: Shape, colour: Colour, *, also: tuple[str, ...] = ()) -> None:
        """Paint an object over what is there, a little darker towards its bottom; *also* are further names of it."""
        self.decorate(shape, colour)
        self._owner[shape] = len(self._names)
        self._names.append((name, also))

    def decorate(self, shape: Shape, colour: Colour) -> None:
        """Paint over pixels without changing whose they are."""
        pixels = np.flatnonzero(shape)
        height, width = shape.shape
        light = 1.0 - 0.2 * (pixels // width / height)
        self._rgb.reshape(-1, 3)[pixels] = (np.array(colour)[None, :] * light[:, None]).astype(np.uint8)

    def finish(self, name: str) -> Scene:
        """Return the scene: the picture, and what is visible of every object."""
        written, png = cv2.imencode(".png", self._rgb[:, :, ::-1])
        assert written
        self._rgb.setflags(write=False)  # every sandbox of the process shows the same
        return Scene(name, self._rgb, png.tobytes(), self._objects())

    def finish_as_jpeg(self, name: str) -> Scene:
        """Return the scene as a JPEG file shows it, for addresses and products that promise one."""
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        written, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(self._rgb[:, :, ::-1]), options)
        assert written
        return scene_of_jpeg(name, jpeg.tobytes(), self._objects())

    def _objects(self) -> tuple[SceneObject, ...]:
        """Return what is visible of every object."""
        return tuple(
            SceneObject(label, Mask.from_bitmap(self._owner == index), also)
            for index, (label, also) in enumerate(self._names)
        )


def scene_of_jpeg(name: str, jpeg: bytes, objects: tuple[SceneObject, ...]) -> Scene:
    """Return the scene that a JPEG file shows: its pixels are what the file decodes to."""
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as picture:
        rgb = np.array(picture.convert("RGB"))  # as `segmenting.decode` reads what callers send
    written, png = cv2.imencode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))
    assert written
    rgb.setflags(write=False)
    return Scene(name, rgb, png.tobytes(), objects, jpeg)
