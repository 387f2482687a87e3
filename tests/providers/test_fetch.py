"""Files from other people's addresses: what is brought, what is refused, and that nothing refused is connected to."""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from providers.contract import Deadline, Fetched, FetchError, FetchFailed, FetchForbidden, FetchTooLarge
from providers.fetch import GuardedFetcher, Pace
from providers.transport import trusted
from tests.providers.connectors import connector_of
from tests.providers.raw_server import Script, Server, answering, serving, whole

TLS = trusted()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)


def at_port(*hosts: str) -> list[str]:
    """Return URLs of these hosts at the port that the test listens on."""
    return [f"http://{host}:{{port}}/a.png" for host in hosts]


def wide(text: str) -> str:
    """Return the full-width forms of these letters, digits and stops, which Unicode's compatibility forms undo."""
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


ROWS = [
    # spellings of IPv4
    *at_port("127.0.0.1", "127.0.0.2", "127.1", "127.0.1", "127.255.255.254", "0.0.0.0", "0", "0.0", "0.0.0", "00"),
    *at_port("2130706433", "017700000001", "0x7f000001", "0x7F000001", "0x7f.0.0.1", "0x7f.0x0.0x0.0x1"),
    *at_port("0177.0.0.1", "0177.0000.0000.0001", "127.0.0.01", "127.000.000.001", "0x7f.1", "0177.1", "127.0x0.1"),
    *at_port("①②⑦.⓪.⓪.①", "127。0。0。1", wide("127.0.0.1"), wide("127.1"), wide("2130706433"), wide("0x7f.1")),
    *at_port("127.0.0.1.", "127.0.0.1..", "4294967295", "4294967296", "0x100000000", "256.0.0.1", "127.0.0.1.1"),
    # IPv6, and IPv4 inside it
    *at_port("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::0.0.0.1]", "[::0001]", "[0::0]"),
    *at_port("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::FFFF:127.0.0.1]"),
    *at_port("[::ffff:0.0.0.0]", "[::ffff:169.254.169.254]", "[::ffff:10.0.0.1]", "[::ffff:8.8.8.8]"),
    *at_port("[::127.0.0.1]", "[::7f00:1]", "[::10.0.0.1]", "[::ffff:0:127.0.0.1]", "[::ffff:0:7f00:1]"),
    *at_port("[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[64:ff9b::a9fe:a9fe]"),
    *at_port("[64:ff9b:1::127.0.0.1]", "[64:ff9b:1::a00:1]", "[64:ff9b:1:fffe::a00:1]"),
    *at_port("[2002:7f00:1::]", "[2002:7f00:1::1]", "[2002:a00:1::]", "[2002:a9fe:a9fe::1]", "[2002:c0a8:1::1]"),
    *at_port("[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[2001::1]", "[2001:0:0:0:0:0:f5ff:fffe]"),
    *at_port("[2a00:1450::5efe:127.0.0.1]", "[2a00:1450::200:5efe:10.0.0.1]", "[fe80::5efe:127.0.0.1]"),
    *at_port("[fe80::1]", "[fe80::1%25lo]", "[fe80::1%lo]", "[::1%25lo]", "[fe80::1%251]", "[2606:4700::1%25lo]"),
    *at_port("[fec0::1]", "[feff::1]", "[fc00::1]", "[fd00::1]", "[fdff:ffff::1]", "[ff02::1]", "[ff05::1:3]"),
    *at_port("[2001:db8::1]", "[3fff::1]", "[100::1]", "[5f00::1]", "[2001:2::1]", "[2001:10::1]", "[2001:20::1]"),
    *at_port("[4000::1]", "[1fff::1]", "[::2]", "[::ffff:ffff]", "[v1.fe80::a]", "[127.0.0.1]", "[]", "[::1"),
    # ranges that belong to nobody outside
    *at_port("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"),
    *at_port("100.64.0.0", "100.64.0.1", "100.127.255.255", "169.254.0.1", "169.254.170.2", "192.0.0.1"),
    *at_port("192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255", "192.88.99.1"),
    *at_port("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "0.1.2.3", "192.52.193.1"),
    # metadata services
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://169.254.169.254:80/computeMetadata/v1/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[fd20:ce::254]/computeMetadata/v1/",
    "http://168.63.129.16/machine?comp=goalstate",
    "http://192.0.0.192/opc/v2/instance/",
    "http://100.100.100.200/latest/meta-data/",
    "http://[::ffff:a9fe:a9fe]/latest/",
    "http://0xa9fea9fe/latest/",
    "http://0xa9.0xfe.0xa9.0xfe/latest/",
    "http://0251.0376.0251.0376/latest/",
    "http://2852039166/latest/",
    "http://169.254.43518/latest/",
    # names of this machine
    *at_port("localhost", "localhost.", "LOCALHOST", "LocalHost.", "localhost..", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", wide("localhost")),
    *at_port("foo.localhost", "localhost.localdomain", "ip6-localhost"),
    # syntax
    *at_port("user@127.0.0.1", "user:pass@127.0.0.1", "@127.0.0.1", "example.com@127.0.0.1", "127.0.0.1@127.0.0.1"),
    *at_port(
        "example.com%40127.0.0.1", "127.0.0.1%23.example.com", "127%2e0%2e0%2e1", "%31%32%37.0.0.1", "127.0.0.1%00"
    ),
    *at_port("example.com:80@127.0.0.1", "example.com#@127.0.0.1", "example.com?@127.0.0.1", "127.0.0.1:80:80"),
    *at_port("127.0.0.1\\@example.com", "example.com\\@127.0.0.1", "\\127.0.0.1", "127.0.0.1\t", "127.\n0.0.1"),
    *at_port(
        "127.0.0.1 ", " 127.0.0.1", "127.0.0.1\r\nX-Evil: 1", "127.0.0.1\x00", "127.0.0.1\u200b", "127.0.\u00ad0.1"
    ),
    "//127.0.0.1:{port}/a.png",
    "127.0.0.1:{port}/a.png",
    "http:/127.0.0.1:{port}/a.png",
    "http:127.0.0.1:{port}/a.png",
    "http:///127.0.0.1:{port}/a.png",
    "http:\\\\127.0.0.1:{port}\\a.png",
    " http://127.0.0.1:{port}/a.png",
    "http://127.0.0.1:{port}/a b",
    "http://",
    "http://:{port}/",
    "",
    "a.png",
    # schemes
    "file:///etc/passwd",
    "file://127.0.0.1:{port}/a",
    "gopher://127.0.0.1:{port}/_GET",
    "ftp://127.0.0.1:{port}/a",
    "data:image/png;base64,AAAA",
    "jar:http://127.0.0.1:{port}/a!/b",
    "ws://127.0.0.1:{port}/",
    "unix:///run/docker.sock",
    "http+unix://%2Frun%2Fdocker.sock/info",
    "javascript:alert(1)",
    "blob:http://127.0.0.1:{port}/a",
    "dict://127.0.0.1:{port}/stats",
    "ldap://127.0.0.1:{port}/a",
    "httpx://127.0.0.1:{port}/a",
    wide("http") + "://127.0.0.1:{port}/a",
    # ports
    "http://127.0.0.1:22/",
    "http://127.0.0.1:6379/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:65536/",
    "http://127.0.0.1:-1/",
    "http://127.0.0.1:{port}0000/",
    "http://127.0.0.1:٨٠٨٠/",
    "http://127.0.0.1:80a/",
    "https://127.0.0.1:{port}/",
    "https://localhost:{port}/",
    "https://[::1]:{port}/",
]


class Names(AbstractResolver):
    """Names with addresses that a test decides, one list after another."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self._answers = answers

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the signature is aiohttp's
    ) -> list[ResolveResult]:
        """Return the next list; the last one stays."""
        lists = self._answers[host]
        addresses = lists.pop(0) if len(lists) > 1 else lists[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def fetching(
    *urls: str, answers: dict[str, list[list[str]]] | None = None, min_bytes_per_second: int = 1024, grace: float = 5.0
) -> AsyncIterator[GuardedFetcher]:
    """Give a fetcher that may fetch from those servers, whatever their addresses."""
    fetcher = GuardedFetcher(
        time.monotonic,
        allow=[url.removeprefix("http://") for url in urls],
        connect_seconds=8.0,
        pace=Pace(min_bytes_per_second, grace),
        resolver=None if answers is None else lambda: Names(answers),
        tls=TLS,
    )
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def fetch(fetcher: GuardedFetcher, url: str, *, seconds: float = 10.0, max_bytes: int = 100_000) -> Fetched:
    """Fetch with the usual values."""
    return await fetcher.fetch(url, deadline=Deadline.after(seconds, time.monotonic), max_bytes=max_bytes)


@contextmanager
def trap() -> Iterator[tuple[int, Callable[[], int]]]:
    """Listen on every address of this machine; give the port, and how many connections there have been."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024) as listener:
        listener.setblocking(False)

        def connections() -> int:
            count = 0
            while True:
                try:
                    listener.accept()[0].close()
                except BlockingIOError:
                    return count
                count += 1

        yield listener.getsockname()[1], connections


def refusal(error: FetchError) -> bool:
    """Whether the fetch ended before any address was connected to: refused, no URL, or a name without an address."""
    return isinstance(error, FetchForbidden) or any(
        words in str(error) for words in ("not a URL", "its name has no address")
    )


def test_the_table_has_the_promised_size() -> None:
    """At least 150 different rows."""
    assert len(set(ROWS)) == len(ROWS) >= 150


@pytest.mark.parametrize("row", ROWS)
async def test_a_forbidden_url_is_refused_and_nothing_connected(row: str) -> None:
    """However the address is spelled, nobody hears from us."""
    with trap() as (port, connections):
        async with fetching() as fetcher:
            with pytest.raises(FetchError) as caught:
                await fetch(fetcher, row.replace("{port}", str(port)))
        assert connections() == 0
    assert refusal(caught.value), str(caught.value)


@pytest.mark.parametrize("hop", [1, 2, 3])
async def test_no_redirect_leads_to_a_forbidden_url(hop: int) -> None:
    """Every row of the table that a header can carry, as what the first, second or third redirect leads to."""
    left = [row for row in ROWS if not set(row) & set("\r\n\x00") and row not in {"", "a.png", "http://"}]

    def make(server: Server) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                path = (await server.read_request(reader)).split(b" ")[1].decode()
                if not re.fullmatch(r"/\d+/\d+", path):
                    writer.write(whole(b"", "404 Not Found"))
                    continue
                number, step = (int(part) for part in path.strip("/").split("/"))
                target = left[number].replace("{port}", str(port)) if step == hop else f"/{number}/{step + 1}"
                writer.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + target.encode() + b"\r\n\r\n")

        return script

    with trap() as (port, connections):
        async with serving(make) as (server, url), fetching(url) as fetcher:
            for number, row in enumerate(left):
                server.requests.clear()
                with pytest.raises(FetchError) as caught:
                    await fetch(fetcher, f"{url}/{number}/1")
                stayed = isinstance(caught.value, FetchFailed) and caught.value.status == 404
                assert refusal(caught.value) or (stayed and not re.match(r"\s*https?://[^/]", row)), (
                    row,
                    str(caught.value),
                )
                assert len(server.requests) >= hop
        assert connections() == 0


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["127.0.0.1", "::1"],
        ["::1", "127.0.0.1", "10.0.0.1", "169.254.169.254"],
        ["::ffff:127.0.0.1"],
        ["0.0.0.0"],
        ["127.0.0.1"] * 50,
    ],
)
@pytest.mark.parametrize(
    "host", ["127.0.0.1.names.example", "evil-example.com", "example.com.evil.example", "x.example."]
)
async def test_a_name_for_a_forbidden_address_is_refused(host: str, addresses: list[str]) -> None:
    """What a name is called does not matter, nor how many addresses it has."""
    with trap() as (port, connections):
        async with fetching(answers={host: [addresses]}) as fetcher:
            with pytest.raises(FetchForbidden, match="public address"):
                await fetch(fetcher, f"http://{host}:{port}/")
        assert connections() == 0


async def test_a_name_that_changes_its_address_gets_nothing_through() -> None:
    """A name that first has an address which may be fetched from, and then another, is refused at the second one."""

    def make(server: Server) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read_request(reader)
            writer.write(whole(b"", "302 F", f"Location: http://x.re.example:{port}/", "Connection: close"))
            await writer.drain()

        return script

    answers = {"re.example": [["127.0.0.1"], ["127.0.0.2"]], "x.re.example": [["127.0.0.2"]]}
    with trap() as (port, connections):
        async with serving(make) as (server, url), fetching(url, answers=answers) as fetcher:
            there = f"http://re.example:{url.rpartition(':')[2]}/"
            with pytest.raises(FetchForbidden):
                await fetch(fetcher, there)
            connector_of(fetcher._wire).clear_dns_cache()
            with pytest.raises(FetchForbidden):
                await fetch(fetcher, there)
        assert (server.connections, connections()) == (1, 0)


async def test_an_allowed_address_is_fetched_from_end_to_end() -> None:
    """The file, what its server calls it, and a request that carries nothing of ours."""
    answer = whole(PNG, "200 OK", "Content-Type: image/png")
    async with serving(answering(answer)) as (server, url), fetching(url) as fetcher:
        assert await fetch(fetcher, url + "/a%20b.png?x=1#y") == Fetched(PNG, "image/png")
    head = server.requests[0].decode()
    assert head.split("\r\n") == [
        "GET /a%20b.png?x=1 HTTP/1.1",
        f"Host: {url.removeprefix('http://')}",
        "accept: */*",
        "user-agent: maskgate",
        "accept-encoding: identity",
        "",
        "",
    ]


@pytest.mark.parametrize("status", ["301 A", "302 B", "303 C", "307 D", "308 E"])
@pytest.mark.parametrize("form", ["absolute", "relative"])
async def test_redirects_are_followed_by_hand(status: str, form: str) -> None:
    """Absolute and relative ones, with the method GET, and without the cookies that they set."""
    location = ""

    def make(server: Server) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                request = await server.read_request(reader)
                if request.startswith(b"GET /b "):
                    writer.write(whole(PNG))
                else:
                    writer.write(whole(b"moved", status, f"Location: {location}", "Set-Cookie: a=b"))

        return script

    async with serving(make) as (server, url), fetching(url) as fetcher:
        location = f"{url}/b" if form == "absolute" else "b"
        assert (await fetch(fetcher, url + "/a")).data == PNG
    assert b"cookie" not in server.requests[-1].lower()


async def test_the_number_of_redirects_is_bounded() -> None:
    """A file behind ten is brought, and one behind an eleventh is not asked for."""

    def make(server: Server) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                left = int((await server.read_request(reader)).split(b" ")[1].strip(b"/"))
                writer.write(whole(b"", "302 F", f"Location: /{left - 1}") if left else whole(PNG))

        return script

    async with serving(make) as (server, url), fetching(url) as fetcher:
        assert (await fetch(fetcher, url + "/10")).data == PNG
        server.requests.clear()
        with pytest.raises(FetchFailed, match="more than 10 redirects"):
            await fetch(fetcher, url + "/11")
    assert len(server.requests) == 11


#: A path and query, and what has to stand in the request line; None: the very same.
SPELLINGS: list[tuple[str, str | None]] = [
    ("/512_vc%26p.jpg?X-Amz-Credential=a%40b%2Fauto&X-Amz-Date=1", None),
    ("/a%2fb%3Fc%23d%25.png?x=%c3%a9&y=+%20+&z", None),
    ("/%7Euser/%41%2E%2E/a;v=1,2/(b)'!*$&+=:@c?d=/e?f[]=g|h^i`{j}\"<k>", None),
    ("/a//b/../c/./d.png?", None),
    ("/100%.png?%zz=%", None),
    ("/back\\slash", None),
    ("?only=query", "/?only=query"),
    ("", "/"),
    ("/my pic\t.png?q=a b", "/my%20pic%09.png?q=a%20b"),
    ("/größe.png?ü=✓", "/gr%C3%B6%C3%9Fe.png?%C3%BC=%E2%9C%93"),
    ("/evil\r\nX-Evil: 1", "/evil%0D%0AX-Evil:%201"),
]


@pytest.mark.parametrize(("spelt", "sent"), SPELLINGS)
@pytest.mark.parametrize("by", ["address", "absolute redirect", "path redirect"])
async def test_an_address_leaves_as_it_was_given(by: str, spelt: str, sent: str | None) -> None:
    """Presigned addresses are compared byte by byte; only what no request line can carry is escaped."""

    def make(server: Server) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read_request(reader)
            location = url + spelt if by == "absolute redirect" else spelt
            writer.write(b"HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: " + location.encode() + b"\r\n\r\n")
            await server.read_request(reader)
            writer.write(whole(PNG))

        return script

    direct = by == "address"
    if not direct and ("\r" in spelt or (by == "path redirect" and not spelt.startswith("/"))):
        return  # no header could say so
    async with serving(answering(whole(PNG)) if direct else make) as (server, url), fetching(url) as fetcher:
        assert (await fetch(fetcher, url + spelt if direct else url + "/from?here=1")).data == PNG
    assert server.requests[-1].split(b" HTTP/1.1\r\n")[0].decode() == f"GET {spelt if sent is None else sent}"


async def test_a_refusal_says_after_how_many_redirects_it_came() -> None:
    """And what stands in the way there."""

    def make(server: Server) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                first = b"GET /a " in await server.read_request(reader)
                writer.write(whole(b"", "302 F", "Location: /b" if first else "Location: http://10.0.0.1/"))

        return script

    async with serving(make) as (_, url), fetching(url) as fetcher:
        with pytest.raises(FetchForbidden, match=r"10\.0\.0\.1/ is not fetched from: private.*after 2 redirects"):
            await fetch(fetcher, url + "/a")


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "206 Partial", "201 Made", "302 To Nowhere"])
async def test_an_error_status_is_a_failure_that_says_so(status: str) -> None:
    """The caller sees which status, and no query string."""
    async with serving(answering(whole(b"x", status))) as (_, url), fetching(url) as fetcher:
        with pytest.raises(FetchFailed) as caught:
            await fetch(fetcher, url + "/a?signature=s3cret")
    assert caught.value.status == int(status[:3])
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("label", ["aws-chunked", "utf-8", "binary", "none", "gzip", "br", "aws-chunked, gzip", ""])
@pytest.mark.parametrize("packed", [False, True])
async def test_the_bytes_of_a_file_decide_whether_it_is_compressed(label: str, *, packed: bool) -> None:
    """Stores keep labels that say nothing of the bytes, and compress what nobody asked to have compressed."""
    answer = whole(gzip.compress(PNG) if packed else PNG, "200 OK", f"Content-Encoding: {label}")
    async with serving(answering(answer)) as (_, url), fetching(url) as fetcher:
        if packed and label == "br":
            with pytest.raises(FetchFailed, match="compressed"):
                await fetch(fetcher, url)
        else:
            assert (await fetch(fetcher, url)).data == PNG


async def test_a_file_that_inflates_too_far_is_too_large() -> None:
    """A few bytes of gzip may stand for very many."""
    async with serving(answering(whole(gzip.compress(bytes(1_001))))) as (_, url), fetching(url) as fetcher:
        with pytest.raises(FetchTooLarge, match="more than 1000 bytes"):
            await fetch(fetcher, url, max_bytes=1000)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param(answering(then="rst"), "closed|broke", id="reset before headers"),
        pytest.param(answering(HEAD, b"abc", then="rst"), "middle", id="reset in the body"),
        pytest.param(answering(HEAD, b"abc", then="fin"), "middle", id="short of its length"),
        pytest.param(answering(b"220 smtp.example ESMTP\r\n", then="fin"), "not HTTP", id="not HTTP"),
        pytest.param(answering(then="wait"), "deadline", id="silence"),
        pytest.param(
            answering(whole(b"\x0b\x05", "200 OK", "Content-Encoding: br")), r"compressed \(br\)", id="brotli"
        ),
        pytest.param(answering(whole(gzip.compress(PNG)[:-9])), r"compressed \(gzip\) and cut off", id="half a gzip"),
    ],
)
async def test_a_file_that_does_not_come_whole_is_a_failure(script: Callable[[Server], Script], says: str) -> None:
    """Half a file is none."""
    async with serving(script) as (_, url), fetching(url) as fetcher:
        with pytest.raises(FetchFailed, match=says) as caught:
            await fetch(fetcher, url + "/a?signature=s3cret", seconds=0.5)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("then", [(), tuple([b"x"] * 200)], ids=["silence", "drip"])
async def test_a_file_that_comes_too_slowly_is_given_up_before_the_deadline(then: tuple[bytes, ...]) -> None:
    """A server that keeps a connection warm with a byte now and then does not keep us."""
    script = answering(HEAD, *then, seconds_between=0.02)
    async with serving(script) as (_, url), fetching(url, grace=0.2) as fetcher:
        with pytest.raises(FetchFailed, match="slower than 1024 bytes a second"):
            await fetch(fetcher, url, seconds=60.0)


async def test_a_file_that_comes_slowly_but_fast_enough_is_brought() -> None:
    """The rate is measured over the whole file, so that a pause is forgiven."""
    parts = [PNG] * 10
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (10 * len(PNG))
    script = answering(head, *parts, seconds_between=0.02)
    async with serving(script) as (_, url), fetching(url, min_bytes_per_second=100) as fetcher:
        assert (await fetch(fetcher, url)).data == PNG * 10


def test_the_pace_forgives_the_grace_and_what_came_early() -> None:
    """1,024 bytes buy one second at 1,024 bytes a second."""
    pace = Pace(min_bytes_per_second=1024, grace_seconds=5.0)
    assert pace.patience_seconds(0, 0.0) == 5.0
    assert pace.patience_seconds(2048, 1.0) == 6.0
    assert pace.patience_seconds(10, 8.0) < 0.0


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(whole(bytes(1001)), id="by its length"),
        pytest.param(HEAD, id="before a byte has come"),
        pytest.param(CHUNKED + b"3e9\r\n" + bytes(1001) + b"\r\n", id="by its bytes"),
    ],
)
async def test_a_file_that_is_too_large_is_not_read_to_its_end(answer: bytes) -> None:
    """Its length is believed when it is too large, and counted anyway."""
    async with serving(answering(answer)) as (_, url), fetching(url) as fetcher:
        with pytest.raises(FetchTooLarge, match="larger than 1000 bytes"):
            await fetch(fetcher, url, max_bytes=1000)


async def test_a_file_of_just_the_size_is_brought() -> None:
    """The limit is inclusive."""
    async with serving(answering(whole(bytes(1000)))) as (_, url), fetching(url) as fetcher:
        assert (await fetch(fetcher, url, max_bytes=1000)).data == bytes(1000)


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would look names up and connect out of the guard's sight."""
    with trap() as (port, connections):
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        async with serving(answering(whole(PNG))) as (_, url), fetching(url) as fetcher:
            assert (await fetch(fetcher, url)).data == PNG
        assert connections() == 0


async def test_a_passed_deadline_brings_nothing() -> None:
    """Not even over a connection that is open already."""
    async with serving(answering(whole(PNG), then="again")) as (server, url), fetching(url) as fetcher:
        await fetch(fetcher, url)
        with pytest.raises(FetchFailed, match="deadline"):
            await fetch(fetcher, url, seconds=0.0)
    assert len(server.requests) == 1


async def test_an_allow_list_of_anything_but_endpoints_is_refused() -> None:
    """A name on it could later mean another address."""
    with pytest.raises(ValueError, match="localhost:9101"):
        GuardedFetcher(time.monotonic, allow=["localhost:9101"])
