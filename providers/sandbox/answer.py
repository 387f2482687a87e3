"""What every server of the sandbox answers with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web


class Answer(web.Response):
    """An answer that knows which billed calls it shows the caller, so that the books can note them as answered."""

    def __init__(
        self,
        body: bytes,
        *,
        media_type: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        shows: tuple[str, ...] = (),
    ) -> None:
        """Answer with *body*; *shows* are the ids of the billed calls whose success can be read in it."""
        super().__init__(body=body, status=status, headers={**(headers or {}), "Content-Type": media_type})
        self.shows = shows


def json_answer(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, shows: tuple[str, ...] = ()
) -> Answer:
    """Answer with *value* as JSON."""
    return Answer(orjson.dumps(value), media_type="application/json", status=status, headers=headers, shows=shows)


def text_answer(text: str, *, status: int, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with plain text."""
    return Answer(text.encode(), media_type="text/plain; charset=utf-8", status=status, headers=headers)
