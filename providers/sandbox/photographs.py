"""
A photograph that was taken, with masks that were drawn by hand around what is in it.

The masks are in `photographs/coffee.json` as COCO's compressed runs, each of what is visible of its object: the saucer
without the cup that stands on it, and the cup without the coffee in it.

The photograph is by Rachel Michetti, courtesy of Pikolo Espresso Bar, dedicated to the public domain (CC0). Source:
https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data.coffee, read 2026-11; it is a PNG there.
"""

from __future__ import annotations

from importlib.resources import files

import orjson

from providers.contract import Mask
from providers.sandbox.canvas import scene_of_jpeg
from providers.sandbox.scene import Scene, SceneObject

_FOLDER = files("providers.sandbox") / "photographs"


def coffee() -> Scene:
    """Read the photograph of a cup of coffee and its masks."""
    known = orjson.loads((_FOLDER / "coffee.json").read_bytes())
    height, width = known["size"]
    objects = tuple(
        SceneObject(each["name"], Mask.from_counts((height, width), each["counts"]), tuple(each["also"]))
        for each in known["objects"]
    )
    return scene_of_jpeg("coffee", (_FOLDER / "coffee.jpg").read_bytes(), objects)
