"""What strangers send who want to stop a gateway, for as long as they are let."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress

MEGABYTE = 2**20

Pieces = Callable[[], Iterator[bytes]]


def head(start: str, *lines: str) -> bytes:
    """Return a request's head."""
    return "\r\n".join([f"{start} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode("latin-1")


def posted(body: bytes, *lines: str, media_type: str = "application/json") -> Pieces:
    """Return a segmentation with that body."""
    start = head("POST /v1/segmentations", f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *lines)
    return lambda: iter((start, body))


def of_long_heads() -> Sequence[Pieces]:
    """Headers of 64 MB, 200,000 of them, a long address: to any path, without a key."""

    def pieces(start: bytes, piece: bytes) -> Pieces:
        def send() -> Iterator[bytes]:
            yield start
            for _ in range(64):
                yield piece

        return send

    return [
        pieces(head("GET /healthz")[:-2] + b"A: ", b"a" * MEGABYTE),
        pieces(head("POST /v1/segmentations")[:-2], b"A: b\r\n" * 20_000),
        pieces(b"GET /", b"a" * MEGABYTE),
        pieces(b"", b"\r\n" * 100_000),
    ]


def of_semicolons(authorization: str) -> Sequence[Pieces]:
    """Header values with tens of thousands of parameters, in the request and in a part."""
    part = b'--b\r\nContent-Disposition: form-data; name="image"' + b";" * (4 * MEGABYTE) + b"\r\n\r\nx\r\n--b--\r\n"
    semicolons = f'multipart/form-data; boundary=b; x="{";" * 60_000}"'
    return [
        posted(b"x", authorization, media_type=semicolons),
        posted(b"x", authorization, media_type=semicolons.replace('"', "")),
        posted(part, authorization, media_type="multipart/form-data; boundary=b"),
    ]


def of_much_json(authorization: str) -> Sequence[Pieces]:
    """Bodies of JSON that cost far more to read than to send."""
    start = b'{"image": {"url": "http://localhost/x"}, "prompt": "shoe", '
    fields = b",".join(b'"%d":1' % number for number in range(MEGABYTE // 10))
    return [
        posted(start + b'"metadata": {"a": [' + b"1," * (20 * MEGABYTE) + b"1]}}", authorization),
        posted(start + fields + b"}", authorization),
        posted(start + b",".join([fields] * 30) + b"}", authorization),
        posted(start + b'"prompts": [{"points": [' + b"{}," * (2 * MEGABYTE) + b"1]}]}", authorization),
        posted(b'{"data":"' * (4 * MEGABYTE), authorization),
        posted(start + b'"metadata": ' + b"[" * MEGABYTE, authorization),
    ]


#: Beginnings of requests that are then left alone, or go on byte by byte; none has a key.
SILENT: Sequence[bytes] = (
    b"",
    b"GET /healthz HTTP/1.1\r\nA: ",
    head("POST /v1/callbacks/runflow-eu", "Content-Length: 1000"),
    head("POST /v1/segmentations", "Content-Type: application/json", "Content-Length: 100000"),
    head("POST /v1/quotes", "Content-Type: application/json", "Transfer-Encoding: chunked") + b"1\r\n{\r\n",
)


def send_again_and_again(address: tuple[str, int], requests: Sequence[Pieces], stop: threading.Event) -> int:
    """Send one request after another, each on a connection of its own; return how many were answered."""
    answered = 0
    while not stop.is_set():
        for pieces in requests:
            if stop.is_set():
                break
            with suppress(OSError), socket.create_connection(address, timeout=30) as connection:
                for piece in pieces():
                    connection.sendall(piece)
                answered += connection.recv(100).startswith(b"HTTP/1.1 4")
    return answered


def keep_open(address: tuple[str, int], starts: Sequence[bytes], stop: threading.Event) -> int:
    """Hold a connection for each beginning, send a byte now and then, and open it again when it is dropped."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(address, timeout=30)) for _ in starts]
        for connection, start in zip(held, starts, strict=True):
            connection.sendall(start)
        while not stop.is_set():
            time.sleep(0.2)
            for number, connection in enumerate(held):
                try:
                    if starts[number]:
                        connection.sendall(b"1")
                except OSError:
                    held[number] = stack.enter_context(socket.create_connection(address, timeout=30))
                    held[number].sendall(starts[number])
    return len(held)
