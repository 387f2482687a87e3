"""A sandbox, pictures that it knows and one that it does not, and Prodia's client."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import pytest

from providers.sandbox.scenes import Scene, paint_scenes
from tests.providers.contract_suite.sandboxes import RunningSandbox, SandboxThread
from tests.real_clients.clients import Missing, installed

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
COFFEE = ROOT / "gateway" / "demo" / "coffee.jpg"
"""A photograph: the sandbox does not know it and answers with the classic engine's segments."""


@pytest.fixture(scope="session")
def sandbox_thread() -> Iterator[SandboxThread]:
    """The thread for all sandboxes."""
    thread = SandboxThread()
    yield thread
    thread.end()


@pytest.fixture
def sandbox(sandbox_thread: SandboxThread) -> Iterator[RunningSandbox]:
    """A sandbox with empty books and no faults."""
    with sandbox_thread.sandbox() as running:
        yield running


@pytest.fixture(scope="session")
def scenes() -> dict[str, Scene]:
    """What the sandbox knows, by name."""
    return {scene.name: scene for scene in paint_scenes()}


class _Files(SimpleHTTPRequestHandler):
    """Files of one folder, without a log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""


@pytest.fixture(scope="session")
def photograph() -> Iterator[str]:
    """The address of a photograph that the sandbox does not know."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=COFFEE.parent)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/{COFFEE.name}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that outlives the tests where they run in a virtual environment: inside of it."""
    if sys.prefix == sys.base_prefix:
        return tmp_path_factory.mktemp("npm")
    folder = Path(sys.prefix) / "real-clients"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def packages(cache: Path) -> Path:
    """Prodia's client, installed by npm."""
    return here(lambda: installed(cache))


def here(call: Callable[[], T]) -> T:
    """Return what *call* does, or leave the test out and say what is missing."""
    try:
        return call()
    except Missing as missing:
        pytest.skip(str(missing))
