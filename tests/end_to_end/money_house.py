"""Gateways on one ledger of any kind: as processes that can be killed, or in this one with a calendar of their own."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from gateway.app import create_app, sandbox_config
from gateway.sandboxed import RunningSandbox
from gateway.serving import running
from gateway.settings import settings_from_yaml
from tests.end_to_end.asking import Caller, Reply
from tests.end_to_end.household import assert_nothing_broke, key_in
from tests.end_to_end.upstreams import until

#: In a gateway's folder: what it says on its standard error.
SAID = "said.txt"

Amend = Callable[[dict[str, Any]], None]
"""Changes a configuration in place."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is a process of its own."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path
    admin: Mapping[str, str]
    """The header that shows the first key, whichever gateway has shown that; empty where the ledger was there."""

    def kill(self) -> None:
        """End it as a power cut does, and wait until it is gone."""
        self.process.kill()
        self.process.wait(timeout=60)


class Calendar:
    """A wall clock that goes on from a moment that a test names."""

    def __init__(self, moment: str) -> None:
        """Begin at a moment in ISO 8601, with its offset."""
        self.set(moment)

    def set(self, moment: str) -> None:
        """Go on from another moment."""
        self._ahead = datetime.fromisoformat(moment).astimezone(UTC).timestamp() - time.monotonic()

    def __call__(self) -> float:
        """Return seconds since 1970, UTC."""
        return time.monotonic() + self._ahead


def configured(sandbox: RunningSandbox, amend: Amend | None = None) -> str:
    """Return the sandbox's configuration, amended."""
    document = yaml.safe_load(sandbox_config(sandbox.host, sandbox.port))
    if amend is not None:
        amend(document)
    return yaml.safe_dump(document)


def deployment(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a deployment of a configuration."""
    return next(each for each in document["deployments"] if each["name"] == name)


def outside() -> dict[str, str]:
    """Return this process's environment without what a gateway would read from it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MASKGATE_")}


@contextmanager
def gateways(
    sandbox: RunningSandbox,
    folder: Path,
    *,
    database_url: str,
    count: int = 2,
    amend: Amend | None = None,
    environ: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    broken: bool = False,
) -> Iterator[list[Gateway]]:
    """
    Run gateways on one ledger while the block lasts, each a process of its own; all are started at the same moment.

    Args:
        sandbox: their upstreams.
        folder: for their configuration and logs; made where it is missing.
        database_url: of the ledger.
        count: how many.
        amend: changes their configuration.
        environ: more of their environment.
        options: more of their command line.
        broken: whether a test breaks something of theirs, so that errors in their logs are no defect.
    """
    ours = {"MASKGATE_DATABASE_URL": database_url, **(environ or {})}
    with ExitStack() as stack:
        started = [
            stack.enter_context(_started(sandbox, folder / str(place), amend, ours, options, broken=broken))
            for place in range(count)
        ]
        said = [_said(process, folder / str(place)) for place, process in enumerate(started)]
        folders = [folder / str(place) for place in range(count)]
        keys = [key_in(each) for each in folders if (each / "key").exists()]
        yield [
            Gateway(_address(each), process, folder / str(place), bearing(keys[0]) if keys else {})
            for place, (process, each) in enumerate(zip(started, said, strict=True))
        ]


@contextmanager
def _started(
    sandbox: RunningSandbox,
    folder: Path,
    amend: Amend | None,
    environ: Mapping[str, str],
    options: Sequence[str],
    *,
    broken: bool,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start one, and end it unless somebody else has."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "maskgate.yaml"
    file.write_text(configured(sandbox, amend), encoding="utf-8")
    ours = {"MASKGATE_STATE_DIR": str(folder), **environ}
    with (folder / "gateway.log").open("a", encoding="utf-8") as log, (folder / SAID).open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli.main", "serve", "--port", "0", "--config", str(file), *options],
            env=outside() | ours,
            stdout=log,
            stderr=said,
        )
    try:
        yield process
        if not broken:
            assert_nothing_broke(folder)
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=40)
        if process.poll() is None:
            process.kill()
        process.wait()


def _said(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Return what a gateway says until it answers requests."""
    file = folder / SAID
    until(lambda: process.poll() is not None or re.search("Maskgate on .*\n", file.read_text()) is not None)
    said = file.read_text()
    if process.poll() is not None:
        pytest.fail(f"a gateway ended without having started: {said}")
    return said


def _address(said: str) -> str:
    found = re.search(r"Maskgate on (http://[^ ,\n]+)", said)
    assert found is not None
    return found[1]


@asynccontextmanager
async def gateways_beside(*arguments: Any, **options: Any) -> AsyncIterator[list[Gateway]]:
    """Do as `gateways` does, and leave the event loop free meanwhile: for what the test itself serves to them."""
    running_ = gateways(*arguments, **options)
    started = await asyncio.to_thread(running_.__enter__)
    try:
        yield started
    finally:
        await asyncio.to_thread(running_.__exit__, *sys.exc_info())


@dataclass(frozen=True, slots=True)
class Here:
    """A gateway in this process."""

    url: str
    admin: Mapping[str, str]
    """The header that shows the first key; empty where the ledger was there."""


@contextmanager
def gateway_here(
    sandbox: RunningSandbox,
    folder: Path,
    *,
    database_url: str = "",
    redis_url: str = "",
    amend: Amend | None = None,
    wall: Callable[[], float] = time.time,
    broken: bool = False,
) -> Iterator[Here]:
    """Run a gateway on a thread of this process while the block lasts; *broken* is as with `gateways`."""
    folder.mkdir(parents=True, exist_ok=True)
    environ = {
        "MASKGATE_STATE_DIR": str(folder),
        "MASKGATE_DATABASE_URL": database_url,
        "MASKGATE_REDIS_URL": redis_url,
    }
    settings = settings_from_yaml(configured(sandbox, amend), environ=environ)
    shown: list[str] = []
    with (
        (folder / "gateway.log").open("a", encoding="utf-8") as log,
        running(lambda: create_app(settings, log_to=log, show=shown.append, wall=wall)) as url,
    ):
        yield Here(url, bearing(shown[0]) if shown else {})
    if not broken:
        assert_nothing_broke(folder)


def bearing(key: str) -> dict[str, str]:
    """Return the header that shows a key."""
    return {"Authorization": f"Bearer {key}"}


class Office:
    """The administrator of a gateway."""

    def __init__(self, gateway: Gateway | Here, session: aiohttp.ClientSession) -> None:
        """Look after keys and budgets with a gateway's first key."""
        self._caller, self._admin = Caller(gateway.url, session), gateway.admin

    async def send(self, method: str, path: str, *, status: int = 200, json: Any = None) -> Reply:
        """Ask for anything that an administrator may."""
        return await self._caller.send(method, path, status=status, json=json, headers=self._admin)

    async def key(self, tenant: str = "acme", **wishes: Any) -> tuple[str, dict[str, str]]:
        """Make a key that may segment and read usage, unless other wishes are made; return its id and its header."""
        made = await self.send(
            "POST", "/admin/v1/keys", json={"tenant": tenant, "scopes": ["segment", "usage"], **wishes}, status=201
        )
        return made.body["id"], bearing(made.body["key"])

    async def rotate(self, key_id: str, **wishes: Any) -> dict[str, str]:
        """Give a key another secret; return its header."""
        rotated = await self.send("POST", f"/admin/v1/keys/{key_id}/rotate", json=wishes)
        assert key_id == rotated.body["id"]
        return bearing(rotated.body["key"])

    async def revoke(self, key_id: str) -> None:
        """Make a key good for nothing."""
        revoked = await self.send("DELETE", f"/admin/v1/keys/{key_id}")
        assert "revoked" == revoked.body["status"]

    async def budget(self, limit_usd: str, *, tenant: str = "acme", **wishes: Any) -> str:
        """Set a budget in all, unless other wishes are made; return its id."""
        body = {"tenant": tenant, "limit_usd": limit_usd, "period": "total", **wishes}
        return str((await self.send("PUT", "/admin/v1/budgets", json=body)).body["id"])

    async def standing(self, *, tenant: str = "acme") -> dict[str, tuple[int, int, int]]:
        """Return limit, spent and reserved of each of a tenant's budgets, in micro-dollars, by the budget's subject."""
        listed = await self.send("GET", f"/admin/v1/budgets?tenant={tenant}&limit=1000")
        return {
            each["subject"]: (each["limit_microusd"], each["spent_microusd"], each["reserved_microusd"])
            for each in listed.body["budgets"]
        }
