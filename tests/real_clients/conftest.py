"""A sandbox, pictures that it knows, and Prodia's client."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from providers.sandbox.scenes import Scene, paint_scenes
from tests.providers.contract_suite.sandboxes import RunningSandbox, SandboxThread
from tests.real_clients.clients import Missing, installed

T = TypeVar("T")


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
