"""What is compressed unasked is inflated within bounds; labels that say nothing of the bytes are passed over."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable

import pytest

from providers.contract import CompressedBody, InflatesTooFar, completed, undo

PNG = b"\x89PNG\r\n\x1a\n" + random.Random(7).randbytes(3_000)
JPEG = b"\xff\xd8\xff\xe0" + random.Random(8).randbytes(3_000)
JSON = b'{"id": "run_1", "status": "succeeded"}' * 10


def bare(data: bytes) -> bytes:
    """Return deflate without zlib's frame, as some servers send it."""
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(data) + packing.flush()


def packed(data: bytes, times: int) -> bytes:
    """Return gzip in gzip."""
    for _ in range(times):
        data = gzip.compress(data)
    return data


@pytest.mark.parametrize("plain", [PNG, JPEG, JSON, b""])
@pytest.mark.parametrize(
    "label",
    [
        *("", "identity", "aws-chunked", "utf-8", "binary", "none", "base64", "image/png", "gzip", "deflate", "br"),
        *("zstd", "aws-chunked, gzip", "gzip, identity", "x", ",,", "BR", "compress"),
    ],
)
def test_plain_bytes_stay_as_they_are_whatever_the_label(plain: bytes, label: str) -> None:
    """Stores keep what an upload called itself, and it is often wrong."""
    assert completed(undo(plain, label, most_bytes=4_000)) == plain


@pytest.mark.parametrize("plain", [PNG, JSON])
@pytest.mark.parametrize(
    ("pack", "label"),
    [
        (gzip.compress, "gzip"),
        (gzip.compress, "X-GZIP"),
        (gzip.compress, "aws-chunked,gzip"),
        (gzip.compress, ""),
        (gzip.compress, "utf-8"),
        (lambda data: packed(data, 2), "gzip, gzip"),
        (lambda data: packed(data, 4), "gzip"),
        (zlib.compress, "deflate"),
        (bare, "deflate"),
        (lambda data: gzip.compress(zlib.compress(data)), "deflate, gzip"),
        (lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]), "gzip"),
        (lambda data: gzip.compress(data) + bytes(20), "gzip"),
    ],
)
def test_what_nobody_asked_to_have_compressed_is_inflated(
    plain: bytes, pack: Callable[[bytes], bytes], label: str
) -> None:
    """Layers, joined files, both forms of deflate, and labels in any case."""
    assert completed(undo(pack(plain), label, most_bytes=10_000)) == plain


@pytest.mark.parametrize(
    ("body", "label", "says"),
    [
        (gzip.compress(PNG)[:-9], "gzip", "gzip.*cut off"),
        (gzip.compress(PNG)[:900], "", "gzip.*cut off"),
        (gzip.compress(PNG)[:-8] + bytes(8), "gzip", "gzip.*damaged"),
        (packed(PNG, 9), "gzip", "too many times"),
        (b"\x1f\x8b\x08" + bytes(30), "gzip", "gzip"),
        (b"\x0b\x05\x80", "br", "br"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "zstd", "zstd"),
        (b"\x1f\x9d\x90", "compress", "compress"),
        (gzip.compress(b"") * 2_000, "gzip", "more than 1024 joined"),
    ],
)
def test_what_stays_compressed_is_refused_by_name(body: bytes, label: str, says: str) -> None:
    """Broken, of too many layers, or of a kind that is not read."""
    with pytest.raises(CompressedBody, match=says):
        completed(undo(body, label, most_bytes=100_000))


def test_what_may_come_of_a_body_is_bounded_in_bytes_and_as_a_multiple() -> None:
    """The bound is inclusive; the multiple counts from the second megabyte on; a bomb is left early."""
    exact = gzip.compress(bytes(5_000))
    assert len(completed(undo(exact, "gzip", most_bytes=5_000))) == 5_000
    with pytest.raises(InflatesTooFar, match="more than 4999 bytes"):
        completed(undo(exact, "gzip", most_bytes=4_999))
    bomb = gzip.compress(bytes(20_000_000))
    with pytest.raises(InflatesTooFar, match="200 times its size"):
        completed(undo(bomb, "gzip", most_bytes=2**30))
    with pytest.raises(InflatesTooFar):
        completed(undo(packed(bytes(20_000_000), 3), "", most_bytes=2**22))
