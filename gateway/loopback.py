"""Which hosts are this machine itself. Pure: nothing is looked up."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """
    Whether a host, as it stands in an address or a Host header without its port, is this machine.

    A name can lead anywhere, so that but for `localhost` only addresses count.

    >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("localhost.example.com")
    (True, True, False)
    """
    try:
        return host.lower() == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def leads_to_loopback(url: str) -> bool:
    """Whether an address leads to this machine."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
