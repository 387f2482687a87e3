"""
What the sandbox's models see: the truth on a scene it knows, the classic engine's segments on any other picture.

A known picture is recognised by its decoded pixels, so a lossless copy in another file format is known too.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from blake3 import blake3
from PIL import Image

from providers.contract import Mask, Workers
from providers.sandbox.bench import Flights
from providers.sandbox.choosing import Ask, Engine, chosen, segments
from providers.sandbox.faults import Fault, Kind, MaskForm, find
from providers.sandbox.mask_files import reformed
from providers.sandbox.scenes import Rgb, Scene, pixels_digest
from providers.sandbox.shelf import Shelf

_FORMATS = ("PNG", "JPEG", "WEBP")

_REFORMED_PIXELS = 1_000_000
"""About what a mask file holds that is asked for in another form; its true size is known in the worker only."""

_MOST_PIXELS = 64_000_000
"""Larger pictures are refused before they are decoded. Invented: no provider names a number of pixels."""


class BadPicture(Exception):
    """The bytes are no picture that the model takes; the message says why."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A picture that was recognised, or seen not to be known."""

    width: int
    height: int
    scene: Scene | None
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Piece:
    """One found mask."""

    mask: Mask
    score: float
    """Invented: below 1 and falling with the rank, the same every time."""
    key: str | None
    """The name under which its encoded form is kept; None where it is not."""


@dataclass(frozen=True, slots=True)
class Found:
    """All found masks, best first."""

    pieces: tuple[Piece, ...]
    by: str
    """`scene` when the masks are the truth, `classic` when they are the classic engine's."""


class Segmenter:
    """The model behind all upstreams."""

    def __init__(self, scenes: Sequence[Scene], engine: Engine, workers: Workers) -> None:
        """Know *scenes*; ask *engine* about everything else."""
        self._scenes = {scene.digest: scene for scene in scenes}
        self._engine = engine
        self._workers = workers
        self._known: Shelf[tuple[int, int, Scene | None]] = Shelf(most=20_000, most_bytes=20_000)
        self._recognising: Flights[tuple[int, int, Scene | None]] = Flights()
        self._encoding: Flights[bytes] = Flights()
        self._encoded: Shelf[bytes] = Shelf(most=2_000, most_bytes=64_000_000)
        self._reformed: Shelf[tuple[str, bytes]] = Shelf(most=1_000, most_bytes=32_000_000)

    async def open(self, data: bytes) -> Opened:
        """
        Say what picture *data* holds; its name by bytes first, since that is cheap.

        Raises:
            BadPicture: it is none, or too large.
        """
        name = await self._workers.run(lambda: blake3(data).hexdigest(), pixels=len(data) // 3)
        known = self._known.get(name)
        if known is None:
            head = _image(data)  # a small file may hold many pixels: they decide where it is decoded
            area = head.width * head.height
            known = await self._recognising.once(
                name, lambda: self._workers.run(lambda: self._recognise(data), pixels=area)
            )
            self._known.put(name, known, size=1)
        width, height, scene = known
        return Opened(width, height, scene, data)

    async def find(self, picture: Opened, ask: Ask) -> Found:
        """Return what *ask* names in *picture*."""
        scene = picture.scene
        if scene is not None:
            pieces = tuple(
                Piece(scene.objects[index].mask, score(rank), f"{scene.name}/{index}")
                for rank, index in enumerate(chosen(scene, ask))
            )
            return Found(pieces, "scene")
        masks = await self._workers.run(
            lambda: segments(self._engine, decode(picture.data), ask), pixels=picture.width * picture.height
        )
        return Found(tuple(Piece(mask, score(rank), None) for rank, mask in enumerate(masks)), "classic")

    async def union(self, picture: Opened, found: Found) -> Found:
        """Return all pieces together as one; nothing where there is none."""
        if len(found.pieces) < 2:
            return found
        first = found.pieces[0]
        keys = [piece.key.rpartition("/")[2] for piece in found.pieces if piece.key]
        key = f"{first.key}+{'+'.join(keys[1:])}" if first.key else None
        mask = await self._workers.run(
            lambda: _united([piece.mask for piece in found.pieces]), pixels=picture.width * picture.height
        )
        return Found((Piece(mask, first.score, key),), found.by)

    async def miscounted(
        self, picture: Opened, pieces: tuple[Piece, ...], faults: tuple[Fault, ...]
    ) -> tuple[Piece, ...]:
        """Return as many pieces as the faults make of them; of nothing nothing can be made."""
        if find(faults, Kind.DUPLICATE_MASKS) is not None:
            pieces = tuple(piece for piece in pieces for _ in range(2))
        many = find(faults, Kind.TOO_MANY_MASKS)
        if many is None or not pieces:
            return pieces
        most: int = many["count"]
        further = [await self._shifted(picture, pieces[n % len(pieces)], n) for n in range(len(pieces), most)]
        return (*pieces[:most], *further)

    async def _shifted(self, picture: Opened, piece: Piece, pixels: int) -> Piece:
        """Return a piece whose mask lies some pixels further to the right, what leaves there coming in on the left."""
        mask = await self._workers.run(
            lambda: Mask.from_bitmap(np.roll(piece.mask.bitmap, pixels, axis=1)), pixels=picture.width * picture.height
        )
        return Piece(mask, score(pixels), f"{piece.key}>{pixels}" if piece.key else None)

    async def reform(self, data: bytes, form: MaskForm) -> tuple[str, bytes]:
        """Return media type and file of an encoded mask in another form."""
        key = f"{blake3(data).hexdigest()}.{form}"
        kept = self._reformed.get(key)
        if kept is None:
            kept = await self._workers.run(lambda: reformed(data, form), pixels=_REFORMED_PIXELS)
            self._reformed.put(key, kept, size=len(kept[1]))
        return kept

    async def encode(
        self, picture: Opened, piece: Piece, output_format: str, *, apply_mask: bool, inverted: bool = False
    ) -> bytes:
        """
        Return the file of one mask.

        Args:
            picture: what the mask is of.
            piece: the mask.
            output_format: `png`, `webp` (lossless) or `jpeg`.
            apply_mask: the picture cut out by the mask, with alpha where the format has it, instead of the mask.
            inverted: black where the object is.
        """
        cut = "cut" if apply_mask else "inverted" if inverted else "plain"
        key = f"{piece.key}.{output_format}.{cut}" if piece.key else None
        kept = self._encoded.get(key) if key else None
        if kept is not None:
            return kept
        area = picture.width * picture.height

        def work() -> Coroutine[Any, Any, bytes]:
            return self._workers.run(lambda: _encoded(picture, piece.mask, output_format, cut), pixels=area)

        if key is None:
            return await work()
        data = await self._encoding.once(key, work)
        self._encoded.put(key, data, size=len(data))
        return data

    async def stop(self) -> None:
        """End what is under way."""
        await self._recognising.stop()
        await self._encoding.stop()

    def _recognise(self, data: bytes) -> tuple[int, int, Scene | None]:
        """Return width, height and, if it is one, the scene."""
        rgb = decode(data)
        return rgb.shape[1], rgb.shape[0], self._scenes.get(pixels_digest(rgb))


def score(rank: int) -> float:
    """
    Return the score of the mask at *rank*, counted from 0: falling, below 1, above one half.

    >>> score(0), score(1)
    (0.99, 0.945455)
    """
    return round(0.5 + 0.49 / (1 + 0.1 * rank), 6)


def decode(data: bytes) -> Rgb:
    """
    Return the pixels of a picture file as they are stored; EXIF orientation is not heeded (invented).

    Raises:
        BadPicture: it cannot be read.
    """
    image = _image(data)
    try:
        return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise BadPicture(f"the picture cannot be decoded: {error}") from error


def to_data_uri(data: bytes, media_type: str) -> str:
    """Return a file as a data: URI."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _image(data: bytes) -> Image.Image:
    """Read the head of a picture file."""
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture("image dimensions exceed what the model takes") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise BadPicture("the file is no PNG, JPEG or WebP picture") from error
    if image.width * image.height > _MOST_PIXELS:
        raise BadPicture(f"image dimensions {image.width}x{image.height} exceed {_MOST_PIXELS} pixels")
    return image


_ENCODINGS: dict[str, tuple[str, list[int]]] = {
    "png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 3]),
    "webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]),
}


def _united(masks: Sequence[Mask]) -> Mask:
    """Return the pixels of any of some masks of one size."""
    together = np.zeros(masks[0].size, np.uint8)
    for mask in masks:
        together |= mask.bitmap
    return Mask.from_bitmap(together)


def _encoded(picture: Opened, mask: Mask, output_format: str, cut: str) -> bytes:
    """Return the file of a mask: 8-bit grey with 0 and 255, plain or inverted, or the picture cut out by it."""
    pixels = mask.bitmap * np.uint8(255)
    if cut == "inverted":
        pixels = np.uint8(255) - pixels
    if cut == "cut":
        rgb = picture.scene.rgb if picture.scene is not None else decode(picture.data)
        bgr = rgb[:, :, ::-1] * mask.bitmap[:, :, None]
        pixels = bgr if output_format == "jpeg" else np.dstack((bgr, pixels))
    extension, options = _ENCODINGS[output_format]
    written, data = cv2.imencode(extension, np.ascontiguousarray(pixels), options)
    assert written
    return data.tobytes()
