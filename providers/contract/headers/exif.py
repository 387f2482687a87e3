"""
The orientation in an EXIF block: its first directory's own tag and nothing else, as browsers read it.

Not XMP's `tiff:Orientation`, though Pillow falls back to it: no browser turns a picture for that, and whoever marks
boxes on a picture has seen it in one. The tag counts as one number of type SHORT from 1 to 8; anything else is none.

Source: https://www.cipa.jp/std/documents/e/DC-008-2012_E.pdf sections 4.5 and 4.6.4; what browsers accept:
https://html.spec.whatwg.org/multipage/images.html ("image orientation"), read 2026-12.
"""

from __future__ import annotations

UPRIGHT = 1
_TAG = 0x0112
_SHORT = 3
_MOST_ENTRIES = 512
_ORDERS = {b"II*\0": "little", b"MM\0*": "big"}


def orientation_in(block: bytes) -> int:
    """
    Return the orientation, 1 to 8; 1 where there is none, or nonsense.

    Args:
        block: from its byte order on; the name that stands before it in a JPEG is passed over.
    """
    block = block.removeprefix(b"Exif\0\0")
    order = _ORDERS.get(block[:4])
    if order is None:
        return UPRIGHT
    big = order == "big"

    def number(place: int, size: int) -> int:
        return int.from_bytes(block[place : place + size], "big" if big else "little")

    first = number(4, 4)
    for entry in range(min(number(first, 2), _MOST_ENTRIES)):
        at = first + 2 + 12 * entry
        if at + 12 > len(block):
            break
        if number(at, 2) == _TAG:
            single = number(at + 2, 2) == _SHORT and number(at + 4, 4) == 1
            value = number(at + 8, 2)
            return value if single and value in range(1, 9) else UPRIGHT
    return UPRIGHT
