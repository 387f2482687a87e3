"""
Multipart bodies of the fake Prodia, read and written.

What is written keeps to what Prodia's own client needs: unquoted hexadecimal boundary of 60 characters, CRLF, quoted
names, a filename on every part that has one, nothing before the first delimiter and nothing after the last.

Source: what the npm client `prodia` 1.6.0 accepts when driven over the wire, 2026-11; RFC 7578.
"""

from __future__ import annotations

import email.message
import os
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

_MOST_PARTS = 64


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
    message = email.message.Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    return boundary if message.get_content_type() == "multipart/form-data" else None


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


class _Reading:
    """Gathers parts while the parser goes through the body."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.finished = False
        self._headers = email.message.Message()
        self._name = bytearray()
        self._value = bytearray()
        self._data = bytearray()

    def begin(self) -> None:
        if len(self.parts) == _MOST_PARTS:
            raise BadMultipart(f"more than {_MOST_PARTS} parts")
        self._headers = email.message.Message()
        self._data = bytearray()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._name.decode("latin-1")] = self._value.decode("utf-8", "replace")
        self._name, self._value = bytearray(), bytearray()

    def content(self, data: bytes, start: int, end: int) -> None:
        self._data += memoryview(data)[start:end]

    def end(self) -> None:
        name = self._headers.get_param("name", "", header="Content-Disposition")
        filename = self._headers.get_filename()
        self.parts.append(Part(str(name), filename, self._headers.get_content_type(), bytes(self._data)))

    def finish(self) -> None:
        self.finished = True
