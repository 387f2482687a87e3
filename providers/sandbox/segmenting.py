"""
What the sandbox's models see: the truth on a scene it knows, invented masks on any other picture.

A known picture is recognised by its decoded pixels, so a lossless copy in another file format is known too. A large
picture of a size that no scene has is not decoded for that.
"""

from __future__ import annotations

import base64
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from blake3 import blake3

from providers.contract import Bitmap, Mask, Workers
from providers.sandbox.bench import Flights
from providers.sandbox.choosing import Ask, Engine, chosen
from providers.sandbox.faults import Fault, Kind, MaskForm, find
from providers.sandbox.inventing import BadPicture, decode, invent, is_small, read_head, scaled_png
from providers.sandbox.mask_files import cut_out_png, reformed
from providers.sandbox.scene import Scene, pixels_digest
from providers.sandbox.shelf import Shelf

__all__ = ["BadPicture", "Found", "Opened", "Piece", "Segmenter", "decode", "score", "to_data_uri"]

_REFORMED_PIXELS = 1_000_000
"""About what a mask file holds that is asked for in another form; its true size is known in the worker only."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A picture that was recognised, or seen not to be known."""

    name: str
    """Digest of the file."""
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
    small: Bitmap | None = field(default=None, repr=False)
    """What the mask was scaled up from, if it was: its file is written from that."""


@dataclass(frozen=True, slots=True)
class Found:
    """All found masks, best first."""

    pieces: tuple[Piece, ...]
    by: str
    """`scene` when the masks are the truth, `classic` when the classic engine has invented them."""


class Segmenter:
    """The model behind all upstreams."""

    def __init__(self, scenes: Sequence[Scene], engine: Engine, workers: Workers) -> None:
        """Know *scenes*; ask *engine* about everything else."""
        self._scenes = {scene.digest: scene for scene in scenes}
        self._sizes = {scene.size for scene in scenes}
        self._engine = engine
        self._workers = workers
        self._known: Shelf[tuple[int, int, Scene | None]] = Shelf(most=20_000, most_bytes=20_000)
        self._recognising: Flights[tuple[int, int, Scene | None]] = Flights()
        self._inventing: Flights[Found] = Flights()
        self._invented: Shelf[Found] = Shelf(most=256, most_bytes=64_000_000)
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
            head = read_head(data)
            known = head.width, head.height, None
            if is_small(head) or (head.height, head.width) in self._sizes:
                area = head.width * head.height  # a small file may hold many pixels: they decide where it is decoded
                known = await self._recognising.once(
                    name, lambda: self._workers.run(lambda: self._recognise(data), pixels=area)
                )
            self._known.put(name, known, size=1)
        width, height, scene = known
        return Opened(name, width, height, scene, data)

    async def find(self, picture: Opened, ask: Ask) -> Found:
        """
        Return what *ask* names in *picture*.

        Raises:
            BadPicture: it cannot be decoded.
        """
        scene = picture.scene
        if scene is not None:
            pieces = tuple(
                Piece(scene.objects[index].mask, score(rank), f"{scene.name}/{index}")
                for rank, index in enumerate(chosen(scene, ask))
            )
            return Found(pieces, "scene")
        key = f"{picture.name}/{ask.automatic or bool(ask.text.strip())}/{ask.objects}"  # no word of a text is read
        found = self._invented.get(key)
        if found is None:
            found = await self._inventing.once(key, lambda: self._invent(picture, ask, key))
            self._invented.put(key, found, size=sum(piece.mask.runs.nbytes for piece in found.pieces))
        return found

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
            return self._workers.run(lambda: _encoded(picture, piece, output_format, cut), pixels=area)

        if key is None:
            return await work()
        data = await self._encoding.once(key, work)
        self._encoded.put(key, data, size=len(data))
        return data

    async def jpeg_of(self, scene: Scene, size: tuple[int, int]) -> bytes:
        """Return a JPEG file of *scene* at *size*, width and height; at its own size it is known again."""
        if scene.jpeg is not None and size == scene.size[::-1]:
            return scene.jpeg
        return await self._workers.run(lambda: _resized_jpeg(scene, size), pixels=size[0] * size[1])

    async def stop(self) -> None:
        """End what is under way."""
        await self._recognising.stop()
        await self._inventing.stop()
        await self._encoding.stop()

    async def _invent(self, picture: Opened, ask: Ask, key: str) -> Found:
        """Have masks invented for a picture that is no scene."""
        area = picture.width * picture.height
        invented = await self._workers.run(lambda: invent(self._engine, picture.data, ask), pixels=area)
        pieces = [Piece(each.mask, score(rank), f"{key}/{rank}", each.small) for rank, each in enumerate(invented)]
        return Found(tuple(pieces), "classic")

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


def to_data_uri(data: bytes, media_type: str) -> str:
    """Return a file as a data: URI."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


_ENCODINGS: dict[str, tuple[str, list[int]]] = {
    "png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 3]),
    "webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]),
}


def _resized_jpeg(scene: Scene, size: tuple[int, int]) -> bytes:
    """Return a JPEG file of a scene at another size."""
    pixels = cv2.resize(scene.rgb, size, interpolation=cv2.INTER_AREA)
    written, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[:, :, ::-1]))
    assert written
    return data.tobytes()


def _united(masks: Sequence[Mask]) -> Mask:
    """Return the pixels of any of some masks of one size."""
    together = np.zeros(masks[0].size, np.uint8)
    for mask in masks:
        together |= mask.bitmap
    return Mask.from_bitmap(together)


def _encoded(picture: Opened, piece: Piece, output_format: str, cut: str) -> bytes:
    """Return the file of a mask: 8-bit grey with 0 and 255, plain or inverted, or the picture cut out by it."""
    if piece.small is not None and (output_format, cut) == ("png", "plain"):
        return scaled_png(piece.small, piece.mask.size)
    bitmap = piece.mask.bitmap
    pixels = bitmap * np.uint8(255)
    if cut == "inverted":
        pixels = np.uint8(255) - pixels
    if cut == "cut":
        rgb = picture.scene.rgb if picture.scene is not None else decode(picture.data)
        if output_format == "png":
            return cut_out_png(rgb, piece.mask)
        bgr = rgb[:, :, ::-1] * bitmap[:, :, None]
        pixels = bgr if output_format == "jpeg" else np.dstack((bgr, pixels))
    extension, options = _ENCODINGS[output_format]
    written, data = cv2.imencode(extension, np.ascontiguousarray(pixels), options)
    assert written
    return data.tobytes()
