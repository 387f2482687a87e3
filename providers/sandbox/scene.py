"""One picture and the truth about it: what is in it, and which words name it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from providers.contract import Mask

Rgb = npt.NDArray[np.uint8]
"""`(height, width, 3)`, red first."""

_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One named thing in a scene."""

    name: str
    mask: Mask
    also: tuple[str, ...] = ()
    """Further names; a text names the thing by one of these when it is the whole of it, but for a leading article."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One picture and the truth about it."""

    name: str
    rgb: Rgb = field(repr=False)
    png: bytes = field(repr=False)
    """The picture as a PNG file."""
    objects: tuple[SceneObject, ...]
    jpeg: bytes | None = field(default=None, repr=False)
    """The JPEG file whose pixels these are; None where the picture was made as PNG."""

    @property
    def size(self) -> tuple[int, int]:
        """`(height, width)` in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def digest(self) -> bytes:
        """The name of its pixels, whatever file holds them."""
        return pixels_digest(self.rgb)

    @property
    def file_name(self) -> str:
        """Under which name its own file is served."""
        return f"{self.name}.png" if self.jpeg is None else f"{self.name}.jpg"

    @property
    def file(self) -> bytes:
        """Its own file: the JPEG where there is one."""
        return self.png if self.jpeg is None else self.jpeg

    def named(self, text: str) -> tuple[int, ...]:
        """Return the indices of the objects that *text* names, in the scene's order."""
        return tuple(index for index, thing in enumerate(self.objects) if _named(text, thing))


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
    return any(_same(asked, words[start : start + len(asked)]) for start in range(len(words) - len(asked) + 1))


def _named(text: str, thing: SceneObject) -> bool:
    """Say whether *text* names a thing by its name or by one of its further names."""
    asked = _words(text)
    bare = asked[1:] if asked[:1] and asked[0] in _ARTICLES else asked
    return names(text, thing.name) or any(_same(bare, _words(name)) for name in thing.also)


def _same(asked: list[str], words: list[str]) -> bool:
    """Say whether two phrases are the same, or one is the plural of the other."""
    if not asked or len(asked) != len(words):
        return False
    return asked[:-1] == words[:-1] and asked[-1] in _forms(words[-1])


def _words(text: str) -> list[str]:
    """Return the words of *text* in lower case."""
    return re.findall(r"\w+", text.casefold())


def _forms(word: str) -> set[str]:
    """Return a word and its plurals."""
    forms = {word, word + "s", word + "es"}
    if word.endswith("y"):
        forms.add(word[:-1] + "ies")
    return forms
