"""A large picture is taken out of its JSON, and everything else is left to the parser."""

from __future__ import annotations

import base64
import json
import mmap
import re
from urllib.parse import quote_from_bytes

import numpy as np
import pytest

from gateway.api.cutting import PLACEHOLDER, cut_picture

FILE = np.random.default_rng(3).integers(0, 256, 1_700_001, np.uint8).tobytes()
TEXT = base64.b64encode(FILE).decode()


def body(data: str = TEXT, **more: object) -> bytes:
    """Return a request's JSON."""
    return json.dumps({"prompt": "shoe", "image": {"data": data}, **more}).encode()


@pytest.mark.parametrize("size", [1_700_001, 1_700_002, 1_700_003])
@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "DATA:;base64,"])
@pytest.mark.parametrize("key", ["data", "url"])
@pytest.mark.parametrize("escaped", [False, True])
def test_a_picture_is_taken_out(size: int, head: str, key: str, *, escaped: bool) -> None:
    """Bare or as a data: URI, its slashes escaped or not, the file is the one that was sent, to the byte."""
    if key == "url" and not head:
        return  # an address, however long, is left where it is
    sent = (FILE + b"\0\0\0")[:size]
    raw = body(head + base64.b64encode(sent).decode(), tags={"data": "small"}).replace(
        b'"data"', f'"{key}"'.encode(), 1
    )
    if escaped:
        raw = raw.replace(b"/", b"\\/")
    kept = mmap.mmap(-1, len(raw), access=mmap.ACCESS_COPY)
    kept.write(raw)
    for each in (raw, kept):
        cut = cut_picture(each)
        assert cut is not None
        assert sent == cut.picture
        rest = {"prompt": "shoe", "image": {key: PLACEHOLDER}, "tags": {"data": "small"}}
        assert rest == json.loads(cut.rest) or head
        assert len(cut.rest) < 200


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(base64.encodebytes(FILE).decode()),
        json.dumps(base64.encodebytes(FILE).decode().replace("\n", "\r\n")),
        json.dumps("data:image/png;BASE64," + base64.urlsafe_b64encode(FILE).decode().rstrip("=")),
        json.dumps("data:image/png;name=a.png;base64," + quote_from_bytes(base64.b64encode(FILE))),
        json.dumps("data:image/png," + quote_from_bytes(FILE)),
        json.dumps(TEXT).replace("+", "\\u002B").replace("/", "\\/").replace("=", "\\u003d"),
        json.dumps(TEXT).replace("/", "\\u002f"),
    ],
    ids=["MIME", "MIME with CRLF", "URL-safe", "escaped base64", "escaped bytes", "escapes of JSON", "escaped slashes"],
)
def test_a_picture_is_taken_out_however_it_is_spelt(text: str) -> None:
    """As the libraries of many languages write it, wherever a piece of it ends."""
    cut = cut_picture(body("x").replace(b'"x"', text.encode()))
    assert cut is not None
    assert (cut.picture == FILE, cut.fault) == (True, None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (TEXT + "=", "no bytes have"),
        ("===" + TEXT, "more follows its padding"),
        (TEXT[:1_048_574] + "==" + TEXT, "more follows its padding"),
        (TEXT[:700_000] + "*" + TEXT, r"'\*' at position 700001"),
        (TEXT + "!", f"'!' at position {len(TEXT) + 1}"),
    ],
)
def test_a_mistake_in_a_large_picture_is_told_without_parsing_it(text: str, fault: str) -> None:
    """With its place, as in a small one."""
    cut = cut_picture(body(text))
    assert cut is not None
    assert re.match("is not base64: .*" + fault, cut.fault or "")
    assert len(cut.rest) < 200


def test_other_escapes_are_read_by_the_parser_of_json() -> None:
    """A letter may be written as its number; then the text is taken out as it is."""
    cut = cut_picture(body().replace(b"A", b"\\u0041", 1))
    assert cut is not None
    assert (None, None, True) == (cut.picture, cut.fault, cut.text == TEXT)
    cut = cut_picture(body("x" * 2**22).replace(b"x", b"\\u0041", 1))
    assert cut is not None
    assert "has escapes that no base64 needs; write its letters as they are" == cut.fault


@pytest.mark.parametrize("raw", [body("short"), body(TEXT + '"'), body()[:-30], TEXT.encode() * 2])
def test_where_no_picture_is_nothing_is_taken_out(raw: bytes) -> None:
    """A short text, one with a quote in it, one without an end, and no JSON at all are left as they are."""
    assert cut_picture(raw) is None
