"""
What came to the webhook that stands for the one in Runflow's examples, so that its caller can look at it.

Source of the address: docs.runflow.io/models/meta/sam-3/image, `callback_url` of the examples, read 2026-11-20.
"""

from __future__ import annotations

from collections import deque

from aiohttp import web

from providers.sandbox.answer import Answer, json_answer

_MOST_KEPT = 100
_MOST_SHOWN = 65_536
"""Bytes of a body that are kept."""


class Inbox:
    """The last callbacks, oldest first."""

    def __init__(self) -> None:
        """Start empty."""
        self._came: deque[dict[str, object]] = deque(maxlen=_MOST_KEPT)

    async def take(self, request: web.Request) -> Answer:
        """Keep a callback."""
        body = (await request.read())[:_MOST_SHOWN].decode("utf-8", "replace")
        headers = {str(name): value for name, value in request.headers.items() if name.startswith("Runflow-")}
        self._came.append({"headers": headers, "body": body})
        return json_answer({"status": "ok"})

    async def show(self, _request: web.Request) -> Answer:
        """Return what came."""
        return json_answer({"callbacks": [*self._came]})

    async def clear(self, _request: web.Request) -> Answer:
        """Forget what came."""
        self._came.clear()
        return json_answer({"callbacks": []})
