"""multipart/form-data, against the standard library's own reading and writing of it."""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.prodia.multipart import MOST_PARTS, MalformedMultipart, Part, read_parts, split_value, written

B = "6f1d2c3b"
HEAD = b'Content-Disposition: form-data; name="output"; filename="mask_0.png"\r\nContent-Type: image/png'


def body(*parts: bytes, boundary: str = B) -> bytes:
    """Return parts between delimiters, and the closing one."""
    return b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_round_trip(contents: list[bytes]) -> None:
    """What is written is read back, byte for byte."""
    parts = read_parts(written([(HEAD, content) for content in contents], boundary=B.encode()), boundary=B)
    assert parts == [Part("output", "image/png", content) for content in contents]


@given(st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=4))
def test_written_for_others(contents: list[bytes]) -> None:
    """What is written is read by the standard library as the same parts."""
    head = f'Content-Type: multipart/form-data; boundary="{B}"\r\n\r\n'.encode()
    heads = [HEAD + b"\r\nContent-Transfer-Encoding: binary"] * len(contents)
    safe = [content.replace(b"\r", b"r").replace(b"\n", b"n") for content in contents]
    message = BytesParser(policy=HTTP).parsebytes(
        head + written(list(zip(heads, safe, strict=True)), boundary=B.encode())
    )
    assert [part.get_payload(decode=True) for part in message.iter_parts()] == safe
    assert {part.get_param("name", header="content-disposition") for part in message.iter_parts()} == {"output"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"--",
        f"x--{B}".encode(),
        f"\r\n--{B}X".encode(),
        f"\r\n--{B[:-1]}\r\n".encode(),
        f"x--{B}--\r\n".encode(),
        f"\n--{B}--\r\n".encode(),
        b"\r\n\r\n",
        b"\r",
    ],
)
def test_contents_like_delimiters(content: bytes) -> None:
    """Content that only looks like a delimiter stays content."""
    assert read_parts(body(HEAD + b"\r\n\r\n" + content), boundary=B) == [Part("output", "image/png", content)]


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n" + body(HEAD + b"\r\n\r\nx"),
        b"preamble\r\n" + body(HEAD + b"\r\n\r\nx"),
        body(HEAD + b"\r\n\r\nx") + b"epilogue",
        body(HEAD + b"\r\n\r\nx")[:-2],
        body(HEAD + b"\r\n\r\nx").replace(f"--{B}\r\n".encode(), f"--{B} \t\r\n".encode()),
        body(HEAD.replace(b"; ", b";") + b"\r\n\r\nx"),
        body(HEAD.lower() + b"\r\n\r\nx"),
        body(HEAD.replace(b'"', b"") + b"\r\n\r\nx"),
        body(b"X-Other: 1\r\n" + HEAD + b"; charset=binary\r\n\r\nx"),
        body(
            b'Content-Type: IMAGE/PNG\r\nContent-Disposition: form-data; filename="a; name=b"; name="output"\r\n\r\nx'
        ),
    ],
)
def test_other_spellings(raw: bytes) -> None:
    """Preamble, epilogue, blanks after delimiters, other orders and cases of headers change nothing."""
    assert read_parts(raw, boundary=B) == [Part("output", "image/png", b"x")]


def test_part_without_headers() -> None:
    """A part may have no headers at all."""
    assert read_parts(body(b"\r\nx"), boundary=B) == [Part("", "", b"x")]


def test_no_parts() -> None:
    """A body of nothing but the closing delimiter has no parts."""
    assert read_parts(body(), boundary=B) == []


@pytest.mark.parametrize("end", range(len(body(HEAD + b"\r\n\r\n" + b"x" * 20)) - 2))
def test_cut_anywhere(end: int) -> None:
    """A body that is cut off before its closing delimiter is refused, wherever the cut is."""
    with pytest.raises(MalformedMultipart):
        read_parts(body(HEAD + b"\r\n\r\n" + b"x" * 20)[:end], boundary=B)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no delimiter",
        body(HEAD),
        body(HEAD + b"\n\nx"),
        body(b""),
        body(b"X: " + b"y" * 10_000 + b"\r\n\r\nx"),
        body(HEAD + b"\r\n\r\nx").replace(b"\r\n", b"\n"),
        body(*[HEAD + b"\r\n\r\nx"] * (MOST_PARTS + 1)),
    ],
)
def test_malformed(raw: bytes) -> None:
    """What breaks the promises of its form is refused."""
    with pytest.raises(MalformedMultipart):
        read_parts(raw, boundary=B)


def test_most_parts() -> None:
    """As many parts as may be are read."""
    assert len(read_parts(body(*[HEAD + b"\r\n\r\nx"] * MOST_PARTS), boundary=B)) == MOST_PARTS


def test_strange_boundary() -> None:
    """A boundary that is not ASCII is refused."""
    with pytest.raises(MalformedMultipart, match="ASCII"):
        read_parts(b"", boundary="ü")


@pytest.mark.parametrize(
    ("text", "value", "parameters"),
    [
        ("image/png", "image/png", {}),
        ("Multipart/Form-Data; Boundary=abc", "multipart/form-data", {"boundary": "abc"}),
        (
            'multipart/form-data; charset=utf-8; boundary="a=b;c"',
            "multipart/form-data",
            {"charset": "utf-8", "boundary": "a=b;c"},
        ),
        (r'form-data; name="a\"b"; filename="c"', "form-data", {"name": 'a"b', "filename": "c"}),
        ("form-data; name", "form-data", {}),
        ('form-data; name="open', "form-data", {"name": "open"}),
        ("", "", {}),
        (";;", "", {}),
    ],
)
def test_split_value(text: str, value: str, parameters: dict[str, str]) -> None:
    """A header's value and its parameters are told apart, quoted or not."""
    assert split_value(text) == (value, parameters)
