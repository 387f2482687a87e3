"""What faults make of an answer that the provider has written: the whole of it still comes, and is not what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from providers.sandbox.answer import Answer
from providers.sandbox.faults import Fault, Kind

_FORM = "multipart/form-data"
_JSON = ("application/json", _FORM)


def spoil(answer: Answer, fault: Fault) -> None:
    """Change an answer as *fault* does; one that holds nothing of the sort is left alone."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    _SPOILERS[fault.kind](answer, body, fault)


def _wrong_type(answer: Answer, _body: bytes, _fault: Fault) -> None:
    answer.headers["Content-Type"] = "text/html; charset=utf-8"


def _into_json(answer: Answer, body: bytes, inserted: bytes) -> None:
    """Put something behind the first brace, which in a form is that of the job."""
    if answer.content_type in _JSON:
        answer.body = body.replace(b"{", b"{" + inserted, 1)


def _bad_json(answer: Answer, body: bytes, _fault: Fault) -> None:
    _into_json(answer, body, b"{")


def _huge_json(answer: Answer, body: bytes, fault: Fault) -> None:
    _into_json(answer, body, b'"padding":"' + b"x" * (fault["megabytes"] * 1_000_000) + b'",')


def _deep_json(answer: Answer, body: bytes, fault: Fault) -> None:
    _into_json(answer, body, b'"deep":' + b"[" * fault["depth"] + b"]" * fault["depth"] + b",")


def _duplicate_keys(answer: Answer, body: bytes, _fault: Fault) -> None:
    nothing = b'"id":"00000000-0000-7000-8000-000000000000","status_code":"failed","state":{"current":"failed"},'
    _into_json(answer, body, nothing)


def _nan_json(answer: Answer, body: bytes, _fault: Fault) -> None:
    _into_json(answer, body, b'"ratio":NaN,')


def _bad_png(answer: Answer, body: bytes, _fault: Fault) -> None:
    if b"IHDR" in body:
        answer.body = body.replace(b"IHDR", b"XHDR")
    elif answer.content_type.startswith("image/"):
        answer.body = body[:16]


def _bad_multipart(answer: Answer, body: bytes, _fault: Fault) -> None:
    if answer.content_type == _FORM:
        answer.body = body[: body.rindex(b"\r\n--")]


def _preamble(answer: Answer, body: bytes, fault: Fault) -> None:
    if answer.content_type == _FORM:
        text = b"This is a message in several parts.\r\n"
        text = (text * (fault["bytes"] // len(text) + 1))[: fault["bytes"]]
        answer.body = text + b"\r\n" + body + text


def _many_headers(answer: Answer, body: bytes, fault: Fault) -> None:
    if answer.content_type == _FORM:
        headers = b"".join(b"X-Header-%d: x\r\n" % number for number in range(fault["count"]))
        answer.body = body.replace(b"Content-Type:", headers + b"Content-Type:", 1)


def _no_boundary(answer: Answer, _body: bytes, _fault: Fault) -> None:
    if answer.content_type == _FORM:
        answer.headers["Content-Type"] = _FORM


def _wrong_boundary(answer: Answer, _body: bytes, _fault: Fault) -> None:
    if answer.content_type == _FORM:
        answer.headers["Content-Type"] = f"{_FORM}; boundary={'0' * 60}"


_SPOILERS: Mapping[Kind, Callable[[Answer, bytes, Fault], None]] = {
    Kind.WRONG_TYPE: _wrong_type,
    Kind.BAD_JSON: _bad_json,
    Kind.HUGE_JSON: _huge_json,
    Kind.DEEP_JSON: _deep_json,
    Kind.DUPLICATE_KEYS: _duplicate_keys,
    Kind.NAN_JSON: _nan_json,
    Kind.BAD_PNG: _bad_png,
    Kind.BAD_MULTIPART: _bad_multipart,
    Kind.PREAMBLE: _preamble,
    Kind.MANY_HEADERS: _many_headers,
    Kind.NO_BOUNDARY: _no_boundary,
    Kind.WRONG_BOUNDARY: _wrong_boundary,
}
