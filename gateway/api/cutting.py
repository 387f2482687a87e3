"""
A large picture taken out of a JSON body before the body is parsed, and decoded on the way.

Why: a parser reads 40 MB of base64 in one go, and makes a text of it in another, with the whole process waiting each
time. The picture is a string without a quote in it, so its end is found by a search; it is decoded piece by piece, so
that other threads have their turn, and what remains of the body is small. Whatever is not as expected is left to the
parser, which knows what to say about it.
"""

from __future__ import annotations

import json
import mmap
import re
import time
from dataclasses import dataclass
from itertools import islice

import pybase64

from gateway.api.joining import LARGE_BYTES, joined

#: What stands in the picture's place meanwhile; no base64.
PLACEHOLDER = "(taken out)"

Raw = bytes | mmap.mmap
"""A body as it came: in one piece, or put together where no memory had to be cleared for it."""

_START = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*"')

#: How a data: URI begins, up to its base64.
_DATA_URI = re.compile(rb"data:[^,\"]{0,200};base64,", re.IGNORECASE)

#: Strings under a key `data` that are looked at: the first is the picture, where a client writes nothing odd before it.
_MOST_LOOKS = 1000

#: How much is decoded at a time.
_PIECE_BYTES = 2**18

#: Between two pieces: long enough for a waiting thread to wake up and take over. Without it, it would wait for Python
#: to make us give way, which is five milliseconds each time.
_PAUSE_SECONDS = 0.0001


@dataclass(frozen=True, slots=True)
class CutBody:
    """A body without its picture."""

    rest: bytes
    """The JSON, with the placeholder instead of the picture's base64."""
    picture: bytes | None
    """The file that was taken out; None where the text is not plainly base64."""
    text: str | None
    """What was taken out instead: the string itself."""


def cut_picture(raw: Raw) -> CutBody | None:
    """
    Take the first large string under a key `data` out of a JSON text. Whether that is the picture, its parser knows.

    Returns:
        None where there is no such string, or it is no picture by any reading.
    """
    for found in islice(_START.finditer(raw), _MOST_LOOKS):
        start, end = found.end(), raw.find(b'"', found.end())
        if end - start >= LARGE_BYTES // 2:
            break
    else:
        return None
    if raw[end - 1 : end] == b"\\":  # an escaped quote: whatever this is, it is no picture
        return None
    rest = b"".join((raw[:start], PLACEHOLDER.encode(), raw[end:]))
    uri = _DATA_URI.match(raw, start, end)
    try:
        return CutBody(rest, _decoded(raw, uri.end() if uri else start, end), None)
    except ValueError:
        return _as_text(raw, rest, start, end)


def _as_text(raw: Raw, rest: bytes, start: int, end: int) -> CutBody | None:
    """Return what is not plainly base64 as the text that it is, for whoever tells all that is wrong with a picture."""
    try:
        plain = raw.find(b"\\", start, end) < 0
        return CutBody(rest, None, str(raw[start:end], "utf-8") if plain else str(json.loads(raw[start - 1 : end + 1])))
    except ValueError:
        return None


def _decoded(raw: Raw, start: int, end: int) -> bytes:
    r"""
    Decode base64, with `\/` read as a slash, as some languages write every slash.

    Raises:
        ValueError: it is not base64, or has another escape.
    """
    pieces: list[bytes] = []
    left = b""
    while start < end:
        stop = min(start + _PIECE_BYTES, end)
        if raw[stop - 1 : stop] == b"\\":
            stop += 1
        text = left + raw[start:stop].replace(b"\\/", b"/")
        whole = len(text) if stop == end else len(text) // 4 * 4
        piece = pybase64.b64decode(text[:whole], validate=True)
        if stop < end and len(piece) * 4 != whole * 3:
            raise ValueError("padding before the end")
        pieces.append(piece)
        left, start = text[whole:], stop
        time.sleep(_PAUSE_SECONDS)
    return joined(pieces)
