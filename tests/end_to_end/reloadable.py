"""A gateway whose configuration file is changed under it, on a loop that a test can count things on."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
import yaml
from fastapi import FastAPI

from gateway.app import create_app
from gateway.reloading import ConfigSource, Reloaded
from gateway.sandboxed import RunningSandbox
from gateway.serving import running
from gateway.settings import load_settings
from tests.end_to_end.household import assert_nothing_broke, configuration

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Counted:
    """What a process must not have more and more of."""

    tasks: int
    """On the gateway's loop."""
    threads: int
    files: int
    """Open file descriptors: connections are among them."""


@dataclass(slots=True)
class Reloadable:
    """A running gateway and its configuration file."""

    url: str
    file: Path
    state: Path
    first_key: str
    """Which may do everything."""
    _app: FastAPI
    _loop: asyncio.AbstractEventLoop = field(repr=False)

    def document(self) -> dict[str, Any]:
        """Return what stands in the file."""
        document: dict[str, Any] = yaml.safe_load(self.file.read_text(encoding="utf-8"))
        return document

    def write(self, document: dict[str, Any] | str) -> None:
        """Replace the file in one step, as a careful editor does."""
        text = document if isinstance(document, str) else orjson.dumps(document).decode()  # which is YAML as well
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.file)

    async def reload(self) -> Reloaded:
        """Have the gateway read its file again, and say what came of it."""
        reloaded: Reloaded = await self._there(self._app.state.reload("request"))
        return reloaded

    async def counted(self) -> Counted:
        """Count."""

        async def tasks() -> int:
            return len(asyncio.all_tasks())

        return Counted(await self._there(tasks()), threading.active_count(), _open_files())

    async def services(self) -> Any:
        """Return what new requests are answered with."""
        return self._app.state.house.services

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of that event."""
        lines = (self.state / "gateway.log").read_bytes().splitlines()
        return [each for each in map(orjson.loads, lines) if each["event"] == event]

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def reloadable(sandbox: RunningSandbox, state: Path) -> Iterator[Reloadable]:
    """Run a gateway on a thread while the block lasts, with a configuration file that it watches."""
    state.mkdir(parents=True, exist_ok=True)
    file = state / "maskgate.yaml"
    file.write_text(configuration(sandbox), encoding="utf-8")
    environ = {"MASKGATE_STATE_DIR": str(state)}
    source = ConfigSource(file, lambda: load_settings(config=file, environ=environ))
    made: list[FastAPI] = []
    shown: list[str] = []
    loops: list[asyncio.AbstractEventLoop] = []

    def make() -> FastAPI:
        app = create_app(source.read(), source=source, log_to=log, show=shown.append)
        lifespan = app.router.lifespan_context

        @asynccontextmanager
        async def noted(served: FastAPI) -> AsyncIterator[Any]:
            loops.append(asyncio.get_running_loop())
            async with lifespan(served) as told:
                yield told

        app.router.lifespan_context = noted
        made.append(app)
        return app

    with (state / "gateway.log").open("a", encoding="utf-8") as log, running(make) as url:
        yield Reloadable(url, file, state, shown[0], made[0], loops[0])
    assert_nothing_broke(state)
