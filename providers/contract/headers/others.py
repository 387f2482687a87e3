"""Formats that people do send and that are not read, by their first bytes, so that a refusal can name them."""

from __future__ import annotations

import re

from providers.contract.headers.header import OtherFormat, UnreadablePicture

_SEND = "send a PNG, a JPEG or a WebP"
_JPEG_2000 = b"\0\0\0\x0cjP  \r\n\x87\n"
_RAW = "a camera's raw"

#: First bytes, and what they are the first bytes of.
_STARTS = (
    (b"\xff\x0a", "a JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL"),
    (_JPEG_2000, "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"II\xbc", "a JPEG XR"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "a PostScript"),
    (b"\xc5\xd0\xd3\xc6", "an EPS"),
    (b"8BPS", "a Photoshop"),
    (b"gimp xcf", "a GIMP"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"\0\0\2\0", "a cursor (CUR)"),
    (b"icns", "an icon (ICNS)"),
    (b"\x76\x2f\x31\x01", "an OpenEXR"),
    (b"#?RADIANCE", "a Radiance HDR"),
    (b"DDS ", "a DDS"),
    (b"qoif", "a QOI"),
    (b"BPG\xfb", "a BPG"),
    (b"AT&TFORM", "a DjVu"),
    (b"IIU\0", _RAW),
    (b"IIRO", _RAW),
    (b"IIRS", _RAW),
    (b"MMOR", _RAW),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"FOVb", _RAW),
    (b"\0MRM", _RAW),
    (b"PK\3\4", "a ZIP"),
    (b"\x1f\x8b", "a gzip"),
    (b"7z\xbc\xaf", "a 7-Zip"),
    (b"Rar!", "a RAR"),
    (b"\x1aE\xdf\xa3", "a WebM or Matroska video"),
    (b"RIFF", "a WAV or AVI"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"SIMPLE  =", "a FITS"),
)
_ADDRESS = "the address may lead to a page about the picture, or to a login"
#: Texts: how they begin, what they are, and what to do.
_TEXTS = (
    (re.compile(rb"(?i)<!doctype html|<html|<head|<body"), "an HTML page", _ADDRESS),
    (re.compile(rb"<\?xml|<!|<[A-Za-z]"), "an XML text", "it may be the error message of a store"),
    (re.compile(rb"[{\[]"), "a JSON text", "it may be the error message of a server"),
    (re.compile(rb"(?i)data:"), "a data: URI", "give it as image.data"),
    (re.compile(rb"iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk0"), "base64 text", "give it as image.data"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer", "send the file that it stands for"),
)
_NETPBM = re.compile(rb"P[1-7][\s#]")


def refusal(data: bytes) -> UnreadablePicture:
    """Return what there is to say of a file that begins like none of the formats that are read."""
    if not data:
        return UnreadablePicture("it is empty: 0 bytes")
    start = data[:1024]
    for first, name in _STARTS:
        if start.startswith(first):
            return OtherFormat(f"it is {name} file; {_SEND}")
    if data[128:132] == b"DICM":
        return OtherFormat(f"it is a DICOM file; {_SEND}")
    if _NETPBM.match(start):
        return OtherFormat(f"it is a Netpbm file; {_SEND}")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<") and b"<svg" in text.lower():
        return OtherFormat(f"it is an SVG file; {_SEND}")
    for pattern, name, remedy in _TEXTS:
        if pattern.match(text):
            return OtherFormat(f"it is {name}; {remedy}")
    return UnreadablePicture(
        f"it is no picture that we can read: it has {len(data)} bytes and begins {data[:8]!r}; {_SEND}"
    )
