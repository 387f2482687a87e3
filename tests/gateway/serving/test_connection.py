"""What is no request, or too much of one, is refused as every other problem is; then the connection goes."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.serving.limits import EdgeLimits
from tests.gateway.serving.edge_app import MEGABYTE, edge_running
from tests.gateway.serving.raw import Reply, connected, read_replies, replies_to

QUICK = EdgeLimits(
    head_seconds=1.0,
    body_grace_seconds=1.0,
    body_most_patience_seconds=1.5,
    idle_seconds=1.5,
    stall_seconds=1.5,
    linger_silence_seconds=1.0,
    tick_seconds=0.1,
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of a server with the usual bounds."""
    with edge_running() as url:
        yield url


@pytest.fixture(scope="module")
def quick_url() -> Iterator[str]:
    """The URL of a server that waits for nobody."""
    with edge_running(QUICK) as url:
        yield url


def head(start: str, *lines: str) -> bytes:
    """Return a head of those lines."""
    return "\r\n".join([start, *lines, "", ""]).encode("latin-1")


POST = "POST /count HTTP/1.1"
GET = "GET /hello HTTP/1.1"
CHUNKED = head(POST, "Host: a", "Transfer-Encoding: chunked")
CLOSE = head(GET, "Host: a", "Connection: close")

REFUSED: dict[str, tuple[bytes, int, str]] = {
    "a header of 16 MB": (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * (16 * MEGABYTE), 431, "headers_too_large"),
    "a name of 1 MB": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a" * MEGABYTE, 431, "headers_too_large"),
    "101 headers": (head(GET, "Host: a", *["A: b"] * 100), 431, "headers_too_large"),
    "200,000 headers": (head(GET, "Host: a", *["A: b"] * 200_000), 431, "headers_too_large"),
    "a head of 64 kB and a byte": (head(GET, "Host: a", "A: " + "b" * 65_500), 431, "headers_too_large"),
    "empty lines before it": (b"\r\n" * 40_000 + CLOSE, 431, "headers_too_large"),
    "an address of 8,193 bytes": (head(f"GET /{'a' * 8192} HTTP/1.1", "Host: a"), 414, "uri_too_long"),
    "an address of 1 MB": (b"GET /" + b"a" * MEGABYTE, 414, "uri_too_long"),
    "a method of 1 MB": (b"A" * MEGABYTE, 400, "invalid_request"),
    "no HTTP": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400, "invalid_request"),
    "a preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_request"),
    "no version": (b"GET /hello\r\n\r\n", 400, "invalid_request"),
    "another version": (head("GET /hello HTTP/4.2", "Host: a"), 400, "invalid_request"),
    "bare line feeds": (b"GET /hello HTTP/1.1\nHost: a\n\n", 400, "invalid_request"),
    "a NUL": (head(GET, "Host: a", "A: \0"), 400, "invalid_request"),
    "a folded header": (head(GET, "Host: a", "A: b", " c"), 400, "invalid_request"),
    "a blank before the colon": (head(GET, "Host : a"), 400, "invalid_request"),
    "an address beyond ASCII": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_request"),
    "an unknown method": (head("BREW /hello HTTP/1.1", "Host: a"), 501, "not_implemented"),
    "a tunnel": (head("CONNECT a:443 HTTP/1.1", "Host: a"), 501, "not_implemented"),
    "no Host": (head(GET), 400, "invalid_request"),
    "two Hosts": (head(GET, "Host: a", "Host: a"), 400, "invalid_request"),
    "a Host that is none": (head(GET, "Host: a b"), 400, "invalid_request"),
    "two codings": (head(POST, "Host: a", "Transfer-Encoding: identity, chunked"), 501, "not_implemented"),
    "two codings in two lines": (head(POST, "Host: a", *["Transfer-Encoding: chunked"] * 2), 400, "invalid_request"),
    "an unknown coding": (head(POST, "Host: a", "Transfer-Encoding: gzip, chunked"), 501, "not_implemented"),
    "a coding in HTTP/1.0": (head("POST /count HTTP/1.0", "Transfer-Encoding: chunked"), 400, "invalid_request"),
    "length and chunks": (
        head(POST, "Host: a", "Content-Length: 3", "Transfer-Encoding: chunked"),
        400,
        "invalid_request",
    ),
    "chunks and length": (
        head(POST, "Host: a", "Transfer-Encoding: chunked", "Content-Length: 3"),
        400,
        "invalid_request",
    ),
    "two lengths": (head(POST, "Host: a", "Content-Length: 3", "Content-Length: 4"), 400, "invalid_request"),
    "a length with a sign": (head(POST, "Host: a", "Content-Length: +3"), 400, "invalid_request"),
    "a length beyond 64 bits": (head(POST, "Host: a", f"Content-Length: {'9' * 30}"), 400, "invalid_request"),
    "a chunk size that is none": (CHUNKED + b"zz\r\n", 400, "invalid_request"),
    "a chunk size beyond 64 bits": (CHUNKED + b"f" * 17 + b"\r\n", 400, "invalid_request"),
    "a chunk longer than it says": (CHUNKED + b"1\r\nabc\r\n", 400, "invalid_request"),
    "a chunk extension of 1 MB": (CHUNKED + b"1;a=" + b"b" * MEGABYTE, 400, "invalid_request"),
    "a trailer of 1 MB": (CHUNKED + b"0\r\nA: " + b"b" * MEGABYTE, 400, "invalid_request"),
    "a body of 1 MB and a byte": (head(POST, "Host: a", f"Content-Length: {MEGABYTE + 1}"), 413, "request_too_large"),
    "chunks of 1 MB and a byte": (
        CHUNKED + b"100000\r\n" + b"x" * MEGABYTE + b"\r\n1\r\nx\r\n",
        413,
        "request_too_large",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_request_is_a_problem_and_the_end(url: str, name: str) -> None:
    """Whoever finds the fault, the answer is problem+json with its id, and the server closes behind it."""
    sent, status, code = REFUSED[name]
    (reply,) = replies_to(url, sent)
    assert (status, code) == (reply.status, reply.problem["code"])
    assert "close" == reply.headers["connection"]


TAKEN: dict[str, tuple[bytes, list[bytes]]] = {
    "HTTP/1.0 without Host": (b"GET /hello HTTP/1.0\r\n\r\n", [b"world"]),
    "the address in full": (head("GET http://b/hello HTTP/1.1", "Host: a", "Connection: close"), [b"world"]),
    "a head of nearly 64 kB": (head(GET, "Host: a", "Connection: close", "A: " + "b" * 65_000), [b"world"]),
    "100 headers": (head(GET, "Host: a", "Connection: close", *["A: b"] * 98), [b"world"]),
    "Host with a port": (head(GET, "Host: [::1]:80", "Connection: close"), [b"world"]),
    "fifty at once": (head(GET, "Host: a") * 49 + CLOSE, [b"world"] * 50),
    "chunks with extensions and trailers": (
        CHUNKED + b"3;a=b\r\nabc\r\n0\r\nHost: evil\r\nAuthorization: Bearer x\r\n\r\n" + CLOSE,
        [b"3", b"world"],
    ),
    "a wish for HTTP/2": (head(GET, "Host: a", "Connection: Upgrade", "Upgrade: h2c") + CLOSE, [b"world", b"world"]),
    "a wish for HTTP/2, and a body": (
        head(POST, "Host: a", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 40") + CLOSE[:40] + CLOSE,
        [b"40", b"world"],
    ),
    "a wish for HTTP/2, and chunks": (
        head(POST, "Host: a", "Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked")
        + b"3\r\nabc\r\n0\r\n\r\n"
        + CLOSE,
        [b"3", b"world"],
    ),
}


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("size", [7, 70_000])
def test_what_is_unusual_but_right_is_answered(url: str, name: str, size: int) -> None:
    """In one piece or in many; a body is never taken for the next request."""
    sent, bodies = TAKEN[name]
    replies = replies_to(url, *(sent[start : start + size] for start in range(0, len(sent), size)))
    assert [(200, body) for body in bodies] == [(reply.status, reply.body) for reply in replies]


def test_head_is_answered_as_get_is_without_a_body(url: str) -> None:
    """The length is that of the body which is left out."""
    (reply,) = replies_to(url, head("HEAD /hello HTTP/1.1", "Host: a", "Connection: close"), method="HEAD")
    assert (200, "5", b"") == (reply.status, reply.headers["content-length"], reply.body)


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (head(GET, "Host: a"), 200, b"world"),
        (head(POST, "Host: a", "Content-Length: 3") + b"abc", 200, b"3"),
        (head("POST /late HTTP/1.1", "Host: a", "Content-Length: 3") + b"abc", 200, b"3"),
        (head(POST, "Host: a", "Content-Length: 9") + b"abc", 400, None),
        (CHUNKED + b"3\r\nabc\r\n", 400, None),
        (b"GET /hello HTT", 400, None),
    ],
)
def test_a_caller_that_ends_its_sending_gets_its_answer(url: str, sent: bytes, status: int, body: bytes | None) -> None:
    """Half-closed is not gone: what was asked is answered, and what was cut off is told so."""
    (reply,) = replies_to(url, sent, ends=True)
    assert status == reply.status
    assert body == (None if status == 400 else reply.body)
    assert status == 200 or reply.problem["code"] == "invalid_request"


def test_who_is_refused_while_sending_can_read_why(url: str) -> None:
    """40 MB are sent to the end after the refusal, without a reset, by a caller that reads only then."""
    for start in (
        head(POST, "Host: a", "Content-Length: 41943040"),
        head("POST /nothing HTTP/1.1", "Host: a", "Content-Length: 41943040"),
    ):
        (reply,) = replies_to(url, start, *[b"x" * MEGABYTE] * 40)
        assert reply.status in {413, 404}
    (reply,) = replies_to(url, CHUNKED, *[b"100000\r\n" + b"x" * MEGABYTE + b"\r\n"] * 40)
    assert 413 == reply.status


def test_a_body_is_asked_for_only_when_it_is_wanted(url: str) -> None:
    """`Expect: 100-continue` is honoured after the head was accepted; who is refused gets the final answer alone."""
    wanted = head(POST, "Host: a", "Content-Length: 3", "Expect: 100-continue", "Connection: close")
    with connected(url) as connection:
        connection.sendall(wanted)
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(b"abc")
        assert [b"3"] == [reply.body for reply in read_replies(connection)]
    for path, length in (("/nothing", 3), ("/count", MEGABYTE + 1)):
        refused = head(f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {length}", "Expect: 100-continue")
        (reply,) = replies_to(url, refused)
        assert reply.status in {404, 413}


def test_a_short_body_that_nobody_reads_leaves_the_connection_open(url: str) -> None:
    """It is thrown away, and the next request is answered; in chunks of unknown length the connection goes."""
    with connected(url) as connection:
        connection.sendall(head("POST /nothing HTTP/1.1", "Host: a", "Content-Length: 5"))
        assert connection.recv(9).startswith(b"HTTP/1.1 ")
        connection.sendall(b"hello" + CLOSE)
        assert b"world" in b"".join(iter(lambda: connection.recv(65_536), b""))


def slowly(url: str, *pieces: bytes, every: float = 0.2, last: bytes = b"") -> list[Reply]:
    """Send pieces with pauses between them, then *last* again and again until the server has had enough."""
    with connected(url) as connection:
        started = time.monotonic()
        for piece in pieces:
            connection.sendall(piece)
        connection.settimeout(every)
        data = b""
        while time.monotonic() - started < 20:
            try:
                if last:
                    connection.sendall(last)
                data = connection.recv(65_536)
                break
            except TimeoutError:
                continue
        connection.settimeout(30)
        rest = b"".join(iter(lambda: connection.recv(65_536), b""))
    return [*_parsed(data + rest)]


def _parsed(data: bytes) -> Iterator[Reply]:
    """Yield the answers in what came."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        yield from read_replies(ours)


def test_who_is_slow_is_told_and_dropped(quick_url: str) -> None:
    """Silence, a dripping head and a dripping body end in 408 and a closed connection, with or without a length."""
    starts_and_drips = (
        (b"", b""),
        (b"GET /hello HTTP/1.1\r\nA: ", b"b"),
        (b"", b"\r\n"),
        (head(POST, "Host: a", "Content-Length: 100"), b""),
        (head(POST, "Host: a", "Content-Length: 1000"), b"x"),
        (CHUNKED, b"1\r\nx\r\n"),
        (CHUNKED + b"1;", b"a"),
        (head(GET, "Host: a") + b"GET /hello HTTP", b""),
    )
    with ThreadPoolExecutor(len(starts_and_drips)) as callers:
        waiting = [callers.submit(slowly, quick_url, start, last=drip) for start, drip in starts_and_drips]
    for each, (start, drip) in zip(waiting, starts_and_drips, strict=True):
        *_, reply = each.result()
        assert (408, "request_timeout") == (reply.status, reply.problem["code"]), (start, drip)


def test_a_body_that_waits_for_us_is_not_slow(quick_url: str) -> None:
    """Neither one that we have not begun to read, nor one that was not asked for yet."""
    body = b"x" * MEGABYTE
    late = head("POST /late HTTP/1.1", "Host: a", f"Content-Length: {MEGABYTE}", "Connection: close")
    (reply,) = replies_to(quick_url, late, body)
    assert (200, str(MEGABYTE)) == (reply.status, reply.body.decode())
    with connected(quick_url) as connection:  # a caller who sends nothing until then is not slow, either
        connection.sendall(late)
        time.sleep(1.8)
        connection.sendall(body)
        assert [200] == [reply.status for reply in read_replies(connection)]
    with connected(quick_url) as connection:
        connection.sendall(late.replace(b"Connection", b"Expect: 100-continue\r\nConnection"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert [str(MEGABYTE).encode()] == [reply.body for reply in read_replies(connection)]


def test_an_idle_connection_is_closed_without_a_word(quick_url: str) -> None:
    """Nobody has asked anything, so nothing is answered."""
    assert [b"world"] == [reply.body for reply in replies_to(quick_url, head(GET, "Host: a"))]


def test_who_takes_nothing_is_dropped(quick_url: str) -> None:
    """An answer that is not read does not stay in memory."""
    with connected(quick_url) as connection:
        connection.sendall(head("GET /large HTTP/1.1", "Host: a"))
        time.sleep(2.5)
        (reply,) = read_replies(connection)
        assert len(reply.body) < int(reply.headers["content-length"])


def test_where_there_are_too_many_connections_the_longest_idle_makes_room() -> None:
    """A caller is answered although strangers hold more connections than there may be."""
    with edge_running(EdgeLimits(connections=20, spared_seconds=0.1)) as url:
        silent = [socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) for _ in range(60)]
        try:
            time.sleep(0.3)
            for _ in range(30):
                (reply,) = replies_to(url, CLOSE)
                assert b"world" == reply.body
        finally:
            for each in silent:
                each.close()
