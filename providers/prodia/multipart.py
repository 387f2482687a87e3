"""
multipart/form-data, written and read as bytes.

Why by hand: a small answer is read in a few microseconds, and an image part is a slice found by two searches, where a
general parser calls back for every header and every piece.

Source: https://www.rfc-editor.org/rfc/rfc7578 and https://www.rfc-editor.org/rfc/rfc2046#section-5.1, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Most parts of one answer.
MOST_PARTS = 2048

_MOST_HEADER_BYTES = 8192

#: How often a part's content may begin like a delimiter and be none: by chance it never does.
_MOST_LIKENESSES = 1000

#: A name, and a quoted value, whose end may be missing, or a bare one; possessive, so that nothing is tried again.
_PARAMETER = re.compile(r';[ \t]*([^\s;="]++)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)|([^;"]*+))')
_ESCAPED = re.compile(r"\\(.)")

#: Blanks that may follow a delimiter on its line.
_MOST_PADDING_BYTES = 128


class MalformedMultipart(ValueError):
    """The body is not what its boundary promises. The message says where it ends."""

    parts: tuple[Part, ...] = ()
    """Those that came whole before the fault."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an answer."""

    name: str
    """Of its Content-Disposition; empty where it has none."""
    media_type: str
    """Lower-case, without parameters; empty where it has none."""
    content: bytes


def written(parts: Sequence[tuple[bytes, bytes]], *, boundary: bytes) -> bytes:
    """
    Return a body.

    Args:
        parts: header lines without the last line's end, and content, of each.
        boundary: occurs in none of the contents.
    """
    pieces: list[bytes] = []
    for head, content in parts:
        pieces += (b"--", boundary, b"\r\n", head, b"\r\n\r\n", content, b"\r\n")
    pieces += (b"--", boundary, b"--\r\n")
    return b"".join(pieces)


def split_value(text: str) -> tuple[str, dict[str, str]]:
    """
    Return a header's value in lower case, and its parameters by lower-case name; no text is looked at twice.

    >>> split_value('multipart/form-data; boundary="a;b"')
    ('multipart/form-data', {'boundary': 'a;b'})
    """
    value, _, _ = text.partition(";")
    parameters: dict[str, str] = {}
    for found in _PARAMETER.finditer(text, len(value)):
        name, quoted, bare = found.groups()
        parameters.setdefault(name.lower(), bare.strip() if quoted is None else _ESCAPED.sub(r"\1", quoted))
    return value.strip().lower(), parameters


def read_parts(body: bytes, *, boundary: str) -> list[Part]:
    """
    Return the parts of a body, in order.

    Raises:
        MalformedMultipart: no such boundary, no closing delimiter, a part without an end of its headers, or more than
            2048 parts.
    """
    try:
        delimiter = b"\r\n--" + boundary.encode("ascii")
    except UnicodeEncodeError:
        raise MalformedMultipart("the boundary is not ASCII") from None
    # The first delimiter may open the body without a line break before it.
    start = len(delimiter) - 2 if body.startswith(delimiter[2:]) else _after(body, delimiter, 0)
    parts: list[Part] = []
    try:
        _read_into(parts, body, delimiter, start)
    except MalformedMultipart as error:
        error.parts = tuple(parts)
        raise
    return parts


def _read_into(parts: list[Part], body: bytes, delimiter: bytes, start: int) -> None:
    """Read part by part; those before a fault stay read."""
    while True:
        line_end = body.find(b"\r\n", start)
        tail = body[start : start + 2]
        if tail == b"--":
            return
        if line_end < 0:
            raise MalformedMultipart(f"the body ends after {len(parts)} parts without a closing delimiter")
        if len(parts) == MOST_PARTS:
            raise MalformedMultipart(f"more than {MOST_PARTS} parts")
        following = _next_delimiter(body, delimiter, line_end)
        parts.append(_part(body, line_end + 2, following))
        start = following + len(delimiter)


def _after(body: bytes, delimiter: bytes, start: int) -> int:
    """Return the place after the next delimiter."""
    return _next_delimiter(body, delimiter, start) + len(delimiter)


def _next_delimiter(body: bytes, delimiter: bytes, start: int) -> int:
    """Return where the next delimiter begins; text that only begins like one belongs to the content."""
    at = body.find(delimiter, start)
    for _ in range(_MOST_LIKENESSES):
        if at < 0:
            break
        end = at + len(delimiter)
        rest, line_break, _ = body[end : end + _MOST_PADDING_BYTES].partition(b"\r\n")
        if rest.startswith(b"--") or (line_break and not rest.strip(b" \t")):
            return at
        at = body.find(delimiter, end)
    raise MalformedMultipart("the body is cut off: a delimiter is missing")


def _part(body: bytes, start: int, end: int) -> Part:
    """Return the part between two delimiters."""
    if body.startswith(b"\r\n", start) and start + 2 <= end:
        return Part("", "", body[start + 2 : end])
    head_end = body.find(b"\r\n\r\n", start, min(end + 2, start + _MOST_HEADER_BYTES))
    if head_end < 0:
        raise MalformedMultipart("a part's headers have no end")
    name = media_type = ""
    for line in body[start:head_end].decode("latin-1").split("\r\n"):
        field, _, value = line.partition(":")
        field = field.strip().lower()
        if field == "content-disposition":
            name = split_value(value)[1].get("name", "")
        elif field == "content-type":
            media_type = split_value(value)[0]
    return Part(name, media_type, body[head_end + 4 : end])
