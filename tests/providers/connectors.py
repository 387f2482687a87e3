"""What keeps the connections and the addresses of a wire, for tests that spoil them."""

from __future__ import annotations

import aiohttp

from providers.transport import Wire


def connector_of(wire: Wire) -> aiohttp.TCPConnector:
    """Return the connector of a wire that has been used."""
    session = wire._transport.client
    assert isinstance(session, aiohttp.ClientSession)
    assert isinstance(session.connector, aiohttp.TCPConnector)
    return session.connector
