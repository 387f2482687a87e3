"""
PNG files without what makes them animated.

No codec sees the chunks of an animation: OpenCV 5.0.0.93 reads outside of its memory where `acTL` stands twice or
counts frames that there are not. A file without them is the first frame and nothing else.
"""

from __future__ import annotations

_PNG = b"\x89PNG\r\n\x1a\n"

#: What makes a PNG an animated one. Source: https://www.w3.org/TR/png-3/#11Ancillary-chunks, read 2026-12.
_OF_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})

#: Length, type and checksum around a chunk's content.
_FRAME_BYTES = 12


def still_png(data: bytes) -> bytes:
    """
    Return a PNG file without the chunks of an animation, and any other file as it is.

    A chunk that claims more bytes than there are ends the file: nothing behind it could be told apart.
    """
    if not data.startswith(_PNG) or not any(kind in data for kind in _OF_ANIMATION):
        return data
    kept = [_PNG]
    place = len(_PNG)
    while place + _FRAME_BYTES <= len(data):
        end = place + _FRAME_BYTES + int.from_bytes(data[place : place + 4], "big")
        if end > len(data):
            break
        if data[place + 4 : place + 8] not in _OF_ANIMATION:
            kept.append(data[place:end])
        place = end
    return b"".join(kept)
