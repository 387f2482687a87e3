"""
Compressed bodies, undone within bounds, step by step: what both sides of the contract read such bodies with.

Why bounded twice: a few kilobytes of deflate can stand for a gigabyte (its ratio is up to 1,032), and each layer of
several multiplies that. Why in steps: whoever has an event loop lets others have their turn between two.

Source: https://www.rfc-editor.org/rfc/rfc9110#section-8.4 (Content-Encoding), https://www.rfc-editor.org/rfc/rfc1950,
rfc1951 and rfc1952 (zlib, deflate, gzip), read 2026-12.
"""

from __future__ import annotations

from collections.abc import Generator

from zlib_ng import zlib_ng

#: How many compressions may lie around one another.
MOST_LAYERS = 4

#: The names that `inflate` takes.
INFLATED = frozenset({"gzip", "x-gzip", "deflate"})

#: How many times its own size a layer may stand for, once it stands for more than the first bytes.
MOST_RATIO = 200
_RATIO_COUNTS_FROM = 2**20

#: How much comes out in one step.
_STEP_BYTES = 2**18

#: How many gzip files may be joined to one; bgzip, which joins most, puts 64 KiB into each.
_MOST_MEMBERS = 1024

_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP, _ZLIB, _RAW = 31, 15, -15

#: What begins with these is no compressed body, whatever its label says: pictures, JSON, multipart, markup.
_PLAIN_STARTS = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*"),
    *(b"{", b"[", b'"', b"--", b"<"),
)
_OTHER_MAGIC = {
    "zstd": b"\x28\xb5\x2f\xfd",
    "compress": b"\x1f\x9d",
    "x-compress": b"\x1f\x9d",
}

Steps = Generator[None, None, bytes]
"""Yields between two steps, and returns the body."""


class CompressedBody(ValueError):
    """A body that stays compressed: of a kind that is not read, damaged, or of too many layers. One clause."""


class InflatesTooFar(ValueError):
    """A body that stands for more bytes than may come of it. One clause."""


def codings(header: str) -> list[str]:
    """Return what a Content-Encoding names, the last one applied last, without `identity`."""
    named = (name.strip().lower() for name in header.split(","))
    return [name for name in named if name not in {"", "identity"}]


def is_gzip(body: bytes) -> bool:
    """Whether a body begins as gzip's do."""
    return body.startswith(_GZIP_MAGIC)


def most_inflated(size: int, *, most_bytes: int) -> int:
    """Return how many bytes may come of so many compressed ones, where *most_bytes* may come of any."""
    return min(most_bytes, max(_RATIO_COUNTS_FROM, MOST_RATIO * size))


def undo(body: bytes, header: str, *, most_bytes: int) -> Steps:
    """
    Undo what an answer was compressed with, as far as it was: its bytes decide and not its label.

    Stores keep labels that say nothing of the bytes (`aws-chunked`, `utf-8`, `none`), and compress what nobody asked to
    have compressed. So gzip is known by its first bytes; `deflate`, which has none, where it inflates to its end.

    Args:
        body: as it came.
        header: its Content-Encoding; may be empty.
        most_bytes: how large it may become.

    Raises:
        CompressedBody: it is compressed in another way, or broken.
        InflatesTooFar: it stands for more than *most_bytes*, or than 200 times its size.
    """
    for name in reversed(codings(header)[-MOST_LAYERS:]):
        if name in {"gzip", "x-gzip"} and is_gzip(body):
            body = yield from inflate(body, name, most_bytes=most_bytes)
        elif name == "deflate":
            try:
                body = yield from inflate(body, name, most_bytes=most_bytes)
            except CompressedBody:
                continue  # the label was wrong: a file stored as it is
        elif name == "br" and body and not body.startswith(_PLAIN_STARTS) and body[4:8] != b"ftyp":
            raise CompressedBody("it is compressed (br)")
        elif name in _OTHER_MAGIC and body.startswith(_OTHER_MAGIC[name]):
            raise CompressedBody(f"it is compressed ({name})")
    for _ in range(MOST_LAYERS):
        if not is_gzip(body):
            return body
        body = yield from inflate(body, "gzip", most_bytes=most_bytes)
    if is_gzip(body):
        raise CompressedBody("it is compressed too many times over")
    return body


def inflate(body: bytes, name: str, *, most_bytes: int) -> Steps:
    """
    Undo one compression.

    Args:
        body: compressed.
        name: `gzip`, `x-gzip` or `deflate`: by its definition zlib's format, and with some senders bare deflate.
        most_bytes: how large it may become.

    Raises:
        CompressedBody: it is not compressed so, is damaged, or is cut off.
        InflatesTooFar: it stands for more than *most_bytes*, or than 200 times its size.
    """
    pieces: list[bytes] = []
    size = 0
    bound = most_inflated(len(body), most_bytes=most_bytes)
    most = f"{most_bytes} bytes" if bound == most_bytes else f"{MOST_RATIO} times its size"
    place = 0
    for _ in range(_MOST_MEMBERS):
        member = zlib_ng.decompressobj(wbits=_window(body, name))
        waiting = b""
        while not member.eof:
            waiting = waiting or body[place : (place := place + _STEP_BYTES)]
            try:
                piece = member.decompress(waiting, _STEP_BYTES)
            except zlib_ng.error:  # type: ignore[misc]  # its types call the class an instance
                raise CompressedBody(f"it is compressed ({name}) and damaged") from None
            if not piece and not waiting and not member.eof:
                raise CompressedBody(f"it is compressed ({name}) and cut off")
            waiting = member.unconsumed_tail
            size += len(piece)
            if size > bound:
                raise InflatesTooFar(f"it inflates to more than {most}")
            pieces.append(piece)
            yield
        place = min(place, len(body)) - len(member.unused_data)
        if not is_gzip(body[place : place + len(_GZIP_MAGIC)]):
            break  # gzip files may be joined; anything else behind one is nobody's
    else:
        raise CompressedBody(f"it is made of more than {_MOST_MEMBERS} joined gzip files")
    if place < len(body) and name == "deflate":
        raise CompressedBody("something follows what is compressed (deflate)")
    return b"".join(pieces)


def completed(steps: Steps) -> bytes:
    """Take all steps at once; belongs on a worker thread."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            body: bytes = done.value
            return body


def _window(body: bytes, name: str) -> int:
    """Return zlib's name for the format."""
    if name != "deflate":
        return _GZIP
    is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _ZLIB if is_zlib else _RAW
