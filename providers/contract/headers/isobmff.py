"""
The boxes of AVIF and HEIC, as deep as the primary picture's size and turns stand.

Source: ISO/IEC 14496-12 (boxes), ISO/IEC 23008-12 (HEIF: pitm, iprp, ispe, irot, imir, auxC),
https://aomediacodec.github.io/av1-avif/, read 2026-12.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from providers.contract.headers.exif import UPRIGHT
from providers.contract.headers.header import OtherFormat, PictureHeader, UnreadablePicture, Work

_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis"})
_HEIF = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})
_SEQUENCES = {b"avis": "an AVIF image sequence", b"msf1": "a HEIF image sequence", b"hevc": "a HEIC image sequence"}
_SEQUENCES |= {b"hevx": "a HEIC image sequence", b"hevm": "a HEIC image sequence", b"hevs": "a HEIC image sequence"}
_MOST_BRANDS = 64

_CUT = "it is cut off: its end is missing"

#: EXIF's orientation by quarter turns against the clock, then mirroring (of rows = 0, of columns = 1, or none).
_ORIENTATIONS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Box:
    """A box: its name, and from where to where its content is."""

    name: bytes
    start: int
    end: int


def read_isobmff(data: bytes, work: Work) -> PictureHeader:
    """
    Read what an AVIF or HEIC says of its primary picture.

    Raises:
        UnreadablePicture: cut off, or not as the format prescribes.
        OtherFormat: another format in the same container, or a sequence without a still picture.
    """
    major, brands = _brands(data)
    if not brands & (_AVIF | _HEIC | _HEIF | frozenset(_SEQUENCES)):
        raise OtherFormat(_other(major))
    meta: _Box | None = None
    stored, end = False, 0
    for box in _boxes(data, 0, len(data), work, strict=False):
        if box.end > len(data):
            if not (meta and stored):
                raise UnreadablePicture(_CUT)
            break  # something that somebody appended
        meta = box if box.name == b"meta" and meta is None else meta
        stored = stored or box.name == b"mdat"
        end = box.end
    name = _SEQUENCES.get(major) or ("an AVIF" if major in _AVIF else "a HEIC" if major in _HEIC else "a HEIF")
    if meta is None:
        raise OtherFormat(f"it is {name} file without a still picture; send a PNG, a JPEG or a WebP")
    still = _primary(data, meta, work)
    if still.coding not in _CODINGS:
        raise OtherFormat(f"it is {name} file of neither AVIF nor HEIC; send a PNG, a JPEG or a WebP")
    return PictureHeader(
        _CODINGS[still.coding],
        still.width,
        still.height,
        channels=3 + still.transparent,
        transparent=still.transparent,
        orientation=still.orientation,
        frames=2 if major in _SEQUENCES else 1,
        lossless=False,
        end=end,
    )


_CODINGS = {b"av1C": "image/avif", b"hvcC": "image/heic"}


@dataclass(frozen=True, slots=True)
class _Still:
    """What the properties of the primary picture say."""

    width: int
    height: int
    orientation: int
    coding: bytes
    transparent: bool


def _brands(data: bytes) -> tuple[bytes, set[bytes]]:
    size = min(int.from_bytes(data[:4]), len(data), 16 + 4 * _MOST_BRANDS)
    major = data[8:12]
    return major, {major, *(data[at : at + 4] for at in range(16, size - 3, 4))}


def _other(major: bytes) -> str:
    """Name what else such a container is used for."""
    if major == b"crx ":
        return "it is a camera's raw file; develop it, and send a JPEG or a PNG"
    return "it is a video; send a single picture of it, as a JPEG or a PNG"


def _boxes(data: bytes, start: int, end: int, work: Work, *, strict: bool = True) -> Iterator[_Box]:
    """
    Yield the boxes in a part of the file; the last one may claim to end beyond it, where *strict* is off.

    Raises:
        UnreadablePicture: a box ends beyond what it lies in.
    """
    at = start
    while at + 8 <= end:
        work.add()
        size, head = int.from_bytes(data[at : at + 4]), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        elif size == 0:
            size = end - at
        if size < head or (strict and at + size > end):
            if strict:
                raise UnreadablePicture("its boxes do not fit into each other: the file is damaged")
            size = 2 * len(data) + head
        yield _Box(data[at + 4 : at + 8], at + head, at + size)
        at += size


def _primary(data: bytes, meta: _Box, work: Work) -> _Still:
    """Return what is said of the primary picture."""
    item, properties, links = None, list[_Box](), dict[int, list[int]]()
    for box in _boxes(data, meta.start + 4, meta.end, work):
        if box.name == b"pitm":
            wide = data[box.start : box.start + 1] != b"\0"
            item = int.from_bytes(data[box.start + 4 : min(box.end, box.start + (8 if wide else 6))])
        elif box.name == b"iprp":
            for inner in _boxes(data, box.start, box.end, work):
                if inner.name == b"ipco":
                    properties = list(_boxes(data, inner.start, inner.end, work))
                elif inner.name == b"ipma":
                    links |= _links(data, inner, work)
    if item is None or item not in links:
        raise UnreadablePicture("it does not say which of its pictures is the main one")
    own = [properties[index - 1] for index in links[item] if 0 < index <= len(properties)]
    return _still(data, own, properties)


def _links(data: bytes, box: _Box, work: Work) -> dict[int, list[int]]:
    """Return which properties each picture has, counted from 1."""
    version, flags = data[box.start : box.start + 1], data[box.start + 3 : box.start + 4]
    id_size, link_size = (4 if version > b"\0" else 2), (2 if flags and flags[0] & 1 else 1)
    mask = 0x7FFF if link_size == 2 else 0x7F
    at, links = box.start + 8, dict[int, list[int]]()
    for _ in range(int.from_bytes(data[box.start + 4 : box.start + 8])):
        if at + id_size + 1 > box.end:
            raise UnreadablePicture("its boxes do not fit into each other: the file is damaged")
        item, count = int.from_bytes(data[at : at + id_size]), data[at + id_size]
        work.add(1 + count // 8)
        at += id_size + 1
        places = range(at, min(box.end, at + count * link_size), link_size)
        links.setdefault(item, [int.from_bytes(data[place : place + link_size]) & mask for place in places])
        at += count * link_size
    return links


def _still(data: bytes, own: list[_Box], properties: list[_Box]) -> _Still:
    width = height = 0
    turns, mirror, coding, window = 0, None, b"", None
    for box in own:
        content = data[box.start : min(box.end, box.start + 12)]
        if box.name == b"ispe" and len(content) >= 12:
            width, height = int.from_bytes(content[4:8]), int.from_bytes(content[8:12])
        elif box.name == b"clap":
            window = _window(data[box.start : min(box.end, box.start + 16)])
        elif box.name == b"irot" and content:
            turns = content[0] & 3
        elif box.name == b"imir" and content:
            mirror = content[0] & 1
        elif box.name in _CODINGS:
            coding = box.name
    if not coding:  # a picture of tiles: these are in the file, and have it
        coding = next((box.name for box in properties if box.name in _CODINGS), b"")
    if window is not None and coding == b"hvcC":  # decoders of HEIC cut the picture to it, those of AVIF do not
        width, height = window
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise UnreadablePicture("it does not say how large its main picture is")
    alpha = any(
        box.name == b"auxC" and _is_alpha(data[box.start + 4 : min(box.end, box.start + 64)]) for box in properties
    )
    return _Still(width, height, _ORIENTATIONS.get((turns, mirror), UPRIGHT), coding, alpha)


def _window(content: bytes) -> tuple[int, int] | None:
    """Return width and height of the part of a picture that is shown, written as fractions; None for nonsense."""
    across, by, down, of = (int.from_bytes(content[at : at + 4]) for at in (0, 4, 8, 12))
    return (across // by, down // of) if len(content) == 16 and by and of else None


def _is_alpha(kind: bytes) -> bool:
    return kind.startswith((b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1"))
