"""What calls to providers come to, over real sockets that refuse, hang, cut, drip and lie."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest

from providers.contract import (
    Deadline,
    ProviderError,
    ProviderFailed,
    ProviderUnanswered,
    ProviderUnreachable,
    Reply,
)
from providers.transport import HttpUpstream, trusted
from tests.ports import free_row
from tests.providers.connectors import connector_of
from tests.providers.raw_server import Script, Server, answering, serving, whole

TLS = trusted()


@pytest.fixture
async def upstream() -> AsyncIterator[HttpUpstream]:
    """Calls that may take half a second to connect."""
    made = HttpUpstream(time.monotonic, connect_seconds=0.5, tls=TLS)
    yield made
    await made.close()


async def send(
    upstream: HttpUpstream,
    url: str,
    *,
    method: str = "POST",
    content: bytes | None = b'{"prompt":"shoe"}',
    seconds: float = 10.0,
    max_bytes: int = 100_000,
    headers: dict[str, str] | None = None,
) -> Reply:
    """Send with the usual values."""
    return await upstream.send(
        method,
        url,
        headers=headers or {"Content-Type": "application/json"},
        content=content,
        deadline=Deadline.after(seconds, time.monotonic),
        max_bytes=max_bytes,
    )


@contextmanager
def blackhole() -> Iterator[int]:
    """Give a port whose queue of connections is full, so that the kernel drops whoever else would connect."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_a_whole_answer_is_returned_whatever_its_status(upstream: HttpUpstream) -> None:
    """A status of 503 is an answer like any other: status, headers by lower-case name, body."""
    async with serving(answering(whole(b"busy", "503 Nope", "Retry-After: 7", "X-A: 1", "X-A: 2"))) as (_, url):
        reply = await send(upstream, url + "/v1/runs")
    assert (reply.status, reply.headers["retry-after"], reply.headers["x-a"], reply.body) == (503, "7", "1, 2", b"busy")


async def test_the_request_arrives_as_it_was_given(upstream: HttpUpstream) -> None:
    """Method, path, query, headers and body arrive, with nothing added but what HTTP needs."""
    async with serving(answering(whole())) as (server, url):
        await send(upstream, url + "/v1/runs?price=true", headers={"Authorization": "Bearer k", "Accept": "image/png"})
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    line, *rest = head.decode().split("\r\n")
    headers = dict(entry.lower().split(": ", 1) for entry in rest)
    port = url.rpartition(":")[2]
    assert line == "POST /v1/runs?price=true HTTP/1.1"
    assert headers == {
        "host": f"127.0.0.1:{port}",
        "accept": "image/png",
        "accept-encoding": "identity",
        "user-agent": "maskgate",
        "authorization": "bearer k",
        "content-length": str(len(body)),
        "content-type": "application/octet-stream",
    }
    assert body == b'{"prompt":"shoe"}'


async def test_a_large_body_arrives_whole(upstream: HttpUpstream) -> None:
    """Three megabytes go out with their length in the header, and without a warning."""
    content = bytes(range(256)) * (3 * 4096)
    async with serving(answering(whole())) as (server, url):
        await send(upstream, url, content=content)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b"content-length: 3145728" in head.lower()
    assert b"transfer-encoding" not in head.lower()
    assert body == content


async def test_a_redirect_is_an_answer_and_not_followed(upstream: HttpUpstream) -> None:
    """Nobody but the configuration says where we call."""
    async with (
        serving(answering(whole())) as (other, elsewhere),
        serving(answering(whole(b"", "302 Found", f"Location: {elsewhere}"))) as (_, url),
    ):
        reply = await send(upstream, url, method="GET", content=None)
    assert (reply.status, other.connections) == (302, 0)


async def test_cookies_and_proxies_of_the_environment_are_ignored(
    upstream: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No state of the machine or of an earlier answer reaches a request."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_row(1)}")
    async with serving(answering(whole(b"{}", "200 OK", "Set-Cookie: a=b"), then="again")) as (server, url):
        await send(upstream, url)
        await send(upstream, url)
    assert server.connections == 1
    assert b"cookie" not in server.requests[1].lower()


def never_left(error: ProviderError) -> tuple[bool, bool]:
    """Return the two answers that decide what follows."""
    return error.elsewhere, error.may_have_charged


async def test_a_refused_connection_is_unreachable(upstream: HttpUpstream) -> None:
    """Where nobody listens nothing leaves."""
    with pytest.raises(ProviderUnreachable, match="Connection refused") as caught:
        await send(upstream, f"http://127.0.0.1:{free_row(1)}/x?signature=s3cret")
    assert never_left(caught.value) == (True, False)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0.2, 10.0], ids=["deadline first", "connect limit first"])
async def test_a_connection_that_never_comes_is_unreachable(upstream: HttpUpstream, seconds: float) -> None:
    """Whether the deadline or the connect limit ends the wait, nothing has left."""
    with blackhole() as port, pytest.raises(ProviderUnreachable) as caught:
        await send(upstream, f"http://127.0.0.1:{port}/", seconds=seconds)
    assert never_left(caught.value) == (True, False)


async def test_who_waits_for_the_same_address_is_given_up_with_the_first() -> None:
    """Once one connection has not come to be in all its time, a later one is not waited for as long."""
    patient = HttpUpstream(time.monotonic, connect_seconds=3.0, tls=TLS)
    try:
        with blackhole() as port:
            first = asyncio.create_task(send(patient, f"http://127.0.0.1:{port}/", seconds=30.0))
            await asyncio.sleep(1.5)
            began = time.monotonic()
            second = asyncio.create_task(send(patient, f"http://127.0.0.1:{port}/", seconds=30.0))
            ended = await asyncio.gather(first, second, return_exceptions=True)
        assert [ProviderUnreachable, ProviderUnreachable] == [type(each) for each in ended]
        assert "no connection in the time allowed for it" in str(ended[1])
        assert time.monotonic() - began < 3.0
    finally:
        await patient.close()


@pytest.mark.parametrize(("callers", "patience"), [(5, 60.0), (4, 3.0)])
async def test_several_who_wait_in_vain_are_given_up_before_their_time(callers: int, patience: float) -> None:
    """Five that have waited for two seconds are enough; fewer wait for as long as they may."""
    patient = HttpUpstream(time.monotonic, connect_seconds=patience, tls=TLS)
    began = time.monotonic()
    try:
        with blackhole() as port:
            asking = [send(patient, f"http://127.0.0.1:{port}/", seconds=50.0) for _ in range(callers)]
            ended = await asyncio.gather(*asking, return_exceptions=True)
    finally:
        await patient.close()
    assert {ProviderUnreachable} == {type(each) for each in ended}
    assert all("no connection in the time allowed for it" in str(each) for each in ended)
    assert callers == 5 or time.monotonic() - began >= patience


async def test_a_name_without_an_address_is_unreachable() -> None:
    """The top-level domain `invalid` has no names (RFC 2606)."""
    patient = HttpUpstream(time.monotonic, connect_seconds=30.0, tls=TLS)
    with pytest.raises(ProviderUnreachable):
        await send(patient, "http://nowhere.invalid/", seconds=30.0)
    await patient.close()


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["no TLS", "silence"])
async def test_a_handshake_that_fails_is_unreachable(upstream: HttpUpstream, says: bytes) -> None:
    """A connection without TLS on it carries nothing of the request."""

    def make(_: Server) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(says)
            await asyncio.Event().wait()

        return script

    async with serving(make) as (_, url):
        with pytest.raises(ProviderUnreachable) as caught:
            await send(upstream, url.replace("http:", "https:"))
    assert never_left(caught.value) == (True, False)


async def test_a_passed_deadline_sends_nothing(upstream: HttpUpstream) -> None:
    """Not even over a connection that is open already."""
    async with serving(answering(whole(), then="again")) as (server, url):
        await send(upstream, url)
        with pytest.raises(ProviderUnreachable):
            await send(upstream, url, seconds=0.0)
        await send(upstream, url)
    assert (server.connections, len(server.requests)) == (1, 2)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\n", "schlüssel", "a\x00"])
async def test_a_credential_that_http_cannot_carry_never_leaves(upstream: HttpUpstream, value: str) -> None:
    """The error names the header and not its value."""
    async with serving(answering(whole())) as (server, url):
        with pytest.raises(ProviderUnreachable, match="Authorization") as caught:
            await send(upstream, url, headers={"Authorization": value})
    assert server.connections == 0
    assert value not in str(caught.value)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "ftp://127.0.0.1/", "http://127.0.0.1:99999/", "nonsense"])
async def test_an_endpoint_that_is_no_url_is_unreachable(upstream: HttpUpstream, url: str) -> None:
    """A misspelt endpoint is an error of the contract and not of a library."""
    with pytest.raises(ProviderUnreachable, match="not a URL"):
        await send(upstream, url)


async def test_an_upload_address_leaves_as_it_was_given(upstream: HttpUpstream) -> None:
    """Its signature covers every byte of it."""
    target = "/bucket/512_vc%26p%2f.jpg?X-Amz-Credential=a%40b%2Fauto&x-id=Put%4fbject&lone"
    async with serving(answering(whole())) as (server, url):
        await send(upstream, url + target, method="PUT")
    assert server.requests[0].startswith(f"PUT {target} HTTP/1.1\r\n".encode())


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        pytest.param(answering(then="rst"), 10.0, id="reset before headers"),
        pytest.param(answering(then="fin"), 10.0, id="closed before headers"),
        pytest.param(answering(b"HTTP/1.1 200 OK\r\nConte", then="fin"), 10.0, id="closed in the headers"),
        pytest.param(answering(HEAD, b"abc", then="rst"), 10.0, id="reset in the body"),
        pytest.param(answering(HEAD, b"abc", then="fin"), 10.0, id="short of its length"),
        pytest.param(answering(CHUNKED, b"5\r\nabc", then="fin"), 10.0, id="chunk cut"),
        pytest.param(answering(CHUNKED, b"zz\r\nabc\r\n", then="wait"), 1.0, id="chunk length garbage"),
        pytest.param(answering(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", then="wait"), 10.0, id="not HTTP"),
        pytest.param(answering(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n"), 10.0, id="huge header"),
        pytest.param(answering(then="wait"), 0.3, id="silence"),
        pytest.param(answering(HEAD, then="wait"), 0.3, id="silence after headers"),
        pytest.param(answering(CHUNKED, b"1\r\na\r\n", then="wait"), 0.3, id="chunks never ended"),
        pytest.param(answering(HEAD, *[b"a"] * 90, seconds_between=0.05), 0.4, id="slow drip"),
    ],
)
async def test_an_answer_that_breaks_after_the_request_left_is_unanswered(
    upstream: HttpUpstream, script: Callable[[Server], Script], seconds: float
) -> None:
    """The work may have been done and billed, and the request is sent once."""
    async with serving(script) as (server, url):
        with pytest.raises(ProviderUnanswered) as caught:
            await send(upstream, url + "/x?signature=s3cret", seconds=seconds)
    assert never_left(caught.value) == (True, True)
    assert len(server.requests) == 1
    assert "s3cret" not in str(caught.value)


async def test_a_server_that_does_not_read_is_unanswered_at_the_deadline(upstream: HttpUpstream) -> None:
    """A body that fills every buffer on its way ends with the deadline."""

    def make(_: Server) -> Script:
        async def script(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        return script

    async with serving(make) as (_, url):
        with pytest.raises(ProviderUnanswered):
            await send(upstream, url, content=bytes(30_000_000), seconds=0.5)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(whole(bytes(1001)), "larger than 1000 bytes", id="by its length"),
        pytest.param(CHUNKED + b"3e9\r\n" + bytes(1001) + b"\r\n", "larger than 1000 bytes", id="by its bytes"),
        pytest.param(
            whole(gzip.compress(bytes(1_000_000))[:900], "200 OK", "Content-Encoding: gzip"),
            "inflates to more",
            id="gzip",
        ),
        pytest.param(whole(b"x", "200 OK", "Content-Encoding: identity, br"), "compressed", id="brotli"),
    ],
)
async def test_an_answer_that_nobody_asked_for_is_failed_and_may_be_billed(
    upstream: HttpUpstream, answer: bytes, says: str
) -> None:
    """It did answer: that status is known, and so is that the work was done."""
    async with serving(answering(answer)) as (_, url):
        with pytest.raises(ProviderFailed, match=says) as caught:
            await send(upstream, url, max_bytes=1000)
    assert never_left(caught.value) == (True, True)
    assert caught.value.status == 200


@pytest.mark.parametrize("label", ["gzip", "x-gzip", "aws-chunked", ""])
async def test_an_answer_that_is_gzip_unasked_is_read(upstream: HttpUpstream, label: str) -> None:
    """A proxy that compresses whatever passes costs no paid answer."""
    body = b'{"id": "run_1"}'
    answer = whole(gzip.compress(body), "200 OK", f"Content-Encoding: {label}")
    async with serving(answering(answer)) as (_, url):
        assert (await send(upstream, url)).body == body


async def test_an_answer_of_just_the_size_is_read(upstream: HttpUpstream) -> None:
    """The limit is inclusive."""
    async with serving(answering(whole(bytes(1000)))) as (_, url):
        assert (await send(upstream, url, max_bytes=1000)).body == bytes(1000)


async def test_an_answer_that_comes_before_the_request_is_read_is_returned(upstream: HttpUpstream) -> None:
    """The rest of the body is not sent, and the connection, which still waits for it, is not used again."""

    def make(_: Server) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(whole(b"too much", "413 Too Large"))
            await asyncio.Event().wait()

        return script

    async with serving(make) as (server, url):
        for connections in (1, 2):
            reply = await send(upstream, url, content=bytes(30_000_000))
            assert (reply.status, reply.body, server.connections) == (413, b"too much", connections)


async def test_a_connection_closed_while_idle_is_replaced(upstream: HttpUpstream) -> None:
    """A close that arrived between two requests costs nothing but a new connection."""
    async with serving(answering(whole(), then="fin")) as (server, url):
        await send(upstream, url)
        ((kept, _),) = next(iter(connector_of(upstream._wire)._conns.values()))
        if (gone := kept.closed) is not None:
            await gone
        assert (await send(upstream, url)).status == 200
    assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize(("method", "times"), [("POST", 1), ("PATCH", 1), ("GET", 2)])
async def test_a_request_lost_on_a_kept_connection_is_repeated_only_where_it_is_idempotent(
    upstream: HttpUpstream, method: str, times: int
) -> None:
    """A POST that met a closing connection is sent once: whether it was billed is unknown."""

    def make(server: Server) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read_request(reader)
            if len(server.requests) == 1:
                writer.write(whole())
                await server.read_request(reader)

        return script

    async with serving(make) as (server, url):
        await send(upstream, url)
        with pytest.raises(ProviderUnanswered):
            await send(upstream, url, method=method, content=None)
    assert len(server.requests) == 1 + times


async def test_a_cancelled_call_closes_its_connection(upstream: HttpUpstream) -> None:
    """What is cancelled raises nothing else, and leaves no connection that a later request could meet."""
    asked, gone = asyncio.Event(), asyncio.Event()

    def make(server: Server) -> Script:
        async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await server.read_request(reader)
            asked.set()
            assert await reader.read() == b""
            gone.set()

        return script

    async with serving(make) as (_, url):
        call = asyncio.create_task(send(upstream, url))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await gone.wait()


async def test_two_hundred_calls_at_once_each_get_their_own_answer() -> None:
    """Connections are shared one after another, never at a time."""

    def make(server: Server) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                request = await server.read_request(reader)
                await asyncio.sleep(0)
                writer.write(whole(request.partition(b"\r\n\r\n")[2]))

        return script

    async with serving(make) as (server, url):
        patient = HttpUpstream(time.monotonic, connect_seconds=60.0, tls=TLS)
        replies = await asyncio.gather(*(send(patient, url, content=b"%d" % number) for number in range(200)))
        await patient.close()
        assert [reply.body for reply in replies] == [b"%d" % number for number in range(200)]
        assert server.connections <= 200
