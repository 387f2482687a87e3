"""Which addresses, ports and spellings nobody may send us to."""

from __future__ import annotations

import socket

import pytest

from providers.contract import FetchForbidden
from providers.guard import (
    AddressForbidden,
    check_url,
    follow,
    forbidden,
    forbidden_port,
    guarded_socket_factory,
    parse_allowed,
    without_query,
)

#: First and last of each forbidden range, with a word of the reason.
FORBIDDEN = [
    ("0.0.0.0", "this host"),
    ("0.255.255.255", "this host"),
    ("10.0.0.0", "private"),
    ("10.255.255.255", "private"),
    ("100.64.0.0", "NAT"),
    ("100.127.255.255", "NAT"),
    ("127.0.0.0", "loopback"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.255", "loopback"),
    ("169.254.0.0", "link-local"),
    ("169.254.255.255", "link-local"),
    ("172.16.0.0", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.0", "protocol"),
    ("192.0.0.255", "protocol"),
    ("192.0.2.0", "documentation"),
    ("192.0.2.255", "documentation"),
    ("192.31.196.1", "AS112"),
    ("192.52.193.1", "relay"),
    ("192.88.99.0", "6to4"),
    ("192.88.99.255", "6to4"),
    ("192.168.0.0", "private"),
    ("192.168.255.255", "private"),
    ("192.175.48.1", "AS112"),
    ("198.18.0.0", "benchmark"),
    ("198.19.255.255", "benchmark"),
    ("198.51.100.0", "documentation"),
    ("198.51.100.255", "documentation"),
    ("203.0.113.0", "documentation"),
    ("203.0.113.255", "documentation"),
    ("224.0.0.0", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.0", "reserved"),
    ("255.255.255.254", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("169.254.169.254", "metadata"),
    ("168.63.129.16", "Azure"),
    ("192.0.0.192", "Oracle"),
    ("100.100.100.200", "Alibaba"),
    ("fd00:ec2::254", "AWS"),
    ("fd20:ce::254", "Google"),
    ("::", "this host"),
    ("::1", "loopback"),
    ("::127.0.0.1", "compatible"),
    ("::8.8.8.8", "compatible"),
    ("::ffff:127.0.0.1", "mapped"),
    ("::ffff:8.8.8.8", "mapped"),
    ("::ffff:0:127.0.0.1", "translated"),
    ("64:ff9b::7f00:1", "NAT64"),
    ("64:ff9b::808:808", "NAT64"),
    ("64:ff9b:1::a00:1", "NAT64"),
    ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "NAT64"),
    ("2002:7f00:1::", "6to4"),
    ("2002:808:808::1", "6to4"),
    ("2001:0:4136:e378:8000:63bf:80ff:fffe", "Teredo"),
    ("2001::", "Teredo"),
    ("2a00:1450:4001:80b:0:5efe:7f00:1", "ISATAP"),
    ("2a00:1450:4001:80b:200:5efe:808:808", "ISATAP"),
    ("fe80::5efe:10.0.0.1", "link-local"),
    ("2001:2::1", "protocol"),
    ("2001:10::1", "protocol"),
    ("2001:20::1", "protocol"),
    ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "protocol"),
    ("2001:db8::", "documentation"),
    ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
    ("2620:4f:8000::1", "AS112"),
    ("3fff::1", "documentation"),
    ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
    ("100::1", "discard"),
    ("5f00::1", "reserved"),
    ("4000::1", "reserved"),
    ("1fff::1", "reserved"),
    ("fc00::", "unique local"),
    ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "unique local"),
    ("fe80::", "link-local"),
    ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"),
    ("fec0::1", "site-local"),
    ("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site-local"),
    ("ff02::1", "multicast"),
    ("ff0e::1", "multicast"),
    ("fe80::1%eth0", "zone"),
    ("2606:4700::1111%1", "zone"),
    ("example.com", "not an IP"),
    ("0x7f000001", "not an IP"),
    ("0177.0.0.1", "not an IP"),
    ("127.1", "not an IP"),
    ("", "not an IP"),
]

#: The last before and the first after each forbidden range, and addresses of well-known services.
PUBLIC = [
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "8.8.8.8",
    "2000::1",
    "2001:200::",
    "2001:db7:ffff::1",
    "2001:db9::1",
    "2003::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "3ffe::1",
    "3fff:1000::1",
]


@pytest.mark.parametrize(("address", "reason"), FORBIDDEN)
def test_a_forbidden_address_is_refused_with_its_reason(address: str, reason: str) -> None:
    """Every range of the registries, at both of its ends."""
    assert reason in (forbidden(address) or "")


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not_refused(address: str) -> None:
    """The neighbours of the forbidden ranges belong to somebody."""
    assert forbidden(address) is None


@pytest.mark.parametrize("port", [80, 443, 1024, 8000, 8080, 8443, 9000, 9101, 32768, 65535])
def test_ports_that_serve_files_are_fetched_from(port: int) -> None:
    """The two of HTTP, and what people run their own servers on."""
    assert forbidden_port(port) is None


@pytest.mark.parametrize(
    "port", [-1, 0, 1, 21, 22, 25, 53, 79, 81, 389, 442, 445, 1023, 2375, 3306, 5432, 6379, 9200, 11211, 27017, 65536]
)
def test_ports_of_other_services_are_not_fetched_from(port: int) -> None:
    """Whoever may name a port could otherwise speak to a database."""
    assert forbidden_port(port) is not None


def test_the_factory_makes_sockets_for_public_and_allowed_addresses_only() -> None:
    """An allowed endpoint is one address with one port: not its neighbours."""
    make = guarded_socket_factory(parse_allowed(["127.0.0.1:9101", "[::1]:6379"]))
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 9101)),
        (socket.AF_INET6, ("::1", 6379, 0, 0)),
        (socket.AF_INET, ("8.8.8.8", 443)),
    ):
        with make((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)) as made:
            assert made.family == family
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 9102)),
        (socket.AF_INET, ("127.0.0.2", 9101)),
        (socket.AF_INET6, ("::1", 9101, 0, 0)),
        (socket.AF_INET, ("8.8.8.8", 22)),
    ):
        with pytest.raises(AddressForbidden) as caught:
            make((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address))
        assert (caught.value.address, caught.value.port) == address[:2]


@pytest.mark.parametrize(
    "entry", ["127.0.0.1", "localhost:80", "127.0.0.0/8:80", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "", ":80"]
)
def test_an_allow_list_takes_addresses_with_a_port_and_nothing_else(entry: str) -> None:
    """The error shows how to write one."""
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:9101"):
        parse_allowed([entry])


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port"),
    [
        ("https://example.com/a.png", "https", "example.com", 443),
        ("HTTPS://Example.COM/a.png", "https", "example.com", 443),
        ("http://example.com", "http", "example.com", 80),
        ("http://example.com:8080/a?b=c&d=%2F", "http", "example.com", 8080),
        ("https://bücher.example/größe.png", "https", "xn--bcher-kva.example", 443),
        ("https://[2606:4700::1111]:8443/", "https", "2606:4700::1111", 8443),
    ],
)
def test_an_ordinary_url_is_taken_apart(url: str, scheme: str, host: str, port: int) -> None:
    """Scheme and host in lower case, the host in ASCII, and the port that is meant."""
    address = check_url(url)
    assert (address.scheme, address.host, address.port) == (scheme, host, port)


def test_a_fragment_is_left_out() -> None:
    """It is the browser's, and never sent."""
    assert check_url("https://example.com/a#b").text == "https://example.com/a"


def test_an_allowed_endpoint_may_have_any_port() -> None:
    """The sandbox may be put on a port that is forbidden elsewhere."""
    allow = parse_allowed(["127.0.0.1:6379"])
    assert check_url("http://127.0.0.1:6379/", allow).port == 6379
    with pytest.raises(FetchForbidden):
        check_url("http://127.0.0.1:3306/", allow)


def test_a_url_has_at_most_8192_characters() -> None:
    """The limit is inclusive."""
    start = "https://example.com/"
    assert 8192 == len(check_url(start + "a" * (8192 - len(start))).text)
    with pytest.raises(FetchForbidden, match="8193 characters"):
        check_url(start + "a" * (8193 - len(start)))


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("/b.png", "https://example.com/b.png"),
        ("b.png?c", "https://example.com/x/b.png?c"),
        ("//cdn.example.com/b", "https://cdn.example.com/b"),
        ("https://other.example/b#c", "https://other.example/b"),
        ("?page=2", "https://example.com/x/a.png?page=2"),
    ],
)
def test_a_redirect_is_resolved_against_where_it_came_from(location: str, text: str) -> None:
    """Relative ones in all their forms."""
    assert follow(check_url("https://example.com/x/a.png"), location.encode()).text == text


@pytest.mark.parametrize(
    "location",
    [
        "http://example.com/",
        "file:///etc/passwd",
        "data:image/png;base64,AA",
        "//u@h/",
        "//h\\@x/",
        "https:a",
        "http://[",
    ],
)
def test_a_redirect_is_checked_like_a_first_address(location: str) -> None:
    """And one from https to http is refused."""
    with pytest.raises(FetchForbidden):
        follow(check_url("https://example.com/x/a.png"), location.encode())


def test_a_redirect_is_escaped_byte_by_byte() -> None:
    """Whichever encoding its server writes file names in."""
    here = check_url("https://example.com/x/a.png")
    assert follow(here, "/größe 1.png".encode()).target == "/gr%C3%B6%C3%9Fe%201.png"
    assert follow(here, "/größe 1.png".encode("latin-1")).target == "/gr%F6%DFe%201.png"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h.example/a.png?X-Amz-Signature=abc", "https://h.example/a.png"),
        ("https://h.example/a.png#frag?x", "https://h.example/a.png"),
        ("https://user:pass@h.example/a", "https://h.example/a"),
        ("https://h.example?token=abc", "https://h.example"),
        ("nonsense\x00\n", "nonsense??"),
        ("https://h.example/" + "a" * 500, "https://h.example/" + "a" * 182),
    ],
)
def test_what_is_shown_of_a_url_holds_no_secret(url: str, shown: str) -> None:
    """Queries hold signatures, and user parts hold passwords."""
    assert without_query(url) == shown
