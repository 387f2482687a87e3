"""
Callbacks of the fake Runflow: one POST when a run has ended, to addresses on this machine only.

Source: docs.runflow.io/models/meta/sam-3/image (body, events, `Runflow-Request-Id` always and `Runflow-Signature` where
there is a secret), concepts/callbacks (run.partial_succeeded, the error envelope), api-reference (fields of a delivery
record); read 2026-11-20. When they are tried again is a habit, since two documents differ.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from providers.sandbox.answer import write_json
from providers.sandbox.callback_secrets import CallbackSecrets, signature
from providers.sandbox.documented import WEBHOOK
from providers.sandbox.faults import Fault, Kind, find
from providers.sandbox.pictures import is_loopback
from providers.sandbox.runflow import Runflow
from providers.sandbox.runflow_record import duration_ms, moment, output
from providers.sandbox.runflow_run import Run
from providers.sandbox.runflow_twists import has_nan
from providers.sandbox.shelf import Shelf

_log = logging.getLogger(__name__)

_ENDS = {
    "succeeded": ("run.completed", "succeeded"),
    "partial_succeeded": ("run.partial_succeeded", "partial_succeeded"),
    "failed": ("run.failed", "failed"),
    "canceled": ("run.cancelled", "cancelled"),
    "cancelled": ("run.cancelled", "cancelled"),
}
"""Event and status in a callback, by the status of the run."""

_ATTEMPT_SECONDS = 10
_MOST_ECHOED = 1000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST."""

    status_code: int | None
    """None where no answer came."""
    response_body: str | None
    response_time_ms: int
    error_message: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One callback and its attempts."""

    id: str
    run_id: str
    url: str
    payload: bytes
    secret_id: str | None
    automatic: bool
    attempts: tuple[Attempt, ...]


class Callbacks:
    """Tells callers that their runs have ended, and keeps what came of it."""

    def __init__(
        self,
        runflow: Runflow,
        secrets: CallbackSecrets,
        session: aiohttp.ClientSession,
        origin: Callable[[], str],
        *,
        webhook: Callable[[], str],
    ) -> None:
        """
        Post over *session*.

        Args:
            runflow: writes outputs, and says when a delivery is tried again.
            secrets: sign.
            session: makes the connections.
            origin: returns where outputs are.
            webhook: returns the address that stands for the one in Runflow's examples.
        """
        self.secrets = secrets
        self._runflow = runflow
        self._session = session
        self._origin = origin
        self._webhook = webhook
        self._deliveries: Shelf[tuple[Delivery, ...]] = Shelf(most=20_000, most_bytes=64_000_000)

    @property
    def most_attempts(self) -> int:
        """How often a callback is tried."""
        return 1 + len(self._runflow.habits.callback_pauses)

    def of(self, run_id: str) -> tuple[Delivery, ...]:
        """Return what was delivered about a run, the oldest first."""
        return self._deliveries.get(run_id) or ()

    async def deliver(self, run: Run) -> None:
        """Tell the end of *run*, as often and as truly as its faults have it; later on, simply tell it again."""
        again = run.told.is_set()
        fault = None if again else find(run.faults, Kind.CALLBACK)
        try:
            if fault is not None:
                await asyncio.sleep(fault["late_seconds"])
                for _ in range(fault["forgeries"]):
                    await self._post(run, self._forged(run), signed_by="nobody's secret")
            for _ in range(1 if fault is None else fault["copies"]):
                await self._tell(run, fault, automatic=not again)
        finally:
            run.told.set()

    async def _tell(self, run: Run, fault: Fault | None, *, automatic: bool) -> None:
        """Post the end of a run until it is taken or given up."""
        body = self._body(run, error_output=fault is not None and fault["error_output"])
        signing = "good" if fault is None else fault["signature"]
        signed = self.secrets.sign(body) if signing == "good" else None
        delivery = str(uuid.uuid4())
        attempts: list[Attempt] = []
        habits = self._runflow.habits
        for pause in (*habits.callback_pauses, None):
            by = "nobody's secret" if signing == "wrong" else None
            attempt = await self._post(run, body, signature_text=signed[1] if signed else None, signed_by=by)
            attempts.append(attempt)
            if habits.callback_is_final(attempt.status_code) or pause is None:
                break
            await asyncio.sleep(pause)
        secret_id = signed[0] if signed else None
        url = run.request.callback_url or ""
        self._keep(Delivery(delivery, run.id, url, body, secret_id, automatic, tuple(attempts)))

    async def _post(
        self, run: Run, body: bytes, *, signature_text: str | None = None, signed_by: str | None = None
    ) -> Attempt:
        """Make one attempt, with that signature or with one under that secret."""
        url = run.request.callback_url or ""
        url = self._webhook() if url == WEBHOOK else url
        if not _is_near(url):
            _log.warning("no callback for run %s: the sandbox calls this machine only, not %r", run.id, url)
            return Attempt(400, None, 0, "the sandbox calls this machine only")
        headers = {"Content-Type": "application/json", "Runflow-Request-Id": str(uuid.uuid4())}
        told = signature(signed_by, body) if signed_by is not None else signature_text
        if told is not None:
            headers["Runflow-Signature"] = told
        timeout = aiohttp.ClientTimeout(total=_ATTEMPT_SECONDS)
        began = time.monotonic()
        try:
            async with self._session.post(
                url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                text = (await answer.content.read(_MOST_ECHOED)).decode("utf-8", "replace")
                return Attempt(answer.status, text, _ms_since(began), None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            _log.info("callback of run %s did not arrive: %s", run.id, type(error).__name__)
            return Attempt(None, None, _ms_since(began), type(error).__name__)

    def _keep(self, delivery: Delivery) -> None:
        """Keep a delivery with the earlier ones about its run."""
        kept = (*self.of(delivery.run_id), delivery)
        self._deliveries.put(delivery.run_id, kept, size=sum(len(one.payload) for one in kept))

    def _body(self, run: Run, *, error_output: bool) -> bytes:
        """Return the documented body."""
        event, status = _ENDS[run.status]
        view = self._runflow.view(self._origin(), run.faults, inline=run.request.input.sync_mode)
        told = output(run, view)
        if error_output and run.failure is not None:
            told = {"error": {"code": run.failure.code, "message": run.failure.message}}
        return write_json(_payload(run, event, status, told), nan=has_nan(run.faults))

    def _forged(self, run: Run) -> bytes:
        """Return a body that claims the run failed."""
        return write_json(_payload(run, "run.failed", "failed", None))


def _payload(run: Run, event: str, status: str, told: dict[str, Any] | None) -> dict[str, Any]:
    """Return the documented fields."""
    return {
        "event": event,
        "run_id": run.id,
        "status": status,
        "output": told,
        "duration_ms": duration_ms(run),
        "created_at": moment(run.created_at),
        "completed_at": moment(run.completed_at),
        "metadata": run.request.metadata,
    }


def _is_near(url: str) -> bool:
    """Say whether an address is on this machine."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def _ms_since(began: float) -> int:
    """Return the milliseconds since a moment on the monotonic clock."""
    return round((time.monotonic() - began) * 1000)
