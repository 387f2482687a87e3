"""The subjects, one after another, each with a sandbox of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from providers.sandbox.scenes import Scene, paint_scenes
from providers.transport import trusted
from tests.providers.contract_suite import outsider
from tests.providers.contract_suite.houses import House, open_house, settled
from tests.providers.contract_suite.questions import Known, one_question
from tests.providers.contract_suite.sandboxes import RunningSandbox, SandboxThread
from tests.providers.contract_suite.subjects import SUBJECTS, Subject

#: Of each provider the first of its call shapes, which `make test` questions; the others are left to `make test-all`.
FIRST = {subject.provider: subject.name for subject in reversed(SUBJECTS)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make test-all` what asks a provider's further models and call shapes the same questions."""
    for item in items:
        spec = getattr(item, "callspec", None)
        chosen = None if spec is None else spec.params.get("subject")
        if isinstance(chosen, Subject) and chosen.name != FIRST[chosen.provider]:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def tls() -> ssl.SSLContext:
    """The authorities that are believed."""
    return trusted()


@pytest.fixture(scope="session")
def scenes() -> dict[str, Scene]:
    """What the sandbox knows, by name."""
    return {scene.name: scene for scene in paint_scenes()}


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


@pytest.fixture(params=SUBJECTS, ids=lambda subject: subject.name)
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each subject in turn, in a test that does not choose its own."""
    chosen: Subject = request.param
    return chosen


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the provider of another house."""
    outsider.install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
async def house(
    subject: Subject, sandbox: RunningSandbox, tls: ssl.SSLContext, installed: None
) -> AsyncIterator[House]:
    """The subject, ready to be asked; it may leave no task and no unheard error behind."""
    loop = asyncio.get_running_loop()
    unheard: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unheard.append(context))
    before = asyncio.all_tasks()
    async with open_house(subject, sandbox, tls=tls) as opened:
        yield opened
    current = asyncio.current_task()
    assert await settled(lambda: asyncio.all_tasks() - before <= {current}), asyncio.all_tasks() - before
    assert [] == unheard


@pytest.fixture
def known(house: House, scenes: dict[str, Scene]) -> Known:
    """One question about the pair of shoes."""
    return one_question(scenes["shoes"], house.capabilities)
