"""
The upstreams of the works about load: regions on ports of their own, which write down when each call came and left.

    python -m tests.benchmarks.load_regions CONTROL_PORT NAME:PORT...

Why not the sandbox: its books know what it billed, and not when a call that it refused came. Here every call has its
moments, in monotonic seconds, which on Linux is one clock for all processes. `PUT /NAME` on the control port changes
how a region behaves, `GET /calls` returns what all of them wrote down.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import orjson
from aiohttp import web

from providers.sandbox.upstream import Listener
from tests.benchmarks import question

HOST = "127.0.0.1"
SEED = 20261120
#: The shape of a region's log-normal answering times about their median.
SIGMA = 0.1
#: The one part of the upstream's answer that is another one each time.
JOB_ID = b"0b6c2f2e-3f0d-4b5e-9a55-1f2d3c4b5a69"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a region answers."""

    seconds: float
    """How long an answer takes: the median."""
    status: int = 200
    """Anything but 200 is answered at once."""
    retry_after: int | None = None
    """The header of that name, in seconds."""
    refuses: bool = False
    """Whether it takes no connections, and drops those that it has."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its region saw it."""

    region: str
    came: float
    """When its head had arrived, in monotonic seconds."""
    left: float
    """When its answer was handed to the network."""
    status: int
    job: str | None
    """What the answer says that the job is called, and is billed by; None for a failure."""


class Region:
    """One upstream."""

    def __init__(self, name: str, calls: list[Call], chance: random.Random) -> None:
        """Answer at once, and note in *calls*."""
        self.name = name
        self.behaviour = Behaviour(0)
        app = web.Application()
        app.router.add_post("/v2/job", self._answer)
        self.listener = Listener(name, app)
        self._calls = calls
        self._chance = chance

    async def behave(self, behaviour: Behaviour) -> None:
        """Answer so from now on; calls under way end as they began."""
        self.behaviour = behaviour
        if behaviour.refuses:
            await self.listener.shut()
        else:
            await self.listener.open()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        came, behaviour = time.monotonic(), self.behaviour
        await request.read()
        job = None
        if behaviour.status == 200:
            await asyncio.sleep(behaviour.seconds * self._chance.lognormvariate(0, SIGMA))
            job = str(uuid4())
            answer = web.Response(
                body=question.upstream_answer().replace(JOB_ID, job.encode()),
                headers={"Content-Type": f"multipart/form-data; boundary={question.BOUNDARY}"},
            )
        else:
            answer = web.json_response({"error": "made for a benchmark"}, status=behaviour.status)
            if behaviour.retry_after is not None:
                answer.headers["Retry-After"] = str(behaviour.retry_after)
        await answer.prepare(request)
        await answer.write_eof()
        self._calls.append(Call(self.name, came, time.monotonic(), behaviour.status, job))
        return answer


async def serve(control_port: int, ports: dict[str, int]) -> None:
    """Run the regions until SIGTERM."""
    calls: list[Call] = []
    chance = random.Random(SEED)
    regions = {name: Region(name, calls, chance) for name in ports}
    for name, port in ports.items():
        await regions[name].listener.start(HOST, port)

    async def put(request: web.Request) -> web.Response:
        wanted: dict[str, Any] = orjson.loads(await request.read())
        await regions[request.match_info["name"]].behave(Behaviour(**wanted))
        return web.Response(status=204)

    async def get(_request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps([asdict(call) for call in calls]), content_type="application/json")

    app = web.Application()
    app.add_routes([web.put("/{name}", put), web.get("/calls", get)])
    control = web.AppRunner(app, access_log=None)
    await control.setup()
    await web.TCPSite(control, HOST, control_port).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await control.cleanup()
    for region in regions.values():
        await region.listener.stop()


if __name__ == "__main__":
    asyncio.run(
        serve(int(sys.argv[1]), {name: int(port) for name, _, port in (each.partition(":") for each in sys.argv[2:])})
    )
