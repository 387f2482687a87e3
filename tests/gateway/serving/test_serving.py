"""What holds for every way to put an app behind a socket."""

import socket
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from gateway.serving import AddressTaken, StartFailed, listen, running, url_of


class LedgerGone(Exception):
    """What a start-up fails with here."""


def make_app(events: list[str], *, fails: bool = False) -> FastAPI:
    """Return an app that notes its start and its end, and answers /hello."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if fails:
            raise LedgerGone("the ledger is gone; start it")
        events.append("started")
        yield
        events.append("ended")

    app = FastAPI(lifespan=lifespan)

    @app.get("/hello")
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    return app


def get(url: str) -> tuple[bytes, dict[str, str]]:
    """Return body and lower-case headers."""
    with urllib.request.urlopen(url, timeout=60) as response:
        return response.read(), {name.lower(): value for name, value in response.getheaders()}


def test_two_apps_run_side_by_side_and_end_with_their_blocks() -> None:
    """Each app has a port of its own, answers within its block, and has ended after it."""
    first: list[str] = []
    second: list[str] = []
    with running(lambda: make_app(first)) as one, running(lambda: make_app(second)) as other:
        assert one != other
        assert get(f"{one}/hello")[0] == get(f"{other}/hello")[0] == b'{"hello":"world"}'
        assert (first, second) == (["started"], ["started"])
    assert (first, second) == (["started", "ended"], ["started", "ended"])
    host, port = one.removeprefix("http://").split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0


def test_one_app_is_served_on_several_sockets() -> None:
    """Each socket leads to the same app, which starts and ends once, and all of them are closed behind it."""
    events: list[str] = []
    other = listen("127.0.0.1", 0)
    with running(lambda: make_app(events), also=[other]) as url:
        assert get(f"{url}/hello")[0] == get(f"{url_of(other)}/hello")[0] == b'{"hello":"world"}'
    assert ["started", "ended"] == events
    assert other.fileno() == -1


def test_answers_do_not_name_the_server() -> None:
    """No header tells which software answers."""
    with running(lambda: make_app([])) as url:
        assert "server" not in get(f"{url}/hello")[1]


def test_failed_start_is_told_with_its_cause(capfd: pytest.CaptureFixture[str]) -> None:
    """An app whose start-up fails raises in the caller, in its own words, and prints no traceback."""
    with (
        pytest.raises(StartFailed, match="the ledger is gone; start it") as caught,
        running(lambda: make_app([], fails=True)),
    ):
        pytest.fail("it has started")
    assert isinstance(caught.value.__cause__, LedgerGone)
    assert capfd.readouterr().err == ""


def test_taken_port_is_named() -> None:
    """A port that somebody listens on is refused with its number and the option to change."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressTaken, match=rf"127\.0\.0\.1:{port}.*--port"):
            listen("127.0.0.1", port)


def test_the_option_of_a_taken_port_is_named() -> None:
    """Who names several ports is told which one to change."""
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(AddressTaken, match=r"Name another with --admin-port\."),
    ):
        listen("127.0.0.1", other.getsockname()[1], option="--admin-port")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_url_leads_back_to_the_listener(host: str) -> None:
    """The URL of a listener connects from this machine, whatever address it is bound to."""
    with listen(host, 0) as listener:
        address = url_of(listener).removeprefix("http://").rsplit(":", 1)
        with socket.create_connection((address[0].strip("[]"), int(address[1])), timeout=60) as connection:
            assert connection.getpeername()[1] == listener.getsockname()[1]
