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

from gateway.api.joining import LARGE_BYTES, joined
from providers.contract import PIECE_BYTES, BadEncoding, decoder_of

#: What stands in the picture's place meanwhile; no base64.
PLACEHOLDER = "(taken out)"

Raw = bytes | mmap.mmap
"""A body as it came: in one piece, or put together where no memory had to be cleared for it."""

#: Looked for where no more than may be beside the picture stands before it.
_START = re.compile(rb'"(data|url)"[ \t\r\n]*:[ \t\r\n]*"')

#: How a data: URI begins, up to its data.
_DATA_URI = re.compile(rb"(data:(?:[^,\"\\]|\\/){0,1000}),", re.IGNORECASE)

#: Strings under these keys that are looked at: the first is the picture, where a client writes nothing odd before it.
_MOST_LOOKS = 1000

#: The escapes that writers of JSON put into base64: line breaks, and characters that mean something to HTML.
_ESCAPES = (
    *((b"\\n", b"\n"), (b"\\r", b"\r"), (b"\\t", b"\t"), (b"\\/", b"/")),
    *((b"\\u000a", b"\n"), (b"\\u000A", b"\n"), (b"\\u000d", b"\r"), (b"\\u000D", b"\r")),
    *((b"\\u002b", b"+"), (b"\\u002B", b"+"), (b"\\u002f", b"/"), (b"\\u002F", b"/")),
    *((b"\\u003d", b"="), (b"\\u003D", b"=")),
)
_LONGEST_ESCAPE = 6

#: How long a text may be whose other escapes are undone all the same.
_MOST_ESCAPED_BYTES = 2**22

#: Between two pieces: long enough for a waiting thread to wake up and take over. Without it, it would wait for Python
#: to make us give way, which is five milliseconds each time.
_PAUSE_SECONDS = 0.0001


@dataclass(frozen=True, slots=True)
class CutBody:
    """A body without its picture."""

    rest: bytes
    """The JSON, with the placeholder instead of the picture's text."""
    picture: bytes | None
    """The file that was taken out; None where there is a fault, or the text."""
    fault: str | None = None
    """Why the text stands for no file, as `is not base64: …`."""
    text: str | None = None
    """The string itself, where it has escapes that no encoder of base64 writes."""


def cut_picture(raw: Raw) -> CutBody | None:
    """
    Take the first large text under a key `data`, or data: URI under a key `url`, out of a JSON text, and decode it.

    Whether that is the picture, its parser knows.

    Returns:
        None where there is no such text, or it is no picture by any reading.
    """
    for found in islice(_START.finditer(raw, 0, LARGE_BYTES), _MOST_LOOKS):
        start, end = found.end(), _next_quote(raw, found.end())
        uri = _DATA_URI.match(raw, start, end)
        if end - start >= LARGE_BYTES // 2 and (uri or found[1] == b"data"):
            break
    else:
        return None
    if raw[end - 1 : end] == b"\\":  # an escaped quote: whatever this is, it is no picture
        return None
    head = uri[1].replace(b"\\/", b"/").decode("latin-1") if uri else ""
    rest = b"".join((raw[:start], PLACEHOLDER.encode(), raw[end:]))
    try:
        return CutBody(rest, _decoded(raw, head, uri.end() if uri else start, end))
    except BadEncoding as error:
        return CutBody(rest, None, fault=str(error))
    except ValueError:
        return _as_text(raw, rest, start, end)


def _next_quote(raw: Raw, start: int) -> int:
    """Return where the next quote is, looked for piece by piece; -1 where there is none."""
    while start < len(raw):
        found = raw[start : start + PIECE_BYTES].find(b'"')
        if found >= 0:
            return start + found
        start += PIECE_BYTES
        time.sleep(_PAUSE_SECONDS)
    return -1


def _as_text(raw: Raw, rest: bytes, start: int, end: int) -> CutBody | None:
    """Return the string that a text with odd escapes stands for; undoing them is slow, and stops everybody else."""
    if end - start > _MOST_ESCAPED_BYTES:
        return CutBody(rest, None, fault="has escapes that no base64 needs; write its letters as they are")
    try:
        return CutBody(rest, None, text=str(json.loads(raw[start - 1 : end + 1])))
    except ValueError:
        return None


def _decoded(raw: Raw, head: str, start: int, end: int) -> bytes:
    """
    Decode the text from *start* to *end*, as *head* says.

    Raises:
        BadEncoding: it stands for no bytes.
        ValueError: it has other escapes.
    """
    decoder = decoder_of(head)
    pieces: list[bytes] = []
    while start < end:
        stop = min(start + PIECE_BYTES, end)
        escape = raw.rfind(b"\\", max(start + 1, stop - _LONGEST_ESCAPE + 1), stop)
        if stop < end and escape >= 0:  # the next piece has the whole of it
            stop = escape
        pieces.append(decoder.feed(_unescaped(raw[start:stop])))
        start = stop
        time.sleep(_PAUSE_SECONDS)
    pieces.append(decoder.finish())
    return joined(pieces)


def _unescaped(piece: bytes) -> bytes:
    """
    Undo JSON's escapes.

    Raises:
        ValueError: there are others than encoders of base64 write.
    """
    if b"\\" in piece:
        for escape, character in _ESCAPES:
            piece = piece.replace(escape, character)
        if b"\\" in piece:
            raise ValueError("another escape")
    return piece
