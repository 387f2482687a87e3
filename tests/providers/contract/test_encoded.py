"""Base64 and data: URIs are read as people write them, and what cannot be meant is refused with its place."""

from __future__ import annotations

import base64
import random
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest

from providers.contract import PIECE_BYTES, BadEncoding, DecodesTooFar, decoder_of, read_encoded

FILE = random.Random(5).randbytes(PIECE_BYTES + 1)
TEXT = base64.b64encode(FILE).decode()
SAFE = base64.urlsafe_b64encode(FILE).decode()

SPELLINGS = {
    "plain": TEXT,
    "no padding": TEXT.rstrip("="),
    "MIME": base64.encodebytes(FILE).decode(),
    "CRLF, tabs, blanks": base64.encodebytes(FILE).decode().replace("\n", " \t\r\n "),
    "URL-safe": SAFE,
    "URL-safe, bare": SAFE.rstrip("="),
    "both alphabets": TEXT[:5_000] + SAFE[5_000:],
    "data URI": "data:image/png;base64," + TEXT,
    "any case": "DATA:Image/PNG;BASE64," + TEXT,
    "parameters": "data:image/png;charset=utf-8;name=a%20b.png;base64," + TEXT,
    "no type": "data:;base64," + TEXT,
    "blanks before base64": "data:image/png; base64 , " + TEXT,
    "escaped base64": "data:image/png;base64," + quote_from_bytes(base64.encodebytes(FILE)),
    "escaped bytes": "data:image/png," + quote_from_bytes(FILE),
    "all escaped": "data:image/png;x=base64;y," + "".join(f"%{byte:02x}" for byte in FILE),
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_every_usual_spelling_stands_for_the_same_bytes(text: str) -> None:
    """As `base64`, `openssl`, mail programs, browsers and the libraries of many languages write them."""
    assert read_encoded(text, most_bytes=len(FILE)) == FILE
    with pytest.raises(DecodesTooFar):
        read_encoded(text, most_bytes=PIECE_BYTES // 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("AA!A", "'!' at position 3"),
        ("AAäA", "'ä' at position 3"),
        ("AA\0A", r"'\\x00' at position 3"),
        ("A" * 300_000 + "*AAA", r"'\*' at position 300001"),
        ("A" * (PIECE_BYTES - 1) + "," + "A" * 20, f"',' at position {PIECE_BYTES}"),
        ("data:;base64,AA(A", r"'\(' at position 16"),
        ("A", "no bytes have 1 characters"),
        ("AAAAA", "is it cut off"),
        ("AAAA=", "no bytes have 5 characters"),
        ("AA==AA", "more follows its padding"),
        ("A=AA", "more follows its padding"),
        ("A" * (PIECE_BYTES - 2) + "==" + "AAAA", "more follows its padding"),
        ("data:image/png;base64", "data: URI without a comma"),
        ("data:" + "x" * 2_000 + ",AAAA", "data: URI without a comma"),
    ],
)
def test_what_stands_for_no_bytes_is_refused_with_its_place(text: str, says: str) -> None:
    """The first character at fault, counted from 1; or what is wrong with the whole."""
    with pytest.raises(BadEncoding, match=says):
        read_encoded(text, most_bytes=2**20)


def test_pieces_may_end_anywhere() -> None:
    """In an escape, between blanks, before the padding: 2,000 random texts cut at random places."""
    chance = random.Random(11)
    for _ in range(1_000):
        raw = bytes(chance.choices(b"%0aFz%", k=chance.randrange(14)))
        kinds = [("data:,", raw, unquote_to_bytes(raw))]
        kinds.append(("", base64.b64encode(raw).replace(b"=", b"\n="), raw))
        for head, text, expected in kinds:
            decoder = decoder_of(head.rstrip(","))
            cut = chance.randrange(len(text) + 1)
            assert decoder.feed(text[:cut]) + decoder.feed(text[cut:]) + decoder.finish() == expected
