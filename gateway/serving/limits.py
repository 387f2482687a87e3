"""What a connection may take, whoever is at its other end."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.admission.descriptors import own_budget


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """Bounds of the HTTP edge: what every server in front of strangers has, with the usual figures."""

    head_bytes: int = 65_536
    """Of request line and headers together."""
    head_lines: int = 100
    target_bytes: int = 8_192
    """Of the address in the request line. RFC 9112 section 3 recommends at least 8,000."""
    head_seconds: float = 10.0
    """From the connection, or from a further request's first byte, to the head's end."""
    body_bytes_per_second: int = 1024
    """A body that comes more slowly for longer than it is borne with is dropped."""
    body_grace_seconds: float = 10.0
    """How long a body may stay away at first."""
    body_most_patience_seconds: float = 30.0
    """How long it may stay away when it came faster before."""
    body_seconds: float = 600.0
    """How long a body may take in all: no request has a longer deadline."""
    framing_bytes: int = 524_288
    """Chunk sizes, chunk extensions and trailers, beside eight times the body."""
    idle_seconds: float = 75.0
    """Between two requests: longer than a caller's pool keeps a connection, so that the caller closes first."""
    pipelined: int = 100
    """Requests that wait on one connection for the answers to those before them."""
    linger_seconds: float = 30.0
    """How long is read and thrown away what a refused caller still sends, so that the answer can be read."""
    linger_silence_seconds: float = 5.0
    linger_bytes: int = 2**27
    stall_seconds: float = 60.0
    """How long a caller may take none of what was written to it."""
    tick_seconds: float = 0.5
    """How often every connection is looked at."""
    spared_seconds: float = 2.0
    """How long a connection has to be idle before it is closed to make room for another."""
    connections: int | None = None
    """In all; None: as many as the file descriptors of the process allow for beside everything else."""

    @property
    def most_connections(self) -> int:
        """How many connections there may be."""
        return own_budget().callers if self.connections is None else self.connections
