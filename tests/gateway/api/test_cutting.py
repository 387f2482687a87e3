"""A large picture is taken out of its JSON, and everything else is left to the parser."""

from __future__ import annotations

import base64
import json
import mmap

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
@pytest.mark.parametrize("escaped", [False, True])
def test_a_picture_is_taken_out(size: int, head: str, *, escaped: bool) -> None:
    """Bare or as a data: URI, its slashes escaped or not, the file is the one that was sent, to the byte."""
    sent = (FILE + b"\0\0\0")[:size]
    raw = body(head + base64.b64encode(sent).decode(), tags={"data": "small"})
    if escaped:
        raw = raw.replace(b"/", b"\\/")
    kept = mmap.mmap(-1, len(raw), access=mmap.ACCESS_COPY)
    kept.write(raw)
    for each in (raw, kept):
        cut = cut_picture(each)
        assert cut is not None
        assert sent == cut.picture
        rest = {"prompt": "shoe", "image": {"data": PLACEHOLDER}, "tags": {"data": "small"}}
        assert rest == json.loads(cut.rest) or head
        assert len(cut.rest) < 200


@pytest.mark.parametrize(
    "text",
    [TEXT + "=", "===" + TEXT, TEXT[:1_048_574] + "==" + TEXT, TEXT + "ü", "data:text/plain," + TEXT, "\n" + TEXT],
)
def test_what_is_not_plainly_base64_is_taken_out_as_text(text: str) -> None:
    """A mistake is told by whoever tells all mistakes of pictures."""
    for raw in (body(text), json.dumps({"image": {"data": text}}, ensure_ascii=False).encode()):
        cut = cut_picture(raw)
        assert cut is not None
        assert (None, text) == (cut.picture, cut.text)


@pytest.mark.parametrize("raw", [body("short"), body(TEXT + '"'), body()[:-30], TEXT.encode() * 2])
def test_where_no_picture_is_nothing_is_taken_out(raw: bytes) -> None:
    """A short text, one with a quote in it, one without an end, and no JSON at all are left as they are."""
    assert cut_picture(raw) is None
