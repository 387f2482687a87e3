"""Prodia's answers as bytes on the wire: as they are documented, as they have been seen, and as they must not be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from tests.providers.loopback import disc, file_of
from tests.providers.raw_server import whole

SIZE = (256, 300)
"""`(height, width)` of the picture that is asked about."""

SHAPES = [disc(SIZE, x=60, y=60, radius=30), disc(SIZE, x=200, y=150, radius=50)]
FILES = [file_of(shape) for shape in SHAPES]

BOUNDARY = "0f" * 30
MULTIPART = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"

JOB: Mapping[str, Any] = {
    "type": "inference.sam3.segment.v1",
    "created_at": "2026-02-10T12:30:00.612Z",
    "updated_at": "2026-02-10T12:30:01.108Z",
    "expires_at": "2026-02-10T12:35:00.612Z",
    "id": "0b6c2f2e-3f0d-4b5e-9a55-1f2d3c4b5a69",
    "state": {"current": "completed"},
    "config": {"prompt": "robot cat", "confidence_threshold": 0.5},
    "metrics": {"elapsed": 0.25, "ips": 13.35},
    "price": {"product": "inference-sam3-segment", "dollars": 0.0011},
}

Part = tuple[bytes, bytes]
"""Header lines without the last line's end, and content."""


def job_part(record: Any = JOB) -> Part:
    """Return the part `job`; bytes are sent as they are."""
    content = record if isinstance(record, bytes) else json.dumps(record).encode()
    return b'Content-Disposition: form-data; name="job"; filename="job.json"\r\nContent-Type: application/json', content


def output(content: bytes, *, name: str = "output", filename: str | None = "mask_0.png") -> Part:
    """Return a part with a picture."""
    named = "" if filename is None else f'; filename="{filename}"'
    return f'Content-Disposition: form-data; name="{name}"{named}\r\nContent-Type: image/png'.encode(), content


def outputs(files: Sequence[bytes] = FILES) -> list[Part]:
    """Return the parts `output` as they are documented."""
    return [output(file, filename=f"mask_{number}.png") for number, file in enumerate(files)]


def body(*parts: Part, boundary: str = BOUNDARY, closed: bool = True) -> bytes:
    """Return parts between delimiters."""
    pieces = [f"--{boundary}\r\n".encode() + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts]
    return b"".join(pieces) + (f"--{boundary}--\r\n".encode() if closed else b"")


def said(*parts: Part, status: str = "200 OK", head: str = MULTIPART, extra: Sequence[str] = ()) -> bytes:
    """Return a whole multipart answer."""
    return whole(body(*parts), status, head, *extra)


def answer_of(record: Any, files: Sequence[bytes] = FILES) -> bytes:
    """Return a whole answer with that job record and those masks."""
    return said(job_part(record), *outputs(files))


def without(*keys: str) -> dict[str, Any]:
    """Return the job record without some keys."""
    return {key: value for key, value in JOB.items() if key not in keys}


def json_said(value: Any, status: str = "200 OK", *headers: str) -> bytes:
    """Return a whole JSON answer; bytes are sent as they are."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return whole(content, status, "Content-Type: application/json", *headers)


def text_said(text: str, status: str, *headers: str) -> bytes:
    """Return a whole answer in plain text."""
    return whole(text.encode(), status, "Content-Type: text/plain", *headers)


def chunked(content: bytes, *, size: int = 1000, ended: bool = True) -> bytes:
    """Return a whole answer in chunks."""
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    head = f"HTTP/1.1 200 OK\r\n{MULTIPART}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    sent = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces)
    return head + sent + (b"0\r\n\r\n" if ended else b"")


def levels(low: int, high: int) -> list[bytes]:
    """Return the shapes as mask files of two grey levels."""
    return [bytes(cv2.imencode(".png", np.where(shape, high, low).astype(np.uint8))[1]) for shape in SHAPES]
