"""
`Idempotency-Key` around an endpoint: the first request with a key is worked on, all others get its answer.

What is kept, and so answered again to the byte: every answer, and every problem of a request for which a provider was
asked, whatever came of that. What is not kept, so that the key is free again: a problem that was found before any
attempt was made, such as a wrong field, a picture that cannot be fetched, a used-up budget, or no ledger.

The work is the gateway's and not the connection's: a caller who hangs up finds the answer under the key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from gateway.accounting import LedgerUnavailable
from gateway.admission.idempotency import HEADER, fingerprint
from gateway.api.problems import foreseen
from gateway.api.trace import Trace, problem_message
from gateway.cache.flight import Flights
from gateway.intake.body import SegmentationBody
from gateway.intake.picture import PictureSource
from gateway.problems import (
    GatewayError,
    IdempotencyConflict,
    IdempotencyMismatch,
    InternalError,
    LedgerDown,
    Overloaded,
    short_of,
)
from gateway.store.remembered import Claim, Interrupted, Remembered, RememberedAnswer, Turn
from providers.contract import Deadline, Sleep, Workers

Work = Callable[[], Coroutine[Any, Any, Response]]

#: How long past its deadline a request may take to bring its answer on disk, before its owner is taken for dead. Longer
#: than the flow's landing, the writing of the answer, and what replicas' clocks differ by.
LEASE_BEYOND_DEADLINE_SECONDS = 15.0

#: How long past its own deadline a request waits for the first one, which ends a little after the deadline they share.
LANDING_SECONDS = 1.0

REPLAYED = "Idempotent-Replayed"

#: The headers that are the answer's own; the others are the call's: its id, its date, what is left of its limits.
KEPT_HEADERS = frozenset({"cache-control", "content-type", "server-timing"})
KEPT_PREFIX = "maskgate-"

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
_PRUNE_SECONDS = 60.0
_PRUNE_STEP = 50

GOES_ON = f"the first request with this {HEADER} is still being worked on; send the same again a little later"
CANNOT_REMEMBER = (
    f"the database does not answer, so that nothing can be remembered under the {HEADER}, and nothing was spent; try "
    "again shortly"
)
MISMATCH = f"this {HEADER} was sent with another request before; send that one again, or take a new key"
BROKE = "the gateway failed; the log has it under request_id"


@dataclass(frozen=True, slots=True)
class Keyed:
    """A request with a key."""

    tenant: str
    key: str
    fingerprint: str
    answer_id: str
    """What the ledger will call the request, if it is the first one with its key."""
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class _Ended:
    """How the work under a key ended, where something is remembered of it."""

    kept: RememberedAnswer
    own: Response | GatewayError | None
    """What the first caller gets; None where the answer is an earlier request's."""


class Once:
    """The work under keys in this process, and the memory that all processes share."""

    def __init__(
        self,
        remembered: Remembered,
        *,
        ledger_up: Callable[[], bool],
        new_id: Callable[[str], str],
        sleep: Sleep,
        log: Any,
    ) -> None:
        """
        Remember in a database.

        Args:
            remembered: the answers there.
            ledger_up: whether the database answers, as far as is known: where not, it is not waited for.
            new_id: makes an id with that prefix.
            sleep: waits between looks at what another process does, and before a failed write is tried again.
            log: gets a line where an answer could not be kept at once.
        """
        self._remembered = remembered
        self._ledger_up = ledger_up
        self._new_id = new_id
        self._sleep = sleep
        self._log = log
        self._flights: Flights[_Ended] = Flights()
        self._late: set[asyncio.Task[None]] = set()

    async def answer(self, asked: Keyed, trace: Trace, work: Work) -> Response:
        """
        Do the work, or wait for it, or return what came of it before.

        Args:
            asked: the request and its key.
            trace: of this call; where an answer is replayed, it gets the first one's outcome.
            work: makes the answer, or raises its problem; called at most once.

        Raises:
            GatewayError: the work's own problem, or the key's.
        """
        name = (asked.tenant, asked.key, asked.fingerprint)
        joined = name in self._flights
        patience = asked.deadline.remaining() + LANDING_SECONDS if joined else None
        try:
            async with asyncio.timeout(patience):
                ended = await self._flights.join(name, lambda: self._first(asked, trace.request_id, work))
        except TimeoutError:
            raise IdempotencyConflict(GOES_ON, field=HEADER, retry_after_seconds=1.0) from None
        except GatewayError as problem:
            raise problem.without_attempts() if joined else problem from None
        if joined or ended.own is None:
            return _replay(ended.kept, trace)
        if isinstance(ended.own, GatewayError):
            raise ended.own
        return ended.own

    async def land(self, left: Callable[[], float]) -> None:
        """Wait for the work to end and for late answers to be written, as many seconds as are left; cancel the rest."""
        await self._flights.land(left())
        if self._late:
            _, unwritten = await asyncio.wait(set(self._late), timeout=left())
            for task in unwritten:
                task.cancel()
            if unwritten:
                await asyncio.wait(unwritten)

    async def prune_forever(self) -> None:
        """Remove what has expired, now and every minute, in steps that keep nobody waiting."""
        while True:
            try:
                removed = await self._remembered.prune(_PRUNE_STEP)
            except LedgerUnavailable as error:
                self._log.warning("idempotency_not_pruned", reason=str(error))
                removed = 0
            await self._sleep(_FIRST_PAUSE_SECONDS if removed == _PRUNE_STEP else _PRUNE_SECONDS)

    async def _first(self, asked: Keyed, request_id: str, work: Work) -> _Ended:
        """
        Take the turn and do the work; or return what was answered before.

        Raises:
            GatewayError: nothing is kept, and why.
        """
        claim = Claim(asked.tenant, asked.key, asked.fingerprint, asked.answer_id, self._new_id("own"))
        earlier = await self._take_turn(claim, asked.deadline)
        if earlier is not None:
            return _Ended(earlier, None)
        try:
            response = await work()
        except Exception as error:  # noqa: BLE001 - each kind becomes a problem, and the unforeseen one is logged
            return await self._failed(claim, self._problem(error, request_id), request_id)
        kept = _remember(claim.request_id, response.status_code, response.headers.items(), bytes(response.body))
        await self._keep(claim, kept)
        return _Ended(kept, response)

    async def _take_turn(self, claim: Claim, deadline: Deadline) -> RememberedAnswer | None:
        """
        Wait until nobody else works under the key; return the answer where there is one, and None for the turn.

        Raises:
            GatewayError: there is neither.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            standing = await self._begin(claim, deadline)
            if isinstance(standing, RememberedAnswer):
                return standing
            if standing is Turn.BEGUN:
                return None
            if standing is Turn.DIFFERENT:
                raise IdempotencyMismatch(MISMATCH, field=HEADER)
            if isinstance(standing, Interrupted):
                raise IdempotencyConflict(_interrupted(standing), field=HEADER)
            running = True
            while running:
                if deadline.remaining() < pause:
                    raise IdempotencyConflict(GOES_ON, field=HEADER, retry_after_seconds=1.0)
                await self._sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                running = await self._running(claim)

    async def _begin(self, claim: Claim, deadline: Deadline) -> Turn | RememberedAnswer | Interrupted:
        """Ask for the turn, unless the database is known to be gone."""
        if not self._ledger_up():
            raise LedgerDown(CANNOT_REMEMBER, retry_after_seconds=1.0)
        lease = deadline.remaining() + LEASE_BEYOND_DEADLINE_SECONDS
        try:
            return await self._remembered.begin(claim, lease_seconds=lease)
        except LedgerUnavailable as error:
            raise _cannot_remember(error) from error

    async def _running(self, claim: Claim) -> bool:
        """Whether another process works under the key."""
        try:
            return await self._remembered.running(claim)
        except LedgerUnavailable as error:
            raise _cannot_remember(error) from error

    async def _failed(self, claim: Claim, problem: GatewayError, request_id: str) -> _Ended:
        """
        Keep a problem for which a provider was asked.

        Raises:
            GatewayError: the problem; no attempt was made, or nobody knows, and whoever comes next will look.
        """
        try:
            # Too much at once here is no answer of a provider: whoever comes back as told has to find the key free.
            free = await self._remembered.release(claim, though_released=isinstance(problem, Overloaded))
        except LedgerUnavailable as error:
            self._log.warning("idempotency_left_open", request_id=request_id, reason=str(error))
            raise problem from None
        if free:
            raise problem
        status, headers, body = problem_message(problem, request_id)
        kept = _remember(claim.request_id, status, headers.items(), body)
        await self._keep(claim, kept)
        return _Ended(kept, problem)

    def _problem(self, error: Exception, request_id: str) -> GatewayError:
        """Return what the caller is told of a failure; log the one that nobody foresaw."""
        problem = foreseen(error)
        if problem is not None:
            return problem
        self._log.error("request_broke", request_id=request_id, exc_info=error)
        return InternalError(BROKE)

    async def _keep(self, claim: Claim, kept: RememberedAnswer) -> None:
        """
        Put the answer on disk before anybody has it; where the database is gone, as soon as it is back.

        One that comes so late that its turn has gone to another is not kept. No call was billed for it: only then does
        a key change hands.
        """
        try:
            if not await self._remembered.finish(claim, kept):
                self._log.warning("idempotency_turn_lost", answer_id=kept.request_id)
        except LedgerUnavailable as error:
            self._log.warning("idempotency_kept_late", answer_id=kept.request_id, reason=str(error))
            task = asyncio.create_task(self._keep_late(claim, kept), name="idempotency, kept late")
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    async def _keep_late(self, claim: Claim, kept: RememberedAnswer) -> None:
        """Offer the answer until it is written."""
        while True:
            await self._sleep(_LONGEST_PAUSE_SECONDS)
            if not self._ledger_up():
                continue
            try:
                await self._remembered.finish(claim, kept)
            except LedgerUnavailable:
                continue  # it was logged when it failed first, and the journal says that the database is gone
            return


async def fingerprint_of(
    method: str, path: str, body: SegmentationBody, source: PictureSource, workers: Workers
) -> str:
    """
    Return the fingerprint of a request for a segmentation that was read and checked.

    Only what the caller has written counts, so that a later release with more fields knows the request again.
    """
    asked = orjson.dumps(body.model_dump(mode="json", exclude_unset=True), option=orjson.OPT_SORT_KEYS)
    return await workers.run(
        lambda: fingerprint(method, path, asked, source.part), pixels=len(asked) + len(source.part or b"")
    )


def _cannot_remember(error: LedgerUnavailable) -> GatewayError:
    """Return the problem of a key that cannot be looked up."""
    if error.shortage is not None:
        return short_of(error.shortage)
    return LedgerDown(CANNOT_REMEMBER, retry_after_seconds=1.0)


def _remember(request_id: str, status: int, headers: Any, body: bytes) -> RememberedAnswer:
    """Return an answer without what belongs to the call that brought it."""
    own = [(name, value) for name, value in headers if name.lower() in KEPT_HEADERS or _ours(name)]
    return RememberedAnswer(request_id, status, tuple(own), body)


def _ours(name: str) -> bool:
    return name.lower().startswith(KEPT_PREFIX)


def _replay(kept: RememberedAnswer, trace: Trace) -> Response:
    """
    Return an answer again.

    Raises:
        IdempotencyConflict: it is not there any more.
    """
    trace.answer_id = kept.request_id
    if kept.body is None:
        raise IdempotencyConflict(
            f"the request with this {HEADER} was answered as {kept.request_id}, and that answer is not kept any more; "
            "it is not made a second time. Take a new key to ask anew",
            field=HEADER,
        )
    if kept.status >= 400:
        trace.outcome = str(orjson.loads(kept.body)["code"])
    return Response(kept.body, status_code=kept.status, headers={**dict(kept.headers), REPLAYED: "true"})


def _interrupted(standing: Interrupted) -> str:
    """Say that the key is used up."""
    return (
        f"the first request with this {HEADER} ({standing.request_id}) was interrupted; of its provider calls "
        f"{standing.settled} are charged and {standing.unknown} on hold, so that it is not made a second time. Take a "
        "new key to ask anew"
    )
