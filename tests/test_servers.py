"""The servers that other tests stand on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.servers import Redis, start_redis


def ask(server: Redis, command: bytes) -> bytes:
    """Send a command and return the first line of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(command + b"\r\n")
        return connection.makefile("rb").readline()


@pytest.mark.needs("redis")
def test_redis_answers(redis_server: Redis) -> None:
    """The session's Redis takes commands."""
    assert ask(redis_server, b"PING") == b"+PONG\r\n"


@pytest.mark.needs("redis")
def test_a_server_comes_back_on_its_port(tmp_path: Path) -> None:
    """A server that was ended no longer answers, and does again at the same address once it is started."""
    server = start_redis(tmp_path)
    assert ask(server, b"SET a 1") == b"+OK\r\n"
    server.stop()
    assert not server.answers()
    server.start()
    assert ask(server, b"GET a") == b"$-1\r\n"
    server.stop()
