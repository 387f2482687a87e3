"""The prompt options of a command line, as prompts."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.cli.failures import WRONG_COMMAND_LINE, CommandFailed
from providers.contract import AutomaticPrompt, Box, ObjectPrompt, Point, Prompt, TextPrompt


def read_prompts(texts: Sequence[str], box: str | None, points: Sequence[str], *, automatic: bool) -> list[Prompt]:
    """
    Return what was asked for: one prompt for each text, or one object, or everything.

    Raises:
        CommandFailed: nothing, or more than one kind, or a box or point that cannot be read.
    """
    kinds = [bool(texts), box is not None or bool(points), automatic]
    if sum(kinds) != 1:
        raise _wrong("say what to find, in one way: --text, or --box and --point, or --auto")
    if texts:
        return [TextPrompt(text) for text in texts]
    if automatic:
        return [AutomaticPrompt()]
    return [
        ObjectPrompt(
            points=tuple(read_point(point) for point in points), box=read_box(box) if box is not None else None
        )
    ]


def read_box(text: str) -> Box:
    """
    Read `X0,Y0,X1,Y1`: half-open, in pixels, origin top-left.

    Raises:
        CommandFailed: it is something else, or it is empty.
    """
    numbers = _integers(text, "--box", "X0,Y0,X1,Y1", lengths=(4,))
    box = Box(*numbers)
    if box.x_min >= box.x_max or box.y_min >= box.y_max:
        raise _wrong(f"--box {text} is empty: X0 has to be below X1, and Y0 below Y1")
    return box


def read_point(text: str) -> Point:
    """
    Read `X,Y`, `X,Y,1` (on the object) or `X,Y,0` (off it), in pixels, origin top-left.

    Raises:
        CommandFailed: it is something else.
    """
    x, y, *rest = _integers(text, "--point", "X,Y or X,Y,0 or X,Y,1", lengths=(2, 3))
    if rest not in ([], [0], [1]):
        raise _wrong(f"--point {text}: the third number is 1 for a point on the object and 0 for one off it")
    return Point(x, y, positive=rest != [0])


def _integers(text: str, option: str, form: str, *, lengths: Sequence[int]) -> list[int]:
    parts = text.split(",")
    if len(parts) not in lengths or not all(part.strip().isdecimal() for part in parts):
        raise _wrong(f"{option} {text} cannot be read; write it as {form}, in whole pixels from the top left")
    return [int(part) for part in parts]


def _wrong(message: str) -> CommandFailed:
    return CommandFailed(message, exit_code=WRONG_COMMAND_LINE)
