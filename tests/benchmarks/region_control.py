"""Run the two regions of `regions.py`, tell them how to take calls, and read what they have noted."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.processes import serving
from tests.benchmarks.region_calls import Call
from tests.benchmarks.regions import Way
from tests.ports import free_row

ROOT = Path(__file__).resolve().parents[2]
NEAR, FAR = "near", "far"
#: Of one line on the control port: the calls of a phase stand in one.
MOST_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the regions listen."""

    near: int
    far: int
    control: int

    def url(self, region: str) -> str:
        """Return a region's endpoint."""
        return f"http://127.0.0.1:{self.near if region == NEAR else self.far}/v2"


@contextmanager
def regions_running(*, folder: Path, core: int) -> Iterator[Ports]:
    """Serve both regions until the block ends."""
    folder.mkdir()
    ports = Ports(free_row(1), free_row(1), free_row(1))
    command = [sys.executable, "-m", "tests.benchmarks.regions", "--control", str(ports.control)]
    command += ["--region", f"{NEAR}={ports.near}", "--region", f"{FAR}={ports.far}"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with serving(command, core=core, port=ports.control, log=folder / "regions.log", environ=environ):
        yield ports


class Control:
    """The other end of the regions' control port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak over an open connection."""
        self._reader = reader
        self._writer = writer

    async def change(self, region: str, way: Way) -> None:
        """Have a region take calls in another way; return once it does."""
        await self._told({"region": region, "way": way})

    async def calls(self) -> list[Call]:
        """Return the calls since this was last asked."""
        return [Call(*noted) for noted in await self._told({"calls": True})]

    async def _told(self, what: object) -> list[tuple[str, int, float, float | None, int | None]]:
        self._writer.write(json.dumps(what).encode() + b"\n")
        told: list[tuple[str, int, float, float | None, int | None]] = json.loads(await self._reader.readline())
        return told


@asynccontextmanager
async def controlled(port: int) -> AsyncIterator[Control]:
    """Connect to the control port until the block ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MOST_BYTES)
    try:
        yield Control(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
