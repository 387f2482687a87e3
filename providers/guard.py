"""
Where nobody may send us: addresses, ports and spellings of URLs that a fetch refuses.

Why an own table: `ipaddress.is_global` calls NAT64 and 6to4 forms of loopback, site-local addresses, multicast and
some clouds' metadata services global (measured on Python 3.11.7), and `is_private` says no to carrier-grade NAT.

Why at the socket: a name may have one address when it is checked and another when it is used, and a literal never
reaches a resolver. `guarded_socket_factory` sees every address that is connected to, whatever it was spelled as;
`check_url` before it only refuses early what is not worth a connection. What it judges is what is connected to and
sent: `providers.address` takes an address apart once, for both.

Source: IANA special-purpose address registries for IPv4 and IPv6, and the providers' pages about their metadata
services, read 2026-11.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any

from providers.address import Address, NoAddress, join_address, parse_address
from providers.contract import FetchForbidden

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
"""One row of `socket.getaddrinfo`: family, type, protocol, canonical name, socket address."""

SocketFactory = Callable[[AddressInfo], socket.socket]

Endpoint = tuple[str, int]
"""An address as `ipaddress` writes it, and a port."""

MAX_URL_CHARACTERS = 8192

_FORBIDDEN_V4: tuple[tuple[ipaddress.IPv4Network, str], ...] = tuple(
    (ipaddress.IPv4Network(network), reason)
    for network, reason in (
        ("169.254.169.254/32", "a cloud's metadata service"),
        ("168.63.129.16/32", "Azure's metadata service"),
        ("192.0.0.192/32", "Oracle's metadata service"),
        ("100.100.100.200/32", "Alibaba's metadata service"),
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "AS112 service"),
        ("192.52.193.0/24", "multicast relay"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "AS112 service"),
        ("198.18.0.0/15", "benchmark"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_FORBIDDEN_V6: tuple[tuple[ipaddress.IPv6Network, str], ...] = tuple(
    (ipaddress.IPv6Network(network), reason)
    for network, reason in (
        ("fd00:ec2::254/128", "AWS's metadata service"),
        ("fd20:ce::254/128", "Google's metadata service"),
        ("::/128", "this host"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "an IPv4 address in IPv6 form (mapped)"),
        ("::ffff:0:0:0/96", "an IPv4 address in IPv6 form (translated)"),
        ("::/96", "an IPv4 address in IPv6 form (compatible)"),
        ("64:ff9b::/96", "an IPv4 address in IPv6 form (NAT64)"),
        ("64:ff9b:1::/48", "an IPv4 address in IPv6 form (NAT64, local)"),
        ("2002::/16", "an IPv4 address in IPv6 form (6to4)"),
        ("2001::/32", "an IPv4 address in IPv6 form (Teredo)"),
        ("2001::/23", "protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("2620:4f:8000::/48", "AS112 service"),
        ("3fff::/20", "documentation"),
        ("100::/64", "discard"),
        ("fc00::/7", "private (unique local)"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private (site-local)"),
        ("ff00::/8", "multicast"),
    )
)

_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")

#: Interface identifiers of ISATAP (RFC 5214), with the universal and group bits cleared.
_ISATAP, _ISATAP_BITS = 0x00005EFE, 0xFCFFFFFF

#: Ports above 1023 that speak no HTTP, or speak it to administrators only.
_FORBIDDEN_PORTS: frozenset[int] = frozenset(
    {
        1099,  # Java RMI
        1433,  # SQL Server
        1521,  # Oracle
        1719,  # from here: ports that browsers refuse, https://fetch.spec.whatwg.org/#port-blocking, read 2026-11
        1720,
        1723,
        2049,
        3659,
        4045,
        4190,
        5060,
        5061,
        6000,
        6566,
        6665,
        6666,
        6667,
        6668,
        6669,
        6679,
        6697,
        10080,  # to here
        2181,  # ZooKeeper
        2375,  # Docker
        2376,
        2379,  # etcd
        2380,
        3306,  # MySQL
        3389,  # RDP
        4369,  # Erlang
        5432,  # PostgreSQL
        5672,  # AMQP
        5900,  # VNC
        5984,  # CouchDB
        5985,  # WinRM
        5986,
        6379,  # Redis
        6380,
        6443,  # Kubernetes
        8500,  # Consul
        9042,  # Cassandra
        9092,  # Kafka
        9200,  # Elasticsearch
        9300,
        10250,  # kubelet
        10255,
        11211,  # memcached
        16379,  # Redis cluster
        26379,  # Redis sentinel
        27017,  # MongoDB
        27018,
        27019,
    }
)


class AddressForbidden(OSError):
    """
    A connection that was not made, because nobody may send us to that address.

    It is an `OSError` of one unvarying text, so that a name's other addresses are tried as after any failed connect,
    and so that several of them still come out as this error.
    """

    def __init__(self, address: str, port: int, reason: str) -> None:
        """Say which address was refused and why, beside the unvarying text."""
        super().__init__(errno.EACCES, "this address may not be connected to")
        self.address = address
        self.port = port
        self.reason = reason


def forbidden(address: str) -> str | None:
    """Return why nobody may send us to this IP address, or None when it is an ordinary public one."""
    if "%" in address:
        return "an address with a zone"
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "not an IP address"
    if isinstance(parsed, ipaddress.IPv4Address):
        return next((reason for network, reason in _FORBIDDEN_V4 if parsed in network), None)
    for network, reason in _FORBIDDEN_V6:
        if parsed in network:
            return reason
    if (int(parsed) >> 32) & _ISATAP_BITS == _ISATAP:
        return "an IPv4 address in IPv6 form (ISATAP)"
    return None if parsed in _GLOBAL_V6 else "reserved"


def forbidden_port(port: int) -> str | None:
    """Return why this port is not fetched from, or None: 80, 443 and 1024 to 65535 but known non-HTTP services."""
    if port in {80, 443}:
        return None
    if not 1024 <= port <= 65535:
        return "only the ports 80, 443 and 1024 to 65535 are fetched from"
    return "the port belongs to a service that is not fetched from" if port in _FORBIDDEN_PORTS else None


def parse_allowed(entries: Iterable[str]) -> frozenset[Endpoint]:
    """
    Read an allow-list: exactly `address:port`, such as `127.0.0.1:9101` or `[::1]:9101`.

    Raises:
        ValueError: an entry is a name, a range, or has no port.
    """
    return frozenset(_allowed(entry) for entry in entries)


def guarded_socket_factory(allow: frozenset[Endpoint]) -> SocketFactory:
    """
    Return what makes the sockets of a connector, and refuses to make them for forbidden addresses and ports.

    Args:
        allow: endpoints that may be connected to although they are forbidden, such as the sandbox's own.
    """

    def guarded(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, (address, port, *_) = info
        if (address, port) not in allow and (reason := forbidden(address) or forbidden_port(port)):
            raise AddressForbidden(address, port, reason)
        return socket.socket(family, kind, protocol)

    return guarded


def check_url(url: str, allow: frozenset[Endpoint] = frozenset()) -> Address:
    """
    Return the address taken apart, when its scheme, port and spelling may be fetched; its host has to pass the socket.

    Args:
        url: absolute.
        allow: endpoints to which the rule about ports does not apply.

    Raises:
        FetchForbidden: naming what to change.
    """
    _check_length(url)
    try:
        address = parse_address(url)
    except NoAddress as error:
        raise FetchForbidden(f"the address cannot be fetched: {error}") from None
    return _checked(address, allow)


def follow(current: Address, location: bytes, allow: frozenset[Endpoint] = frozenset()) -> Address:
    """
    Return where a redirect leads, checked like a first address.

    Args:
        current: where it came from.
        location: the header's value. Blanks and what is not ASCII are escaped, byte by byte.
        allow: as for `check_url`.

    Raises:
        FetchForbidden: it leads to what `check_url` refuses, or from https to http.
    """
    _check_length(location)
    try:
        target = join_address(current, _as_text(location))
    except NoAddress as error:
        raise FetchForbidden(f"the address that it redirects to cannot be fetched: {error}") from None
    if current.scheme == "https" and target.scheme == "http":
        raise FetchForbidden("it redirects from https to http: use the address that it leads to, over https")
    return _checked(target, allow)


def _checked(address: Address, allow: frozenset[Endpoint]) -> Address:
    reason = forbidden_port(address.port)
    if reason is not None and (address.host, address.port) not in allow:
        raise FetchForbidden(f"addresses with the port {address.port} are not fetched: {reason}")
    return address


def without_query(url: str) -> str:
    """Return a URL fit for messages and logs: no user, no query (signatures live there), at most 200 characters."""
    head = url.partition("#")[0].partition("?")[0]
    scheme, mark, rest = head.partition("://")
    netloc, slash, path = rest.partition("/")
    shown = f"{scheme}{mark}{netloc.rpartition('@')[2]}{slash}{path}"
    return "".join(character if character.isprintable() else "?" for character in shown[:200])


def _check_length(url: str | bytes) -> None:
    if len(url) > MAX_URL_CHARACTERS:
        raise FetchForbidden(f"the address has {len(url)} characters: at most {MAX_URL_CHARACTERS} are fetched")


def _as_text(location: bytes) -> str:
    """Return a Location header as its server meant it: UTF-8, or else bytes of a path in whatever encoding it has."""
    try:
        return location.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in location)


def _allowed(entry: str) -> Endpoint:
    address, _, port = entry.rpartition(":")
    try:
        parsed = ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
        number = int(port)
    except ValueError as error:
        raise ValueError(f"{entry!r} is not address:port; write for example 127.0.0.1:9101") from error
    if not 0 < number < 65536:
        raise ValueError(f"{entry!r} has no port between 1 and 65535; write for example 127.0.0.1:9101")
    return str(parsed), number
