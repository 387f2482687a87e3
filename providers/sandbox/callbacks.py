"""
Callbacks of the fake Runflow: one POST when a run has ended, to addresses on this machine only.

Unsigned, as the service does while no signing secret is configured.

Source: docs.runflow.io/models/meta/sam-3/image (body, `Runflow-Request-Id`, three attempts with 1 s and 2 s between
them, on 5xx and network errors only); read 2026-11-20.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import orjson

from providers.sandbox.pictures import is_loopback
from providers.sandbox.runflow import Runflow
from providers.sandbox.runflow_record import duration_ms, moment, output
from providers.sandbox.runflow_run import Run

_log = logging.getLogger(__name__)

_EVENTS = {"succeeded": "run.completed", "failed": "run.failed"}
_ATTEMPT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Tells callers that their runs have ended."""

    runflow: Runflow
    session: aiohttp.ClientSession
    origin: str
    """Scheme, host and port under which outputs are served."""
    pauses: tuple[float, ...] = (1.0, 2.0)
    """Seconds between the attempts."""

    async def deliver(self, run: Run) -> None:
        """Post the end of *run* to its `callback_url`."""
        url = run.request.callback_url or ""
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            host = ""
        if not is_loopback(host):
            _log.warning("no callback for run %s: the sandbox calls this machine only, not %r", run.id, host)
            return
        for pause in (*self.pauses, None):
            if await self._accepted(url, run) or pause is None:
                return
            await asyncio.sleep(pause)

    async def _accepted(self, url: str, run: Run) -> bool:
        """Make one attempt; say whether there is no reason for another."""
        headers = {"Content-Type": "application/json", "Runflow-Request-Id": str(uuid.uuid4())}
        timeout = aiohttp.ClientTimeout(total=_ATTEMPT_SECONDS)
        try:
            async with self.session.post(url, data=self._body(run), headers=headers, timeout=timeout) as answer:
                return answer.status < 500
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            _log.info("callback of run %s did not arrive: %s", run.id, type(error).__name__)
            return False

    def _body(self, run: Run) -> bytes:
        """Return the documented body."""
        return orjson.dumps(
            {
                "event": _EVENTS[run.status],
                "run_id": run.id,
                "status": run.status,
                "output": output(run, writing=self.runflow.writing, address=self.runflow.address(run, self.origin)),
                "duration_ms": duration_ms(run),
                "created_at": moment(run.created_at),
                "completed_at": moment(run.completed_at),
                "metadata": run.request.metadata,
            }
        )
