"""Addresses taken apart: one reading, exact targets, and no spelling that two parsers could read differently."""

from __future__ import annotations

import pytest

from providers.address import NoAddress, join_address, parse_address


@pytest.mark.parametrize(
    ("text", "authority", "target"),
    [
        ("https://example.com:443/a", "example.com", "/a"),
        ("http://example.com:443/a", "example.com:443", "/a"),
        ("http://EXAMPLE.com.:80", "example.com.", "/"),
        ("HTTPS://[2606:4700:0:0:0:0:0:1111]:8443/", "[2606:4700::1111]:8443", "/"),
        ("  https://a_b.example/a\n", "a_b.example", "/a"),
        ("https://example.com:/a#b?c", "example.com", "/a"),
        ("https://example.com#@127.0.0.1/", "example.com", "/"),
        ("https://example.com/@127.0.0.1:80/", "example.com", "/@127.0.0.1:80/"),
        ("https://faß.example", "xn--fa-hia.example", "/"),
        ("https://127.0.0.1", "127.0.0.1", "/"),
    ],
)
def test_an_address_has_one_reading(text: str, authority: str, target: str) -> None:
    """What is connected to is `authority`, what is sent is `target`."""
    address = parse_address(text)
    assert (address.authority, address.target) == (authority, target)
    assert parse_address(address.text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "a.png", "//h/", "http:/h/", "http:h/", "http:\\\\h\\", "ftp://h/", "data:,x", "hｔtp://h/"),
        *("http://", "http:///a", "http://:80/", "http://u@h/", "http://u:p@h/", "http://@h/", "http://h%40x/"),
        *("http://h\\@x/", "http://h\\x/", "http://h x/", "http://h\tx/", "http://h,x/", "http://h;x/", "http://*.h/"),
        *("http://h..x/", "http://.h/", f"http://{'a' * 64}.h/", f"http://{'a.' * 127}com/", "http://xn--\u00e4/"),
        *("http://h:80:80/", "http://h:-1/", "http://h:65536/", "http://h:8a/", "http://h:٨٠/", "http://h:000080/"),
        *(
            "http://[::1/",
            "http://::1/",
            "http://[::1]x/",
            "http://x[::1]/",
            "http://[::1%25lo]/",
            "http://[127.0.0.1]/",
        ),
        *("http://0x7f.1/", "http://127.1/", "http://2130706433/", "http://127.0.0.01/", "http://127.0.0.1./"),
        *("http://1.2.3.4.5/", "http://a.0x/", "http://h/\ud800"),
    ],
)
def test_what_two_parsers_could_read_differently_is_no_address(text: str) -> None:
    """Users, numbers that stand for addresses, backslashes and blanks in a host: refused, not guessed at."""
    with pytest.raises(NoAddress):
        parse_address(text)


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("../c.png?d=%2f", "/x/c.png?d=%2f"),
        ("./c.png", "/x/y/c.png"),
        ("../../../../c", "/c"),
        ("z/../c/.", "/x/y/c/"),
        ("/p/../q", "/p/../q"),
        ("?", "/x/y/a.png?"),
        ("", "/x/y/a.png?b=1"),
        ("#f", "/x/y/a.png?b=1"),
        ("\\\\h\\c", "/x/y/\\\\h\\c"),
    ],
)
def test_a_relative_redirect_is_joined_to_where_it_stands(reference: str, target: str) -> None:
    """By RFC 3986, but that a whole path stays as it was given."""
    joined = join_address(parse_address("https://example.com:8443/x/y/a.png?b=1"), reference)
    assert (joined.authority, joined.target) == ("example.com:8443", target)
