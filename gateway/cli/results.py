"""
The files that a run writes for each picture, and how a later run finds them again.

The answer is written last and in one piece, so that an answer on disk means that all files of its picture are there.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pybase64
from blake3 import blake3
from PIL import ExifTags, Image, ImageOps

from gateway.cli.pictures import PictureFile
from gateway.client import Answer
from gateway.client.answers import read_answer
from gateway.render import MaskEncoding, overlay, render
from providers.contract import Mask

#: Where the question stands in an answer's metadata.
ASKED = "asked"


@dataclass(frozen=True, slots=True)
class Results:
    """The folder that a run writes to."""

    folder: Path

    def write(self, picture: PictureFile, data: bytes, answer: Answer) -> None:
        """
        Write masks, overlay and answer.

        Args:
            picture: whose they are.
            data: its encoded file.
            answer: what came of it.
        """
        self.answer_file(picture).parent.mkdir(parents=True, exist_ok=True)
        for old in self._mask_files(picture):
            old.unlink()
        masks = [found.mask.mask() for found in answer.instances if found.mask is not None]
        for index, mask in enumerate(masks):
            self._file(picture, f"mask-{index:02}.png").write_bytes(_png(mask))
        self._file(picture, "overlay.png").write_bytes(overlay(_upright(data), masks))
        whole = self._file(picture, "json.part")
        whole.write_bytes(orjson.dumps(answer.document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        whole.replace(self.answer_file(picture))

    def read(self, picture: PictureFile, data: bytes, *, asked: Mapping[str, Any]) -> Answer | None:
        """
        Return the answer that an earlier run wrote to the same question about the same picture, if there is one.

        Args:
            picture: whose it is.
            data: its encoded file, as it is now.
            asked: the question, as it stands in the answer's metadata.
        """
        try:
            answer = read_answer(orjson.loads(self.answer_file(picture).read_bytes()))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError):  # somebody else's file, or one of an older version: asked again
            return None
        same = (
            answer.status == "succeeded"
            and answer.document["metadata"].get(ASKED) == asked
            and answer.document["image"]["digest"] == f"blake3:{blake3(data).hexdigest()}"
        )
        return answer if same else None

    def answer_file(self, picture: PictureFile) -> Path:
        """Return where a picture's answer is."""
        return self._file(picture, "json")

    def _file(self, picture: PictureFile, suffix: str) -> Path:
        return self.folder / f"{picture.name}.{suffix}"

    def _mask_files(self, picture: PictureFile) -> list[Path]:
        folder, name = self._file(picture, "json").parent, Path(picture.name).name
        return [file for file in folder.iterdir() if file.name.startswith(f"{name}.mask-") and file.suffix == ".png"]


def _upright(data: bytes) -> bytes:
    """Return the picture as the gateway has seen it: with its EXIF orientation baked in."""
    with Image.open(io.BytesIO(data)) as opened:
        if opened.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return data
        file = io.BytesIO()
        ImageOps.exif_transpose(opened).save(file, "png", compress_level=1)
        return file.getvalue()


def _png(mask: Mask) -> bytes:
    """Return a mask as a PNG file of one bit a pixel."""
    rendered = render(mask, MaskEncoding.PNG)
    assert rendered is not None
    assert rendered["encoding"] == "png"
    return pybase64.b64decode(rendered["data"])
