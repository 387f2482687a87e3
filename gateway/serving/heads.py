"""
What is wrong with a request's head, beyond what the parser refuses.

Source: RFC 9112 sections 3.2 (Host), 6.1 (Transfer-Encoding), 6.3 (length of a body).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.problems import GatewayError, MalformedRequest, NotImplementedHere

#: Host: a name, an IPv4 address or an IPv6 address in brackets, and a port; RFC 3986 section 3.2.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")

#: Methods that the parser knows and for which there is nothing to route.
_TUNNEL = "CONNECT"


@dataclass(frozen=True, slots=True)
class Framing:
    """How long a body is."""

    length: int | None
    """As its head says; None where it is sent in chunks."""

    def as_head(self) -> bytes:
        """Return the shortest head of a request with such a body."""
        framing = b"Transfer-Encoding: chunked" if self.length is None else b"Content-Length: %d" % self.length
        return b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n"


def framing_of(headers: Sequence[tuple[bytes, bytes]], *, method: str, version: str) -> Framing:
    """
    Return how a request's body is framed.

    Args:
        headers: by lower-case name.
        method: in capitals.
        version: as `1.1`.

    Raises:
        MalformedRequest: without the one Host that it needs, or with a framing that two readers may take for two.
        NotImplementedHere: a method or a transfer coding that is not served.
    """
    hosts, length, coding = 0, 0, None
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not _HOST.fullmatch(value):
                raise MalformedRequest("the Host header is no host and port", field="Host")
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            coding = value if coding is None else coding + b", " + value
    if hosts > 1 or (hosts == 0 and version != "1.0"):
        raise MalformedRequest(f"the request has {hosts} Host headers; send one", field="Host")
    if method == _TUNNEL:
        raise NotImplementedHere("CONNECT: this server is no proxy")
    return Framing(length) if coding is None else _in_chunks(coding, version)


def _in_chunks(coding: bytes, version: str) -> Framing:
    """Return the framing of a body with a transfer coding."""
    if version == "1.0":
        raise MalformedRequest("HTTP/1.0 has no Transfer-Encoding; send Content-Length", field="Transfer-Encoding")
    if coding.lower() != b"chunked":
        raise NotImplementedHere("of all transfer codings only `chunked`, once, is read", field="Transfer-Encoding")
    return Framing(None)


def parser_problem(kind: str, reason: str, start: bytes) -> GatewayError:
    """
    Say what the parser refused.

    Args:
        kind: name of its exception's class.
        reason: its message.
        start: how the request begins.
    """
    if kind == "HttpParserInvalidMethodError" and re.match(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^ ]+ HTTP/", start):
        return NotImplementedHere("this method is not known here")
    return MalformedRequest(f"this is no HTTP/1.1 request that can be read: {reason}")
