"""
What the sandbox's models see: the truth on a scene it knows, the classic engine's segments on any other picture.

A known picture is recognised by its decoded pixels, so a lossless copy in another file format is known too.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
from blake3 import blake3
from PIL import Image

from providers.contract import Box, Mask, ObjectPrompt, Point, Workers
from providers.sandbox.scenes import Rgb, Scene, pixels_digest
from providers.sandbox.shelf import Shelf

T = TypeVar("T")

MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}

_MOST_PIXELS = 64_000_000
"""Larger pictures are refused before they are decoded. Invented: no provider names a number of pixels."""

_MOST_MASKS = 256
"""The most segments of an unknown picture. Invented."""


class Engine(Protocol):
    """What segments pictures that are no scene: the local classic engine."""

    def automatic(self, rgb: Rgb, *, max_masks: int) -> list[Mask]:
        """Return the segments of a whole picture."""
        ...

    def from_box(self, rgb: Rgb, box: Box, points: tuple[Point, ...] = ()) -> Mask:
        """Return the thing in *box*."""
        ...

    def from_points(self, rgb: Rgb, points: tuple[Point, ...]) -> Mask:
        """Return the thing under *points*."""
        ...


class BadPicture(Exception):
    """The bytes are no picture that the model takes; the message says why."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A picture that was recognised, or seen not to be known."""

    width: int
    height: int
    media_type: str
    """What its bytes are, whatever anybody called them."""
    scene: Scene | None
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ask:
    """What to find: by text, as single objects, everything, or several of these together."""

    text: str = ""
    objects: tuple[ObjectPrompt, ...] = ()
    automatic: bool = False


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


class Bench:
    """A `Workers` that hands on at most so many pieces of work at once, the rest wait their turn."""

    def __init__(self, workers: Workers, *, at_once: int = 32) -> None:
        """Hand work on to *workers*, *at_once* pieces at a time."""
        self._workers = workers
        self._turn = asyncio.Semaphore(at_once)

    async def run(self, work: Callable[[], T], *, pixels: int) -> T:
        """Run *work*, which touches *pixels* pixels, when its turn has come."""
        async with self._turn:
            return await self._workers.run(work, pixels=pixels)


class Flights(Generic[T]):
    """Work by name: while one asks for it, the others who ask for the same wait for that one's."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        self._under_way: dict[str, asyncio.Task[T]] = {}

    async def once(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what *work* returns; who is cancelled leaves it to the others."""
        task = self._under_way.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(work())
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name))
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Segmenter:
    """The model behind all upstreams."""

    def __init__(self, scenes: Sequence[Scene], engine: Engine, workers: Workers) -> None:
        """Know *scenes*; ask *engine* about everything else."""
        self._scenes = {scene.digest: scene for scene in scenes}
        self._engine = engine
        self._workers = workers
        self._known: Shelf[tuple[int, int, str, Scene | None]] = Shelf(most=20_000, most_bytes=20_000)
        self._recognising: Flights[tuple[int, int, str, Scene | None]] = Flights()
        self._encoding: Flights[bytes] = Flights()
        self._encoded: Shelf[bytes] = Shelf(most=2_000, most_bytes=64_000_000)

    async def open(self, data: bytes) -> Opened:
        """
        Say what picture *data* holds; its name by bytes first, since that is cheap.

        Raises:
            BadPicture: it is none, or too large.
        """
        name = await self._workers.run(lambda: blake3(data).hexdigest(), pixels=len(data) // 3)
        known = self._known.get(name)
        if known is None:
            known = await self._recognising.once(
                name, lambda: self._workers.run(lambda: self._recognise(data), pixels=8 * len(data))
            )
            self._known.put(name, known, size=1)
        width, height, media_type, scene = known
        return Opened(width, height, media_type, scene, data)

    async def find(self, picture: Opened, ask: Ask) -> Found:
        """Return what *ask* names in *picture*."""
        scene = picture.scene
        if scene is not None:
            chosen = _chosen(scene, ask)
            pieces = tuple(
                Piece(scene.objects[index].mask, score(rank), f"{scene.name}/{index}")
                for rank, index in enumerate(chosen)
            )
            return Found(pieces, "scene")
        masks = await self._workers.run(
            lambda: _segments(self._engine, decode(picture.data), ask), pixels=picture.width * picture.height
        )
        return Found(tuple(Piece(mask, score(rank), None) for rank, mask in enumerate(masks)), "classic")

    async def encode(self, picture: Opened, piece: Piece, output_format: str, *, apply_mask: bool) -> bytes:
        """
        Return the file of one mask.

        Args:
            picture: what the mask is of.
            piece: the mask.
            output_format: `png`, `webp` (lossless) or `jpeg`.
            apply_mask: the picture cut out by the mask, with alpha where the format has it, instead of the mask.
        """
        key = f"{piece.key}.{output_format}.{apply_mask}" if piece.key else None
        kept = self._encoded.get(key) if key else None
        if kept is not None:
            return kept
        area = picture.width * picture.height

        def work() -> Coroutine[Any, Any, bytes]:
            return self._workers.run(lambda: _encoded(picture, piece.mask, output_format, apply_mask), pixels=area)

        if key is None:
            return await work()
        data = await self._encoding.once(key, work)
        self._encoded.put(key, data, size=len(data))
        return data

    async def stop(self) -> None:
        """End what is under way."""
        await self._recognising.stop()
        await self._encoding.stop()

    def _recognise(self, data: bytes) -> tuple[int, int, str, Scene | None]:
        """Return width, height, media type and, if it is one, the scene."""
        image = _image(data)
        rgb = decode(data)
        scene = self._scenes.get(pixels_digest(rgb))
        return rgb.shape[1], rgb.shape[0], MEDIA_TYPES[image.format or ""], scene


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
        image = Image.open(io.BytesIO(data), formats=tuple(MEDIA_TYPES))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture("image dimensions exceed what the model takes") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise BadPicture("the file is no PNG, JPEG or WebP picture") from error
    if image.width * image.height > _MOST_PIXELS:
        raise BadPicture(f"image dimensions {image.width}x{image.height} exceed {_MOST_PIXELS} pixels")
    return image


def _chosen(scene: Scene, ask: Ask) -> list[int]:
    """Return the indices of the objects that *ask* names, each once."""
    chosen = list(range(len(scene.objects))) if ask.automatic else list(scene.named(ask.text))
    chosen += [index for prompt in ask.objects if (index := _under(scene, prompt)) is not None]
    return list(dict.fromkeys(chosen))


def _under(scene: Scene, prompt: ObjectPrompt) -> int | None:
    """Return the object that lies under the positive points and fills the box best; None when none does either."""

    def fit(index: int) -> tuple[int, float]:
        mask = scene.objects[index].mask
        hits = sum(1 if point.positive else -1 for point in prompt.points if mask.bitmap[point.y, point.x])
        return hits, _overlap(mask.box, prompt.box)

    height, width = scene.size
    if any(not (0 <= point.x < width and 0 <= point.y < height) for point in prompt.points):
        return None
    best = max(range(len(scene.objects)), key=fit)
    hits, overlap = fit(best)
    wanted = any(point.positive for point in prompt.points)
    return best if (hits > 0 if wanted else overlap > 0) else None


def _overlap(one: Box | None, other: Box | None) -> float:
    """Return the intersection over union of two boxes; 0 where one is missing."""
    if one is None or other is None:
        return 0.0
    width = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    height = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    both = max(0, width) * max(0, height)
    return both / (one.area + other.area - both)


def _segments(engine: Engine, rgb: Rgb, ask: Ask) -> list[Mask]:
    """Return the classic engine's segments: all for a text that it cannot read, one for each object."""
    masks = engine.automatic(rgb, max_masks=_MOST_MASKS) if ask.automatic or ask.text.strip() else []
    for prompt in ask.objects:
        if prompt.box is not None:
            masks = [*masks, engine.from_box(rgb, prompt.box, prompt.points)]
        else:
            masks = [*masks, engine.from_points(rgb, prompt.points)]
    return [mask for mask in masks if mask.area]


_ENCODINGS: dict[str, tuple[str, list[int]]] = {
    "png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 3]),
    "webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]),
}


def _encoded(picture: Opened, mask: Mask, output_format: str, apply_mask: bool) -> bytes:  # noqa: FBT001 - called here
    """Return the file of a mask: 8-bit grey with 0 and 255, or the picture cut out by it."""
    pixels = mask.bitmap * np.uint8(255)
    if apply_mask:
        rgb = picture.scene.rgb if picture.scene is not None else decode(picture.data)
        bgr = rgb[:, :, ::-1] * mask.bitmap[:, :, None]
        pixels = bgr if output_format == "jpeg" else np.dstack((bgr, pixels))
    extension, options = _ENCODINGS[output_format]
    written, data = cv2.imencode(extension, np.ascontiguousarray(pixels), options)
    assert written
    return data.tobytes()
