"""
Multipart bodies of the fake Prodia, read and written.

What is written keeps to what Prodia's own client needs: unquoted hexadecimal boundary of 60 characters, CRLF, quoted
names, a filename on every part that has one, nothing before the first delimiter and nothing after the last.

Source: what the npm client `prodia` 1.6.0 accepts when driven over the wire, 2026-11; RFC 7578.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

_MOST_PARTS = 64

#: One parameter of a header. Possessive: the time it takes grows with the header's length only.
_PARAMETER = re.compile(r';\s*([\w!#$%&*+.^`|~-]++)\s*=\s*(?:"((?:\\.|[^"\\])*+)"|([^\s;"]*+))')


class BadMultipart(Exception):
    """The body is not the multipart that its header says; the message says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form."""

    name: str
    filename: str | None
    media_type: str
    data: bytes = field(repr=False)


def boundary_of(content_type: str) -> str | None:
    """Return the boundary of a multipart/form-data content type; None for any other."""
    media_type, parameters = _read_header(content_type)
    return parameters.get("boundary") if media_type == "multipart/form-data" else None


def read_parts(body: bytes, boundary: str) -> tuple[Part, ...]:
    """
    Read all parts of a body.

    Raises:
        BadMultipart: it is malformed, cut short or has too many parts.
    """
    reading = _Reading()
    try:
        parser = MultipartParser(
            boundary.encode("latin-1"),
            {
                "on_part_begin": reading.begin,
                "on_header_field": reading.header_name,
                "on_header_value": reading.header_value,
                "on_header_end": reading.header_end,
                "on_part_data": reading.content,
                "on_part_end": reading.end,
                "on_end": reading.finish,
            },
        )
        parser.write(body)
    except (FormParserError, UnicodeError) as error:
        raise BadMultipart(str(error)) from error
    if not reading.finished:
        raise BadMultipart("the closing delimiter is missing")
    return tuple(reading.parts)


def write_parts(parts: tuple[Part, ...]) -> tuple[str, bytes]:
    """Return the content type and the body of *parts*."""
    boundary = os.urandom(30).hex()
    pieces: list[bytes] = []
    for part in parts:
        filename = "" if part.filename is None else f'; filename="{part.filename}"'
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{part.name}"{filename}\r\n'
            f"Content-Type: {part.media_type}\r\n\r\n"
        )
        pieces += [head.encode(), part.data, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)


def _read_header(text: str) -> tuple[str, dict[str, str]]:
    """Return a header's lower-case value, and its parameters by lower-case name."""
    value = text.partition(";")[0]
    parameters = {
        found[1].lower(): found[3] if found[2] is None else re.sub(r"\\(.)", r"\1", found[2])
        for found in _PARAMETER.finditer(text, len(value))
    }
    return value.strip().lower(), parameters


class _Reading:
    """Gathers parts while the parser goes through the body."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.finished = False
        self._headers: dict[str, str] = {}
        self._name = bytearray()
        self._value = bytearray()
        self._data = bytearray()

    def begin(self) -> None:
        if len(self.parts) == _MOST_PARTS:
            raise BadMultipart(f"more than {_MOST_PARTS} parts")
        self._headers = {}
        self._data = bytearray()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._name, self._value = bytearray(), bytearray()

    def content(self, data: bytes, start: int, end: int) -> None:
        self._data += memoryview(data)[start:end]

    def end(self) -> None:
        _, disposition = _read_header(self._headers.get("content-disposition", ""))
        media_type, _ = _read_header(self._headers.get("content-type", "text/plain"))
        filename = disposition.get("filename")
        self.parts.append(Part(disposition.get("name", ""), filename, media_type, bytes(self._data)))

    def finish(self) -> None:
        self.finished = True
