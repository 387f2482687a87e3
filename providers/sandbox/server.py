"""The sandbox as a whole: a control server and three upstreams, each on a port of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

import aiohttp
from aiohttp import web

from providers.contract import Workers
from providers.local.classic import ClassicEngine
from providers.sandbox import prodia, runflow, runflow_errors
from providers.sandbox.bench import Bench
from providers.sandbox.books import Books
from providers.sandbox.config import CONTROL, UPSTREAMS, UpstreamPlan, ports
from providers.sandbox.control import Control
from providers.sandbox.documented import ADDRESSES, GENERATED
from providers.sandbox.faults import Steps
from providers.sandbox.prodia_work import Work
from providers.sandbox.region import Places, Region
from providers.sandbox.scene import Scene
from providers.sandbox.scenes import paint_scenes
from providers.sandbox.segmenting import Segmenter
from providers.sandbox.strikes import ErrorAnswer, Strikes
from providers.sandbox.upstream import Listener, Upstream, seeded

_PAINTED_PIXELS = 4_500_000
"""About what all scenes hold together."""
_FETCHES_AT_ONCE = 64


class Sandbox:
    """A running sandbox."""

    def __init__(self, host: str, clock: Callable[[], float], random_seed: int) -> None:
        """Prepare; `start` is what to call."""
        self._host = f"[{host}]" if ":" in host else host
        self._clock = clock
        self._random_seed = random_seed
        self._books = Books(clock)
        self._upstreams: dict[str, Upstream] = {}
        self._regions: dict[str, Region] = {}
        self._prodias: dict[str, prodia.Prodia] = {}
        self._scenes: Mapping[str, Scene] = {}
        self._control: Listener | None = None
        self._open = AsyncExitStack()

    @classmethod
    async def start(
        cls,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        workers: Workers,
        clock: Callable[[], float] = time.time,
        random_seed: int = 0,
        run_seconds: float = 0.009,
        output_seconds: int = 259_200,
        strict: bool = False,
    ) -> Sandbox:
        """
        Start the four servers.

        Args:
            host: address to listen on.
            port: of the control server, the upstreams follow on the next three; 0 for any free ports.
            workers: what decodes, encodes and segments; let nobody else fill its queue.
            clock: seconds since the epoch: for dates, and for the expiry of signed addresses.
            random_seed: of the chances by which a fault with a share strikes.
            run_seconds: the least time that a run or a job takes.
            output_seconds: how long addresses of outputs are good; three days were seen in the wild.
            strict: whether every upstream refuses fields that its documents do not name; Runflow's do so anyway.

        Raises:
            PortTaken: naming the port that somebody else has.
            ValueError: *port* leaves no room for the upstreams.
        """
        sandbox = cls(host, clock, random_seed)
        try:
            await sandbox._start(host, ports(port), workers, run_seconds, output_seconds)
            for jobs in sandbox._prodias.values():
                jobs.strict = strict
        except BaseException:
            await sandbox.stop()
            raise
        return sandbox

    @property
    def control_url(self) -> str:
        """The base URL of the control server."""
        assert self._control is not None
        return f"http://{self._host}:{self._control.port}"

    @property
    def upstreams(self) -> Mapping[str, str]:
        """The base URL of each upstream."""
        return {name: upstream.base_url(self._host) for name, upstream in self._upstreams.items()}

    async def stop(self) -> None:
        """End all calls and work, and close the ports."""
        await self._open.aclose()

    async def _start(
        self, host: str, wanted: tuple[int, ...], workers: Workers, run_seconds: float, output_seconds: int
    ) -> None:
        """Build and start everything, in the order in which it is stopped backwards."""
        bench = Bench(workers)
        scenes = await bench.run(paint_scenes, pixels=_PAINTED_PIXELS)
        self._scenes = {scene.name: scene for scene in scenes}
        segmenter = Segmenter(scenes, ClassicEngine(), bench)
        self._open.push_async_callback(segmenter.stop)
        connector = aiohttp.TCPConnector(limit=_FETCHES_AT_ONCE)
        session = await self._open.enter_async_context(aiohttp.ClientSession(connector=connector))
        for plan, port in zip(UPSTREAMS, wanted[1:], strict=True):
            if plan.provider == "runflow":
                await self._start_runflow(plan, (host, port), segmenter, session, run_seconds, output_seconds)
            else:
                await self._start_prodia(plan, (host, port), segmenter, run_seconds)
        control = Control(
            upstreams=self._upstreams,
            regions=self._regions,
            prodias=self._prodias,
            scenes=self._scenes,
            books=self._books,
        )
        self._control = Listener(CONTROL, control.app())
        self._open.push_async_callback(self._control.stop)
        await self._control.start(host, wanted[0])

    async def _start_runflow(
        self,
        plan: UpstreamPlan,
        address: tuple[str, int],
        segmenter: Segmenter,
        session: aiohttp.ClientSession,
        run_seconds: float,
        output_seconds: int,
    ) -> None:
        """Start one region of Runflow."""
        files = {scene.file_name: scene.file for scene in self._scenes.values()}
        region = Region(
            plan,
            segmenter=segmenter,
            session=session,
            books=self._books,
            clock=self._clock,
            run_seconds=run_seconds,
            output_seconds=output_seconds,
            places=Places(
                base=lambda: self.upstreams[plan.name],
                webhook=lambda: f"{self.control_url}/webhook",
                known={url: files[name] for url, name in ADDRESSES.items()},
            ),
        )
        self._open.push_async_callback(region.runs.stop)
        strikes = self._strikes(plan, runflow_errors.error_answer)
        await self._listen(plan, address, runflow.STEPS, strikes, region.app(strikes))
        self._regions[plan.name] = region

    async def _start_prodia(
        self, plan: UpstreamPlan, address: tuple[str, int], segmenter: Segmenter, run_seconds: float
    ) -> None:
        """Start Prodia."""
        work = Work(
            plan,
            segmenter=segmenter,
            books=self._books,
            clock=self._clock,
            run_seconds=run_seconds,
            generated=self._scenes[GENERATED],
        )
        jobs = prodia.Prodia(work)
        self._open.push_async_callback(jobs.stop)
        strikes = self._strikes(plan, prodia.error_answer)
        await self._listen(plan, address, prodia.STEPS, strikes, jobs.app(strikes))
        self._prodias[plan.name] = jobs

    def _strikes(self, plan: UpstreamPlan, error_answer: ErrorAnswer) -> Strikes:
        """Return the fault layer of one upstream."""
        return Strikes(
            plan.name,
            self._books,
            chance=seeded(self._random_seed, plan.name),
            clock=self._clock,
            error_answer=error_answer,
        )

    async def _listen(
        self, plan: UpstreamPlan, address: tuple[str, int], steps: Steps, strikes: Strikes, app: web.Application
    ) -> None:
        """Put one upstream on its port."""
        listener = Listener(plan.name, app)
        self._open.push_async_callback(listener.stop)
        await listener.start(*address)
        self._upstreams[plan.name] = Upstream(plan, steps, listener, strikes)
