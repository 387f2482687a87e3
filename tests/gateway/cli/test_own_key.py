"""The key that a command finds by itself: where it comes from, and whom it is shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.connection import own_key
from gateway.cli.main import app
from gateway.store.key_file import key_file_prepared

OWN, NAMED = "mg_of-the-state-folder", "mg_that-was-named"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with a key, named by the environment."""
    with key_file_prepared(tmp_path / "state", OWN) as file:
        file.keep()
    monkeypatch.setenv("MASKGATE_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


class _Listener(BaseHTTPRequestHandler):
    """Refuses everything, and notes the key that it was shown; a redirect would lead to another machine."""

    shown: list[str | None]

    def do_GET(self) -> None:
        self.shown.append(self.headers["Authorization"])
        self.send_response(307)
        self.send_header("Location", "http://maskgate.invalid/v1/deployments")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""


@pytest.fixture
def listener() -> Iterator[tuple[int, list[str | None]]]:
    """Return the port of something that is no gateway, and the keys that it is shown."""
    shown: list[str | None] = []
    handler = type("Noting", (_Listener,), {"shown": shown})
    with ThreadingHTTPServer(("0.0.0.0", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1], shown
        server.shutdown()
        thread.join()


def listed(url: str, *options: str) -> Result:
    """Run `maskgate deployments` without a key in the environment."""
    return CliRunner().invoke(app, ["deployments", "--url", url, *options], env={"MASKGATE_KEY": None})


def test_a_command_shows_its_own_key_to_this_machine_alone(state: Path, listener: tuple[int, list[str | None]]) -> None:
    """An address of loopback is shown the key of the state folder, any other none; a key that was named goes first."""
    port, shown = listener
    listed(f"http://127.0.0.1:{port}")
    listed(f"http://localhost:{port}")
    listed(f"http://0.0.0.0:{port}")
    listed(f"http://127.0.0.1:{port}", "--key", NAMED)
    assert [f"Bearer {OWN}", f"Bearer {OWN}", None, f"Bearer {NAMED}"] == shown
    (state / "key").unlink()
    listed(f"http://127.0.0.1:{port}")
    assert shown[-1] is None


@pytest.mark.parametrize(
    "url",
    [
        "http://0.0.0.0:8080",
        "http://10.0.0.7:8080",
        "http://[fd00::7]:8080",
        "https://gateway.example.com",
        "http://127.0.0.1@evil.example/",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://evil.example/127.0.0.1",
        "http://evil.example?@127.0.0.1",
        "http://evil.example#@127.0.0.1",
        "http://",
    ],
)
def test_no_other_address_passes_for_this_machine(state: Path, url: str) -> None:
    """A name leads wherever its owner wants, so it is shown no key."""
    assert (state / "key").exists()
    assert own_key(url) is None
    assert OWN == own_key("http://[::1]:8080/")


def test_a_key_that_others_can_read_is_not_used(state: Path, listener: tuple[int, list[str | None]]) -> None:
    """The command says so and how to mend it, and asks nothing."""
    port, shown = listener
    (state / "key").chmod(0o644)
    result = listed(f"http://127.0.0.1:{port}")
    assert (1, []) == (result.exit_code, shown)
    assert f"chmod 600 {state / 'key'}" in result.stderr
    assert json.dumps(OWN) not in result.output
