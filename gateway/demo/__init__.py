"""
The demonstration: a real photograph and a known scene through every provider, with a region that is down.

The photograph `coffee.jpg` is by Rachel Michetti, courtesy of Pikolo Espresso Bar, dedicated to the public domain
(CC0). Source: https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data.coffee, read 2026-11; it is a PNG
there.
"""

from gateway.demo.run import run_demo

__all__ = ["run_demo"]
