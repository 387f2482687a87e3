"""
Addresses (URLs of http and https), taken apart once: what is judged, connected to and sent is the same.

Why by hand: a presigned address is signed as it is spelt, and strict stores compare it byte by byte, while the URL
classes of HTTP clients write escapes anew (`%26` becomes `&`, `%2f` becomes `%2F`). And two parsers that disagree about
where a host ends let a guard look at one host and a client connect to another. So the text is cut once, after the
grammar of RFC 3986, the host has to be a plain name or a plain IP address, and the rest is the request's target as it
stands: only what no request line can carry (blanks, control characters, what is not ASCII) is escaped.

Source: https://www.rfc-editor.org/rfc/rfc3986 sections 3 and 5.2, https://url.spec.whatwg.org/#host-parsing (numbers as
hosts), https://www.unicode.org/reports/tr46/ (names with letters beyond ASCII), read 2026-12.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import idna

DEFAULT_PORTS = {"http": 80, "https": 443}

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY_END = re.compile(r"[/?#]")
_PORT = re.compile(r"[0-9]{1,5}")
_NAME = re.compile(r"(?=.{1,254}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
#: A last label that URL parsers read as a number, and the host with it as an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UNSENDABLE = re.compile(r"[^\x21-\x7e]+")
_BLANKS = " \t\r\n\f"


class NoAddress(ValueError):
    """A text that is no address of http or https. The message is one clause, and holds nothing of the text."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address, taken apart."""

    scheme: str
    """`http` or `https`."""
    host: str
    """A name in ASCII and lower case, or an IP address; an IPv6 one without brackets."""
    port: int
    target: str
    """Path and query for the request line, as they were given, and `/` where there is no path."""

    @property
    def authority(self) -> str:
        """Host and port, an IPv6 address in brackets; the scheme's own port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """The whole address."""
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_address(text: str) -> Address:
    """
    Take an absolute address apart. White space around it and a fragment are left out.

    Raises:
        NoAddress: it is none, or is spelt in a way that parsers read differently.

    >>> parse_address("https://Example.com/a%26b c?d=%2f").target
    '/a%26b%20c?d=%2f'
    """
    text = text.strip(_BLANKS)
    scheme, mark, rest = text.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in DEFAULT_PORTS:
        raise NoAddress("it does not begin with https:// or http://")
    end = _AUTHORITY_END.search(rest)
    cut = end.start() if end is not None else len(rest)
    host, port = _host_and_port(rest[:cut])
    return Address(scheme, host, DEFAULT_PORTS[scheme] if port is None else port, _target(rest[cut:]))


def join_address(base: Address, reference: str) -> Address:
    """
    Return the address that a redirect names: absolute, or relative to *base*.

    Only a relative path loses its `.` and `..`, which mean nothing until it is joined.

    Raises:
        NoAddress: it leads to none.
    """
    reference = reference.strip(_BLANKS)
    if _SCHEME.match(reference):
        return parse_address(reference)
    if reference.startswith("//"):
        return parse_address(f"{base.scheme}:{reference}")
    path, mark, query = reference.partition("#")[0].partition("?")
    here = base.target.partition("?")[0]
    if path and not path.startswith("/"):
        path = _without_dots(f"{here.rpartition('/')[0]}/{path}")
    if not path and not mark:
        return base
    return Address(base.scheme, base.host, base.port, _target(f"{path or here}{mark}{query}"))


def _host_and_port(authority: str) -> tuple[str, int | None]:
    """Read what stands between `//` and the path."""
    if "@" in authority:
        raise NoAddress("it holds a user name or password: leave out what stands before the @")
    if "%" in authority:
        raise NoAddress("it has a percent sign in its host: write the host out")
    bracket = authority.rfind("]")
    host, colon, port = authority[bracket + 1 :].partition(":")
    host = authority[: bracket + 1] + host
    if colon and port and not _PORT.fullmatch(port):
        raise NoAddress("its port is no number")
    number = int(port) if port else None
    if number is not None and number > 65535:
        raise NoAddress("its port is larger than 65535")
    return _host(host), number


def _host(host: str) -> str:
    """Return the host in its one spelling."""
    if not host:
        raise NoAddress("it names no host")
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]")))
        except ValueError:
            raise NoAddress("its host is no IPv6 address") from None
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise NoAddress("its host is not a name that DNS could know") from None
    host = host.lower()
    if not _NAME.fullmatch(host):
        raise NoAddress("its host is not a name that DNS could know")
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise NoAddress("its host is a number: write an IP address as four decimal numbers with dots") from None
    return host


def _target(rest: str) -> str:
    """Return path and query as a request line can carry them."""
    target = rest.partition("#")[0]
    if not target.startswith("/"):
        target = f"/{target}"
    return _UNSENDABLE.sub(lambda found: "".join(f"%{byte:02X}" for byte in _bytes_of(found[0])), target)


def _bytes_of(text: str) -> bytes:
    """Return a text in UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise NoAddress("it holds half of a character") from None


def _without_dots(path: str) -> str:
    """Return a path without its `.` and `..` (RFC 3986 section 5.2.4)."""
    segments = path.split("/")
    kept: list[str] = []
    for segment in segments[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
