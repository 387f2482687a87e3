"""One request and its answer on a connection: uvicorn's, with bodies that can be given up and answered all the same."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.api.bodies import REFUSED
from gateway.problems import GatewayError

#: A body that nobody reads is waited for if it is no longer than this; else the connection goes.
SMALL_BYTES = 65_536


class Exchange(RequestResponseCycle):
    """
    A request and its answer.

    Attributes:
        awaited: whether the app waits for the next part of the body, and not the body for the app.
        gives_up: whether the body ends without having come: its reader is told so, and may answer.
        skips: whether an unread rest of the body is short enough to keep the connection.
    """

    def __init__(self, *, skips: bool, **given: Any) -> None:
        """Begin; *given* is what uvicorn's own takes."""
        super().__init__(**given)
        self.awaited = False
        self.gives_up = False
        self.skips = skips and not self.waiting_for_100_continue

    @property
    def body_waits(self) -> bool:
        """Whether it is we who keep the body waiting: it is not asked for, or not read."""
        asked_for = self.awaited or self.response_complete
        return not asked_for or self.flow.read_paused or self.waiting_for_100_continue

    def refuse(self, problem: GatewayError) -> None:
        """Have whoever reads the body say that, and nothing else be asked on this connection."""
        self.scope[REFUSED] = problem  # type: ignore[literal-required]  # a name of our own, which ASGI allows
        self.gives_up = True
        self.keep_alive = False
        self.message_event.set()

    async def send(self, message: Any) -> None:
        """Send a part of the answer; one that comes before the request's end closes the connection behind it."""
        if not self.response_started and self.more_body and not self.skips:
            self.keep_alive = False
        await super().send(message)

    async def receive(self) -> Any:
        """Return the next part of the body, or that there will be none."""
        if not self.gives_up:
            self.awaited = True
            try:
                message = await super().receive()
            finally:
                self.awaited = False
            if not self.gives_up:
                return message
        return {"type": "http.disconnect"}
