"""What is sent byte by byte, and what comes back, over sockets."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem that it is."""
        assert self.headers["content-type"] == "application/problem+json", self
        body: dict[str, Any] = json.loads(self.body)
        assert body["request_id"] == self.headers["x-request-id"]
        assert body["status"] == self.status
        return body


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """Give a connection to the server at *url* for as long as the block lasts."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        yield connection


def replies_to(url: str, *pieces: bytes, ends: bool = False, method: str = "GET") -> list[Reply]:
    """
    Send that, and return all that comes until the server has closed.

    Args:
        url: of the server.
        pieces: sent one after another, however long the server takes to read them.
        ends: whether the sending half is closed behind them.
        method: what was asked with; HEAD has no bodies.
    """
    with connected(url) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        return read_replies(connection, method=method)


def read_replies(connection: socket.socket, *, method: str = "GET") -> list[Reply]:
    """Return all answers until the server closes."""
    data = b""
    while piece := connection.recv(65_536):
        data += piece
    replies: list[Reply] = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = 0 if method == "HEAD" or status.split(" ")[1] == "100" else int(headers["content-length"])
        replies.append(Reply(int(status.split(" ")[1]), headers, data[:size]))
        data = data[size:]
    return replies
