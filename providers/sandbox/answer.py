"""What every server of the sandbox answers with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

_INVENTED = "the sandbox does not know this picture: its masks are invented, whatever the prompt says"


def mask_headers(by: str) -> dict[str, str]:
    """
    Return the headers that say where masks come from; *by* is `Found.by`, and empty where none were looked for.

    What is invented is said in HTTP's own words, too, so that a client need not know of the sandbox to pass it on.

    Source: RFC 7234, section 5.5 (`Warning: warn-code SP warn-agent SP warn-text`, 199 for a miscellaneous warning);
    RFC 9111 has dropped the field, and forbids nobody to send it.
    """
    if by == "classic":
        return {"X-Sandbox-Masks": by, "Warning": f'199 maskgate-sandbox "{_INVENTED}"'}
    return {"X-Sandbox-Masks": by} if by else {}


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


def write_json(value: Any, *, nan: bool = False) -> bytes:
    """Write *value* as JSON; with *nan*, what is no number as NaN, which is no JSON, instead of null."""
    return json.dumps(value, separators=(",", ":")).encode() if nan else orjson.dumps(value)


def json_answer(
    value: Any,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    shows: tuple[str, ...] = (),
    nan: bool = False,
) -> Answer:
    """Answer with *value* as JSON; *nan* is for `write_json`."""
    body = write_json(value, nan=nan)
    return Answer(body, media_type="application/json", status=status, headers=headers, shows=shows)


def text_answer(text: str, *, status: int, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with plain text."""
    return Answer(text.encode(), media_type="text/plain; charset=utf-8", status=status, headers=headers)
