"""
Broken pictures and masks, as many as are wanted: whole files of every format, then damaged in one of a dozen ways.

What is damaged is a file's structure as often as its bytes: chunks doubled, dropped, moved, headers that claim other
sizes with right checksums, two files in one. A seed gives the same files again.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"

Damage = Callable[[bytes, random.Random], bytes]


def broken(seed: int, *, masks: bool = False) -> Iterator[bytes]:
    """Yield broken files without end; *masks*: of the formats and sizes that a provider's masks have."""
    chance = random.Random(seed)
    whole = mask_files() if masks else picture_files()
    while True:
        data = chance.choice(whole)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            data = chance.choice(DAMAGES)(data, chance)
        yield data


@cache
def picture_files() -> Sequence[bytes]:
    """Return whole pictures of every format that is read, of 64 x 48 pixels and more."""
    rows, columns = np.mgrid[0:48, 0:64]
    colours = np.stack([columns * 4, rows * 5, 255 - columns * 2], axis=-1).astype(np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (96, 128, 3), np.uint8)
    pictures = [Image.fromarray(colours), Image.fromarray(noise)]
    files = []
    turned = Image.Exif()
    turned[0x0112] = 6
    for picture in pictures:
        files += [
            *(_file(picture.convert(mode), "PNG") for mode in ("RGB", "RGBA", "L", "LA", "1", "P")),
            _file(Image.fromarray(np.asarray(picture)[..., 0].astype(np.uint16) * 257), "PNG"),
            _file(picture, "PNG", exif=turned),
            apng(picture),
            _file(picture, "JPEG"),
            _file(picture, "JPEG", progressive=True, exif=turned),
            _file(picture.convert("L"), "JPEG"),
            _file(picture.convert("CMYK"), "JPEG", exif=turned),
            _file(picture, "WEBP", lossless=True, exif=turned),
            _file(picture, "WEBP"),
            _file(picture, "WEBP", save_all=True, append_images=[picture.rotate(90)]),
            _file(picture, "GIF", save_all=True, append_images=[picture.rotate(90)]),
            _file(picture, "BMP"),
            *(_file(picture, "TIFF", compression=each) for each in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
            _file(picture, "AVIF", exif=turned),
        ]
    return files


@cache
def mask_files() -> Sequence[bytes]:
    """Return whole masks as providers write them, and pictures in their place."""
    solid = np.zeros((240, 320), np.uint8)
    solid[40:160, 60:200] = 255
    mask = Image.fromarray(solid)
    cut_out = Image.merge("RGBA", (mask, mask, mask, mask))
    return [
        *(_file(mask.convert(mode), "PNG") for mode in ("L", "1", "P", "RGB", "LA")),
        _file(cut_out, "PNG"),
        _file(Image.fromarray(solid.astype(np.uint16) * 257), "PNG"),
        apng(mask),
        _file(mask, "JPEG"),
        _file(mask.convert("RGB"), "JPEG", progressive=True),
        _file(mask.convert("RGB"), "WEBP", lossless=True),
        _file(cut_out, "WEBP"),
        _file(mask, "GIF"),
        _file(mask, "TIFF"),
        interlaced(solid),
    ]


def apng(picture: Image.Image) -> bytes:
    """Return an animated PNG of two frames."""
    return _file(picture, "PNG", save_all=True, append_images=[picture.rotate(180)], duration=100)


def interlaced(grey: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG in Adam7 order; source: PNG specification (third edition), section 8.1."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(
        b"\0" + row.tobytes() for y, x, down, across in passes for row in grey[y::down, x::across] if row.size
    )
    return png(grey.shape[1], grey.shape[0], rows, interlace=1)


def png(width: int, height: int, rows: bytes, *, colour: int = 0, interlace: int = 0) -> bytes:
    """Return an 8-bit PNG with these rows, each after its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlace)
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with a right checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def twice_animated(*, plays: int = 0, frames: int = 2, twice: bool = True) -> bytes:
    """Return the PNG of a few hundred bytes whose second frame ended OpenCV 5.0.0.93 with a signal (2026-12)."""
    width, height = 128, 64
    rows = b"".join(b"\0" + bytes(width * 4) for _ in range(height))
    bad = b"".join((b"\x09" if row == height // 2 else b"\0") + bytes(width * 4) for row in range(height))
    control = chunk(b"acTL", struct.pack(">II", frames, plays))
    frame = struct.pack(">IIIIIHHBB", 1, width, height, 0, 0, 1, 10, 0, 0)
    return b"".join(
        [
            PNG,
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)),
            control * (2 if twice else 1),
            chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 10, 0, 0)),
            chunk(b"IDAT", zlib.compress(rows, 9)),
            chunk(b"fcTL", frame),
            chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(bad, 9)),
            chunk(b"IEND", b""),
        ]
    )


def _flipped(data: bytes, chance: random.Random) -> bytes:
    """Flip a few bits anywhere."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 12)):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _headed(data: bytes, chance: random.Random) -> bytes:
    """Write an extreme number somewhere in the first bytes."""
    changed = bytearray(data)
    at = chance.randrange(max(1, min(len(changed), 200)))
    number = chance.choice((0, 1, 0x7FFFFFFF, 0x80000001, 0xFFFFFFFF, 0xFFFF, 65_535 << 16))
    changed[at : at + 4] = number.to_bytes(4, chance.choice(("big", "little")))
    return bytes(changed)


def _cut(data: bytes, chance: random.Random) -> bytes:
    """Cut the end off."""
    return data[: chance.randrange(1, max(2, len(data)))]


def _without(data: bytes, chance: random.Random) -> bytes:
    """Drop a piece from the middle."""
    start = chance.randrange(max(1, len(data)))
    return data[:start] + data[start + chance.randint(1, 64) :]


def _doubled(data: bytes, chance: random.Random) -> bytes:
    """Repeat a piece."""
    start = chance.randrange(max(1, len(data)))
    piece = data[start : start + chance.randint(1, 256)]
    return data[:start] + piece * chance.choice((2, 3, 50)) + data[start + len(piece) :]


def _spliced(data: bytes, chance: random.Random) -> bytes:
    """Begin as one file and end as another."""
    other = chance.choice(picture_files())
    return data[: chance.randrange(max(1, len(data)))] + other[chance.randrange(len(other)) :]


def _filled(data: bytes, chance: random.Random) -> bytes:
    """Insert a run of one value: JPEG's fill bytes, or zeros."""
    at = chance.choice((2, chance.randrange(max(1, len(data)))))
    return data[:at] + bytes([chance.choice((0xFF, 0x00))]) * chance.choice((16, 4096, 60_000)) + data[at:]


def _chunked(data: bytes, chance: random.Random) -> bytes:
    """Double, drop, move or change a chunk of a PNG, its checksum right; other files are flipped."""
    chunks = list(png_chunks(data))
    if len(chunks) < 2:
        return _flipped(data, chance)
    at = chance.randrange(len(chunks))
    name, content = chunks[at]
    what = chance.randrange(7)
    if what == 0:
        chunks.insert(at, (name, content))
    elif what == 1:
        del chunks[at]
    elif what == 2:
        chunks.insert(chance.randrange(len(chunks)), chunks.pop(at))
    elif what == 3 and content:
        changed = bytearray(content)
        changed[chance.randrange(len(changed))] = chance.randrange(256)
        chunks[at] = (name, bytes(changed))
    elif what == 4:
        chunks.insert(1, (b"acTL", struct.pack(">II", chance.choice((0, 1, 2, 0x80000001)), chance.randrange(3))))
    elif what == 5:
        chunks.insert(at, (b"fdAT", struct.pack(">I", chance.randrange(4)) + chance.randbytes(30)))
    else:
        bomb = b"a\0\0\0\0\0" + zlib.compress(bytes(2_000_000), 9)
        chunks[1:1] = [(chance.choice((b"iTXt", b"zTXt", b"iCCP", b"eXIf")), bomb)] * chance.choice((1, 5, 60))
    return PNG + b"".join(chunk(*each) for each in chunks)


def _rows_changed(data: bytes, chance: random.Random) -> bytes:
    """Give rows of a PNG other filters, some that do not exist; other files are cut."""
    chunks = list(png_chunks(data))
    packed = b"".join(content for name, content in chunks if name == b"IDAT")
    try:
        rows = bytearray(zlib.decompress(packed))
    except zlib.error:
        return _cut(data, chance)
    for _ in range(chance.randint(1, 20)):
        if rows:
            rows[chance.randrange(len(rows))] = chance.choice((0, 1, 2, 3, 4, 9, 255))
    if chance.random() < 0.3:
        rows += bytes(chance.choice((1, 1000, 3_000_000)))
    kept = [(name, content) for name, content in chunks if name not in {b"IDAT", b"IEND"}]
    return PNG + b"".join(chunk(*each) for each in [*kept, (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b"")])


def _marked(data: bytes, chance: random.Random) -> bytes:
    """Insert a JPEG marker segment, or many scans, behind the start of a JPEG; other files are doubled in parts."""
    if not data.startswith(b"\xff\xd8"):
        return _doubled(data, chance)
    kind = chance.choice((0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE1, 0xEE, 0xFE))
    content = chance.randbytes(chance.choice((0, 2, 12, 3000)))
    segment = b"\xff" + bytes([kind]) + (len(content) + 2).to_bytes(2) + content
    at = chance.choice((2, max(2, data.rfind(b"\xff\xda"))))
    return data[:at] + segment * chance.choice((1, 2, 300)) + data[at:]


DAMAGES: Sequence[Damage] = (
    _flipped,
    _headed,
    _cut,
    _without,
    _doubled,
    _spliced,
    _filled,
    _chunked,
    _chunked,
    _rows_changed,
    _marked,
)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of a PNG's chunks, as far as they can be read."""
    at = len(PNG)
    while data.startswith(PNG) and at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def _file(picture: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()
