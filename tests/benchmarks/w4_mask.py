"""W4: a PNG mask of 1024 x 1024 pixels to box, area and RLE, beside Pillow and pycocotools written plainly."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from providers.masks import read_mask
from tests.benchmarks.contender import WrongAnswer
from tests.benchmarks.rounds import take_turns
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.table import Aim, Row

NAME = "W4 PNG mask 1024 x 1024"
BESIDE = "Pillow + pycocotools"
MASKGATE = "maskgate"
SIDE = 1024
AIMS = ((BESIDE, Aim(4)),)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is wanted of a mask."""

    box: tuple[int, int, int, int]
    """`x_min, y_min, x_max, y_max`, half-open, in pixels."""
    area: int
    counts: str
    """COCO's compressed RLE."""


def picture() -> bytes:
    """Return the mask of one object with a wavy outline and a hole: an 8-bit grey PNG, 0 and 255."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    angle, distance = np.arctan2(rows, columns), np.hypot(rows, columns)
    solid = (distance < 330 + 40 * np.sin(7 * angle)) & (distance > 90)
    written = io.BytesIO()
    Image.fromarray(solid.astype(np.uint8) * 255).save(written, "PNG")
    return written.getvalue()


def ours(png: bytes) -> Facts:
    """Read a mask as an adapter does, and ask it for what an answer says."""
    mask = read_mask(png, size=(SIDE, SIDE)).mask
    box = mask.box
    assert box is not None
    return Facts((box.x_min, box.y_min, box.x_max, box.y_max), mask.area, mask.counts)


def plainly(png: bytes) -> Facts:
    """Do the same as one would write it on top of the two libraries."""
    bitmap = np.array(Image.open(io.BytesIO(png)).convert("L")) >= 128
    rle = coco.encode(np.asfortranarray(bitmap.astype(np.uint8)))
    x, y, width, height = (int(edge) for edge in coco.toBbox(rle))
    return Facts((x, y, x + width, y + height), int(coco.area(rle)), rle["counts"].decode("ascii"))


def measure(stage: Stage) -> list[Row]:
    """Take turns of CPU time in this process."""
    png = picture()
    if ours(png) != plainly(png):
        raise WrongAnswer(f"{ours(png)} is not {plainly(png)}")
    turns = {
        MASKGATE: partial(_cpu_ms, ours, png, stage.seconds),
        BESIDE: partial(_cpu_ms, plainly, png, stage.seconds),
    }
    spent = take_turns(turns, rounds=stage.rounds)
    figures = tuple(theirs / mine for mine, theirs in zip(spent[MASKGATE], spent[BESIDE], strict=True))
    return [
        Row(NAME, BESIDE, AIMS[0][1], figures, {name: {"cpu_ms": float(np.median(ms))} for name, ms in spent.items()})
    ]


def _cpu_ms(work: Callable[[bytes], Facts], png: bytes, seconds: float) -> float:
    """Do *work* for so many seconds; return the CPU milliseconds that it takes once."""
    until = time.monotonic() + seconds / 4
    done, before = 0, time.process_time()
    while time.monotonic() < until:
        work(png)
        done += 1
    return (time.process_time() - before) * 1000 / done


WORK = Work(NAME, AIMS, measure)
