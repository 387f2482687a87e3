"""Where faults meet the wire: the outermost layer of every upstream, which also writes each answer out."""

from __future__ import annotations

import asyncio
import email.utils
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import orjson
from aiohttp import web

from providers.sandbox.answer import Answer, text_answer
from providers.sandbox.books import Books
from providers.sandbox.delivery import deliver, reset, until_gone
from providers.sandbox.error_shapes import shaped
from providers.sandbox.faults import Fault, Kind, Stage
from providers.sandbox.spoiling import spoil

Layer = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STRUCK: web.RequestKey[tuple[Fault, ...]] = web.RequestKey("struck", tuple[Fault, ...])


class ErrorAnswer(Protocol):
    """How one provider writes an error."""

    def __call__(self, status: int) -> Answer:
        """Return the answer with the provider's usual body for *status*."""
        ...


def struck(request: web.Request) -> tuple[Fault, ...]:
    """Return the faults that strike this call while it is processed."""
    return request[_STRUCK]


class Strikes:
    """The faults of one upstream, and their work on its calls."""

    def __init__(
        self,
        name: str,
        books: Books,
        *,
        chance: random.Random,
        clock: Callable[[], float],
        error_answer: ErrorAnswer,
    ) -> None:
        """Strike calls of the upstream *name*; *clock* tells seconds since the epoch."""
        self._name = name
        self._books = books
        self._chance = chance
        self._clock = clock
        self._error_answer = error_answer
        self._faults: tuple[Fault, ...] = ()
        self._left: list[int | None] = []
        self._requests: Counter[str] = Counter()

    @property
    def requests(self) -> Mapping[str, int]:
        """How many requests have come since the start, by the name of the call; `unknown` are those for no call."""
        return dict(self._requests)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that were put, the spent ones among them."""
        return self._faults

    def put(self, faults: tuple[Fault, ...]) -> None:
        """Put *faults* in the place of those that were on, each with all its times before it."""
        self._faults = faults
        self._left = [fault.times for fault in faults]

    @web.middleware
    async def layer(self, request: web.Request, handler: Layer) -> web.StreamResponse:
        """
        Let one call through, as whole as the faults leave it.

        A client that leaves ends this coroutine by cancellation, at any of its waits.
        """
        name = request.match_info.route.name or ""
        self._requests[name or "unknown"] += 1
        striking = self._striking(name.partition(".")[0])
        request[_STRUCK] = tuple(fault for fault in striking if fault.stage is Stage.WITHIN)
        for fault in striking:
            if fault.stage is Stage.WAIT:
                await asyncio.sleep(fault["seconds"])
        for fault in striking:
            if fault.stage is Stage.INSTEAD:
                return await self._instead(request, fault)
        answer = await handler(request)
        if not isinstance(answer, Answer):
            return answer
        spoils = [fault for fault in striking if fault.stage is Stage.SPOIL]
        for fault in spoils:
            spoil(answer, fault)

        def came() -> None:
            for call_id in () if spoils else answer.shows:
                self._books.answered(self._name, call_id)

        delivery = next((fault for fault in striking if fault.stage is Stage.DELIVERY), None)
        if delivery is not None:
            return await deliver(request, answer, delivery, came=came)
        await answer.prepare(request)
        await answer.write_eof()
        came()
        return answer

    def _striking(self, step: str) -> list[Fault]:
        """Return the faults that strike a call this time, and count it against their times."""
        striking = []
        for index, fault in enumerate(self._faults):
            left = self._left[index]
            if left != 0 and fault.strikes(step, self._chance):
                striking.append(fault)
                self._left[index] = None if left is None else left - 1
        return striking

    async def _instead(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        """Do what *fault* does instead of processing, once the whole request has come."""
        await request.read()
        if fault.kind is Kind.RESET_BEFORE:
            await reset(request)
        if fault.kind is Kind.SILENCE:
            await until_gone()
        if fault.kind is Kind.ERROR_SHAPE:
            return shaped(fault["shape"], fault["status"], fault["message"])
        if fault.kind is Kind.THROTTLE:
            answer = self._error_answer(429)
            answer.headers.popall("Retry-After", None)
            if fault["retry_after"] is not None:
                answer.headers["Retry-After"] = self._retry_after(fault["retry_after"], fault["form"])
            return answer
        body = fault["body"]
        return self._error_answer(fault["status"]) if body is None else _with_status(fault["status"], body)

    def _retry_after(self, wanted: float | str, form: str) -> str:
        """Return the header's value."""
        if isinstance(wanted, str):
            return wanted
        if form == "date":
            return email.utils.formatdate(self._clock() + wanted, usegmt=True)
        return f"{wanted:.10g}"


def _with_status(status: int, body: Any) -> Answer:
    """Answer with a body that the fault was given."""
    if isinstance(body, str):
        return text_answer(body, status=status)
    return Answer(orjson.dumps(body), media_type="application/json", status=status)
