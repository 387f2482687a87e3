"""
A GIF's blocks, up to its second picture: only the first is ever taken.

Source: https://www.w3.org/Graphics/GIF/spec-gif89a.txt, read 2026-12.
"""

from __future__ import annotations

from providers.contract.headers.header import PictureHeader, TooMuchWork, UnreadablePicture, Work

_PICTURE, _EXTENSION, _CONTROL = b"\x2c", b"\x21", b"\xf9"
_CUT = "it is cut off: its pixels are missing"

#: Blocks of up to 255 bytes that count as one step.
_BLOCKS = 8


def read_gif(data: bytes, work: Work) -> PictureHeader:
    """
    Go through the blocks of a GIF.

    Raises:
        UnreadablePicture: cut off, or not as the format prescribes.
    """
    if len(data) < 13:
        raise UnreadablePicture(_CUT)
    screen, at = _pair(data, 6), 13 + _table(data[10])
    transparent = False
    while data[at : at + 1] == _EXTENSION:
        work.add()
        if data[at + 1 : at + 2] == _CONTROL and at + 3 < len(data):
            transparent = bool(data[at + 3] & 1)
        at = _blocks(data, at + 2, work)
    if data[at : at + 1] != _PICTURE or at + 11 > len(data):
        raise UnreadablePicture(_CUT)
    (left, top), (across, down) = _pair(data, at + 1), _pair(data, at + 5)
    if not across or not down:
        raise UnreadablePicture(f"its picture claims {across} x {down} pixels")
    end = _blocks(data, at + 11 + _table(data[at + 9]), work)
    return PictureHeader(
        "image/gif",
        max(screen[0], left + across),
        max(screen[1], top + down),
        channels=3 + transparent,
        transparent=transparent,
        frames=1 + _goes_on(data, end, work),
        end=end,
    )


def _goes_on(data: bytes, at: int, work: Work) -> bool:
    """Whether there is another picture after the first."""
    try:
        while data[at : at + 1] == _EXTENSION:
            work.add()
            at = _blocks(data, at + 2, work)
    except TooMuchWork:
        raise
    except UnreadablePicture:  # it is cut off, and nothing of the first picture is missing
        return False
    return data[at : at + 1] == _PICTURE


def _pair(data: bytes, at: int) -> tuple[int, int]:
    return int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 2 : at + 4], "little")


def _table(flags: int) -> int:
    """Return how many bytes a colour table takes."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks(data: bytes, at: int, work: Work) -> int:
    """
    Pass over blocks up to the empty one.

    Raises:
        UnreadablePicture: the file ends before that.
    """
    size = len(data)
    while True:
        work.add()
        for _ in range(_BLOCKS):
            if at >= size:
                raise UnreadablePicture(_CUT)
            length = data[at]
            at += 1 + length
            if not length:
                return at
