"""Masks in the forms that callers ask for: as text, as picture files, as polygons, and painted over the picture."""

from gateway.render.masks import (
    PngMask,
    PolygonMask,
    RenderedMask,
    RleMask,
    render,
)
from gateway.render.overlay import overlay
from gateway.request import MaskEncoding

__all__ = [
    "MaskEncoding",
    "PngMask",
    "PolygonMask",
    "RenderedMask",
    "RleMask",
    "overlay",
    "render",
]
