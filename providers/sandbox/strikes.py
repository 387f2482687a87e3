"""Where faults meet the wire: the outermost layer of every upstream, which also writes each answer out."""

from __future__ import annotations

import asyncio
import email.utils
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import orjson
from aiohttp import web

from providers.sandbox.answer import Answer, text_answer
from providers.sandbox.books import Books
from providers.sandbox.faults import Fault, Kind, Stage

Layer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ErrorAnswer(Protocol):
    """How one provider writes an error."""

    def __call__(self, status: int) -> Answer:
        """Return the answer with the provider's usual body for *status*."""
        ...


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
        self.faults: tuple[Fault, ...] = ()
        self._name = name
        self._books = books
        self._chance = chance
        self._clock = clock
        self._error_answer = error_answer

    @web.middleware
    async def layer(self, request: web.Request, handler: Layer) -> web.StreamResponse:
        """
        Let one call through, as whole as the faults leave it.

        A client that leaves ends this coroutine by cancellation, at any of its waits.
        """
        step = (request.match_info.route.name or "").partition(".")[0]
        striking = [fault for fault in self.faults if fault.strikes(step, self._chance)]
        for fault in striking:
            if fault.stage is Stage.WAIT:
                await asyncio.sleep(fault.seconds or 0)
        for fault in striking:
            if fault.stage is Stage.INSTEAD:
                return await self._instead(request, fault)
        answer = await handler(request)
        spoils = [fault for fault in striking if fault.stage is Stage.SPOIL]
        if isinstance(answer, Answer):
            for fault in spoils:
                spoil(answer, fault.kind)
        delivery = next((fault for fault in striking if fault.stage is Stage.DELIVERY), None)
        if isinstance(answer, Answer) and delivery is not None:
            answer = await _deliver_badly(request, answer, delivery)
            whole = delivery.kind is Kind.DRIP
        else:
            await answer.prepare(request)
            await answer.write_eof()
            whole = True
        if whole and not spoils and isinstance(answer, Answer | _Dripped):
            for call_id in answer.shows:
                self._books.answered(self._name, call_id)
        return answer

    async def _instead(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        """Do what *fault* does instead of processing, once the whole request has come."""
        await request.read()
        if fault.kind is Kind.RESET_BEFORE:
            return await _reset(request)
        if fault.kind is Kind.THROTTLE:
            answer = self._error_answer(429)
            answer.headers.popall("Retry-After", None)
            if fault.retry_after is not None:
                answer.headers["Retry-After"] = self._retry_after(fault.retry_after, fault.form)
            return answer
        assert fault.status is not None
        return _with_status(fault.status, fault.body) if fault.body is not None else self._error_answer(fault.status)

    def _retry_after(self, wanted: float | str, form: str) -> str:
        """Return the header's value."""
        if isinstance(wanted, str):
            return wanted
        if form == "date":
            return email.utils.formatdate(self._clock() + wanted, usegmt=True)
        return f"{wanted:g}"


def spoil(answer: Answer, kind: Kind) -> None:
    """Change an answer as *kind* does; an answer that holds nothing of the sort is left alone."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    if kind is Kind.WRONG_TYPE:
        answer.headers["Content-Type"] = "text/html; charset=utf-8"
    elif kind is Kind.BAD_JSON and answer.content_type in ("application/json", "multipart/form-data"):
        answer.body = body.replace(b"{", b"{{", 1)
    elif kind is Kind.BAD_MULTIPART and answer.content_type == "multipart/form-data":
        answer.body = body[: body.rindex(b"\r\n--")]
    elif kind is Kind.BAD_PNG and b"IHDR" in body:
        answer.body = body.replace(b"IHDR", b"XHDR")
    elif kind is Kind.BAD_PNG and answer.content_type.startswith("image/"):
        answer.body = body[:16]


def _with_status(status: int, body: Any) -> Answer:
    """Answer with a body that the fault was given."""
    if isinstance(body, str):
        return text_answer(body, status=status)
    return Answer(orjson.dumps(body), media_type="application/json", status=status)


async def _deliver_badly(request: web.Request, answer: Answer, fault: Fault) -> web.StreamResponse:
    """Send a processed answer as *fault* lets it."""
    if fault.kind is Kind.RESET_AFTER:
        return await _reset(request)
    if fault.kind is Kind.LOST_ANSWER:
        return await _until_gone()
    body = answer.body if isinstance(answer.body, bytes) else b""
    stream = _Dripped(answer, len(body))
    await stream.prepare(request)
    if fault.kind is Kind.CUT_BODY:
        await stream.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return await _until_gone()
    assert fault.bytes_per_second is not None
    tenth = max(1, fault.bytes_per_second // 10)
    for start in range(0, len(body), tenth):
        if start:
            await asyncio.sleep(tenth / fault.bytes_per_second)
        await stream.write(body[start : start + tenth])
    await stream.write_eof()
    return stream


class _Dripped(web.StreamResponse):
    """An answer that is written piece by piece under the length of the whole."""

    def __init__(self, answer: Answer, length: int) -> None:
        """Start with the head of *answer*."""
        super().__init__(status=answer.status, headers=answer.headers)
        self.shows = answer.shows
        self.content_length = length


async def _reset(request: web.Request) -> web.StreamResponse:
    """End the connection with a RST instead of a FIN."""
    transport = request.transport
    if transport is not None:
        wire = transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return await _until_gone()


async def _until_gone() -> web.StreamResponse:
    """Wait until the client has left, which cancels the call."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets this event")
