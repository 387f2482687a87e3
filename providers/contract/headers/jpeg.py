"""
A JPEG's segments and scans, up to its end marker.

In pixel data every 0xFF is followed by a zero or is a restart marker, so the next marker is found at the speed of a
search. What a picture without an end marker holds ends at the first thing that no JPEG has at that place, or with the
file; whether that is all of its pixels only decoding can tell.

Source: ITU-T T.81 (segments, markers: Annex B), https://www.w3.org/Graphics/JPEG/jfif3.pdf, CIPA DC-008 (EXIF in APP1),
CIPA DC-007 (further pictures after the first: MPO), read 2026-12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from providers.contract.headers.exif import UPRIGHT, orientation_in
from providers.contract.headers.header import OtherFormat, PictureHeader, UnreadablePicture, Work

#: How often decoding may go over a picture: encoders write 10 to 20 scans. And how many pixels that may be in all.
MOST_SCANS = 100
MOST_SCANNED_PIXELS = 2_000_000_000
#: Fill bytes (0xFF before a marker), in all; honest files have none, or a few.
MOST_FILL = 4_096

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Frames that decoders read: baseline, extended, progressive, and the two with arithmetic coding.
_READ_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_PROGRESSIVE = frozenset({0xC2, 0xCA})
#: What may follow a scan: tables, a comment, an application's segment, the number of lines.
_AFTER_SCAN = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1

_FILL = re.compile(rb"\xff{1,%d}" % (MOST_FILL + 2))
#: What ends a scan: no stuffed zero and no restart marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_WINDOW = 65_536
_STEP_BYTES = 4_096

#: All 64 coefficients of a component.
_ALL = 2**64 - 1

_CUT = "it is cut off: its pixels are missing"


@dataclass(slots=True)
class _Seen:
    """What has been seen of the file so far."""

    frame: int = 0
    width: int = 0
    height: int = 0
    channels: int = 0
    several: bool = False
    """Whether there may be further scans."""
    scans: int = 0
    known: dict[int, int] = field(default_factory=dict)
    """By component, one bit for each coefficient that scans have brought to the full."""
    fill: int = 0
    orientation: int | None = None


def read_jpeg(data: bytes, work: Work) -> PictureHeader:
    """
    Go through the segments and scans of a JPEG.

    Raises:
        UnreadablePicture: cut off before its pixels, or not as the format prescribes; or scans without end.
        OtherFormat: a JPEG of a kind that nobody reads.
    """
    seen, at, complete = _Seen(), 2, False
    while True:
        work.add()
        marker, place = _marker(data, at, seen)
        if marker == _EOI and seen.scans:
            at, complete = place, True
            break
        if marker == _SOS and (not seen.scans or seen.several):
            at = _scan(data, place, seen, work)
        elif 0xD0 <= marker <= 0xD7 or marker == 0x01:  # they stand alone
            at = place
        elif seen.scans and (marker not in _AFTER_SCAN or _segment_end(data, place) is None):
            break  # no part of this picture
        elif marker < 0xC0 or marker in {_SOI, _EOI, _SOS}:
            raise UnreadablePicture(_CUT if marker < 0 or marker == _EOI else "its parts do not follow each other")
        else:
            at = _segment(data, place, marker, seen)
    if not complete and (len(seen.known) < seen.channels or any(each != _ALL for each in seen.known.values())):
        raise UnreadablePicture(_CUT)
    if seen.scans * seen.width * seen.height > MOST_SCANNED_PIXELS:
        raise UnreadablePicture(
            f"it has {seen.scans} scans of {seen.width} x {seen.height} pixels; save it with fewer, or as baseline"
        )
    return PictureHeader(
        "image/jpeg",
        seen.width,
        seen.height,
        channels=seen.channels,
        orientation=seen.orientation or UPRIGHT,
        scans=seen.scans,
        lossless=False,
        complete=complete,
        end=min(at, len(data)),
    )


def _marker(data: bytes, at: int, seen: _Seen) -> tuple[int, int]:
    """Return the marker there and the place after it; -1 where the file ends, 0 where there is none."""
    if at + 1 >= len(data):
        return -1, at
    fill = _FILL.match(data, at)
    if fill is None:
        return 0, at
    place = fill.end()
    seen.fill += place - at - 1
    if seen.fill > MOST_FILL:
        raise UnreadablePicture(f"more than {MOST_FILL} fill bytes stand between its parts; save it again")
    return (data[place], place + 1) if place < len(data) else (-1, place)


def _segment_end(data: bytes, place: int) -> int | None:
    """Return where a segment ends whose length stands there; None where the file has not all of it."""
    length = int.from_bytes(data[place : place + 2])
    return place + length if length >= 2 and place + length <= len(data) else None


def _segment(data: bytes, place: int, marker: int, seen: _Seen) -> int:
    """Read a segment, and return where it ends."""
    end = _segment_end(data, place)
    if end is None:
        raise UnreadablePicture(_CUT)
    if marker in _START_OF_FRAME:
        _frame(data, place, end, marker, seen)
    elif marker == _APP1 and seen.orientation is None and data.startswith(b"Exif\0", place + 2):
        seen.orientation = orientation_in(data[place + 8 : end])
    return end


def _frame(data: bytes, place: int, end: int, marker: int, seen: _Seen) -> None:
    if seen.frame:
        raise UnreadablePicture("it has two headers")
    if marker not in _READ_FRAMES:
        raise OtherFormat("it is a lossless or hierarchical JPEG; save it as a usual JPEG or as a PNG")
    if end - place < 8:
        raise UnreadablePicture("its header is too short")
    bits, seen.channels = data[place + 2], data[place + 7]
    seen.height, seen.width = int.from_bytes(data[place + 3 : place + 5]), int.from_bytes(data[place + 5 : place + 7])
    if bits != 8:
        raise OtherFormat(f"it is a JPEG of {bits} bits a channel; save it with 8, or as a PNG")
    if seen.channels not in {1, 3, 4} or end - place < 8 + 3 * seen.channels:
        raise UnreadablePicture(f"its header names {seen.channels} channels in {end - place} bytes")
    if not seen.width or not seen.height:
        raise UnreadablePicture(f"it claims {seen.width} x {seen.height} pixels")
    samplings = data[place + 9 : place + 8 + 3 * seen.channels : 3]
    if any(not 1 <= each >> 4 <= 4 or not 1 <= each & 15 <= 4 for each in samplings):
        raise UnreadablePicture("its header names a subsampling that there is none of")
    seen.frame = marker


def _scan(data: bytes, place: int, seen: _Seen, work: Work) -> int:
    """Pass over a scan, and return where the next marker is, or where the file ends."""
    if not seen.frame:
        raise UnreadablePicture("its pixels come before its header")
    end = _segment_end(data, place)
    if end is None or end - place < 3:
        raise UnreadablePicture(_CUT)
    if not seen.scans:
        seen.several = seen.frame in _PROGRESSIVE or data[place + 2] < seen.channels
    _note_scan(data[place + 2 : end], seen)
    seen.scans += 1
    if seen.scans > MOST_SCANS:
        raise UnreadablePicture(f"it has more than {MOST_SCANS} scans; save it with fewer, or as baseline")
    for start in range(end, len(data), _WINDOW):  # in windows: other threads get their turn between them
        stop = min(len(data), start + _WINDOW)
        found = _MARKER.search(data, start, min(len(data), stop + 1))
        if found is not None:
            work.add((found.start() - start) // _STEP_BYTES)
            return found.start()
        work.add(1 + (stop - start) // _STEP_BYTES)
    return len(data)


def _note_scan(head: bytes, seen: _Seen) -> None:
    """Note which coefficients a scan brings to the full: all of them, or a band of them to the last bit."""
    count = head[0]
    if not 1 <= count <= 4 or len(head) < 4 + 2 * count:
        raise UnreadablePicture("a scan names no components")
    first, last, bit = head[1 + 2 * count], head[2 + 2 * count], head[3 + 2 * count] & 15
    if seen.frame not in _PROGRESSIVE:
        first, last, bit = 0, 63, 0
    band = (2 << min(last, 63)) - (1 << min(first, 63))
    for component in head[1 : 1 + 2 * count : 2]:
        seen.known[component] = seen.known.get(component, 0) | (0 if bit or last < first else band)
