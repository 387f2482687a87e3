"""
Base64 and data: URIs as people write them, decoded piece by piece: what both sides of the contract read such text with.

Read are line breaks and blanks (`base64`, `openssl`, MIME, PEM), both alphabets, absent padding, and data: URIs with
parameters, with base64 or percent escapes, in any case. Refused is what cannot be meant: other characters, text behind
the padding, a length that no bytes have.

Why in pieces: a picture of 30 MB is text of 40 MB, and a thread that decodes it in one go keeps all others waiting.

Source: https://www.rfc-editor.org/rfc/rfc4648 sections 4 and 5, https://www.rfc-editor.org/rfc/rfc2397,
https://fetch.spec.whatwg.org/#data-urls, read 2026-12.
"""

from __future__ import annotations

import re
from typing import Protocol

import numpy as np
import pybase64

#: How much text is decoded at a time.
PIECE_BYTES = 2**18

#: How long the part of a data: URI before its comma may be.
_MOST_HEAD = 1000

_BLANKS = b" \t\r\n\f\v"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_STRANGE = re.compile(rb"[^A-Za-z0-9+/_=\s-]")
_IS_BASE64 = re.compile(r";[ \t]*base64[ \t]*", re.IGNORECASE)

_NO_DIGIT = 255
_HEX = np.full(256, _NO_DIGIT, np.uint8)
_HEX[list(b"0123456789abcdef")] = range(16)
_HEX[list(b"ABCDEF")] = range(10, 16)


class BadEncoding(ValueError):
    """A text that stands for no bytes. The message begins with a verb: `is not base64: …`."""


class DecodesTooFar(ValueError):
    """A text that stands for more bytes than may come of it."""


class Decoder(Protocol):
    """Takes a text in pieces."""

    def feed(self, piece: bytes) -> bytes:
        """
        Return the bytes that the next piece completes.

        Raises:
            BadEncoding: naming the first character at fault and its place, counted from 1.
        """
        ...

    def finish(self) -> bytes:
        """
        Return the last bytes.

        Raises:
            BadEncoding: the text is cut off, or is padded to no length that base64 has.
        """
        ...


class Base64Decoder:
    """Decodes base64."""

    def __init__(self, place: int = 0) -> None:
        """Begin; *place* is how many characters stood before, for messages."""
        self._place = place
        self._left = b""
        self._characters = 0
        self._padding = 0

    def feed(self, piece: bytes) -> bytes:
        """See `Decoder`."""
        text = piece.translate(_URL_SAFE, _BLANKS)
        self._characters += len(text)
        bare = text.rstrip(b"=")
        if (self._padding and bare) or b"=" in bare:
            end = self._place + len(piece)
            raise BadEncoding(f"is not base64: more follows its padding, somewhere before position {end + 1}")
        self._padding += len(text) - len(bare)
        text = self._left + bare
        whole = len(text) // 4 * 4
        self._left = text[whole:]
        try:
            decoded = pybase64.b64decode(text[:whole], validate=True)
        except ValueError:
            raise self._strange(piece) from None
        if _STRANGE.search(self._left):
            raise self._strange(piece)
        self._place += len(piece)
        return decoded

    def finish(self) -> bytes:
        """See `Decoder`."""
        if len(self._left) == 1 or (self._padding and self._characters % 4):
            raise BadEncoding(f"is not base64: no bytes have {self._characters} characters of it; is it cut off?")
        return pybase64.b64decode(self._left + b"=" * (-len(self._left) % 4), validate=True)

    def _strange(self, piece: bytes) -> BadEncoding:
        """Name the first character that base64 does not have."""
        found = _STRANGE.search(piece)
        start = found.start() if found else 0
        character = piece[start : start + 4].decode("utf-8", "ignore")[:1] or f"\\x{piece[start]:02x}"
        return BadEncoding(f"is not base64: {character!r} at position {self._place + start + 1}")


class PercentDecoder:
    """Undoes percent escapes; what is no escape stands for itself."""

    def __init__(self) -> None:
        """Begin."""
        self._left = b""

    def feed(self, piece: bytes) -> bytes:
        """See `Decoder`."""
        text = self._left + piece
        cut = text.rfind(b"%", max(0, len(text) - 2))
        self._left = text[cut:] if cut >= 0 else b""
        return _unescaped(text[:cut] if cut >= 0 else text)

    def finish(self) -> bytes:
        """See `Decoder`."""
        return _unescaped(self._left)


class _EscapedBase64Decoder:
    """Decodes base64 in which some characters are percent escapes, as `%2B` and `%3D`."""

    def __init__(self, place: int) -> None:
        self._escapes = PercentDecoder()
        self._base64 = Base64Decoder(place)

    def feed(self, piece: bytes) -> bytes:
        """See `Decoder`."""
        return self._base64.feed(self._escapes.feed(piece))

    def finish(self) -> bytes:
        """See `Decoder`."""
        return self._base64.feed(self._escapes.finish()) + self._base64.finish()


def is_data_uri(text: str) -> bool:
    """Whether a text begins like a data: URI."""
    return text[:5].lower() == "data:"


def decoder_of(head: str) -> Decoder:
    """
    Return what decodes a text.

    Args:
        head: a data: URI up to its comma, or nothing for bare base64.
    """
    if not head:
        return Base64Decoder()
    is_base64 = _IS_BASE64.fullmatch(head[head.rfind(";") :]) is not None
    return _EscapedBase64Decoder(len(head) + 1) if is_base64 else PercentDecoder()


def read_encoded(text: str, *, most_bytes: int) -> bytes:
    """
    Return the bytes in a data: URI, or in bare base64.

    Raises:
        BadEncoding: there are none in it.
        DecodesTooFar: they are more than *most_bytes*.
    """
    head = ""
    start = 0
    if is_data_uri(text):
        comma = text.find(",", 0, _MOST_HEAD)
        if comma < 0:
            raise BadEncoding("is a data: URI without a comma; write data:image/png;base64,…")
        head, start = text[:comma], comma + 1
    decoder = decoder_of(head)
    pieces: list[bytes] = []
    size = 0
    for place in range(start, len(text), PIECE_BYTES):
        pieces.append(decoder.feed(text[place : place + PIECE_BYTES].encode("utf-8", "surrogatepass")))
        size += len(pieces[-1])
        if size > most_bytes:
            raise DecodesTooFar(f"it holds more than {most_bytes} bytes")
    pieces.append(decoder.finish())
    return b"".join(pieces)


def _unescaped(text: bytes) -> bytes:
    """Undo the percent escapes in a text that ends with none that is cut."""
    if b"%" not in text:
        return text
    codes = np.frombuffer(text + b"  ", np.uint8)
    marks = np.flatnonzero(codes == ord("%"))
    high, low = _HEX[codes[marks + 1]], _HEX[codes[marks + 2]]
    good = (high != _NO_DIGIT) & (low != _NO_DIGIT)
    marks = marks[good]
    plain = codes.copy()
    plain[marks] = high[good] << 4 | low[good]
    kept = np.ones(len(plain), np.bool_)
    kept[marks + 1] = kept[marks + 2] = False
    kept[-2:] = False
    return plain[kept].tobytes()
