"""What all calls of the fake Runflow have in common: reading a body, and saying where files are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from aiohttp import web

from providers.sandbox.answer import Answer
from providers.sandbox.body_reader import InvalidInput
from providers.sandbox.runflow_errors import RunflowError
from providers.sandbox.signing import Refusal

T = TypeVar("T")


def origin(request: web.Request) -> str:
    """Return scheme, host and port by which the client reached us, so that the addresses work for it too."""
    return f"{request.scheme}://{request.host}"


def refused(refusal: Refusal) -> Answer:
    """Answer as an object store does."""
    return Answer(refusal.xml, media_type="application/xml", status=refusal.status)


def read_json(body: bytes) -> Any:
    """Read a JSON body, or end in 400."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RunflowError(400, message=f"The body is not JSON: {error}.") from error


def valid(read: Callable[[Any], T], value: Any) -> T:
    """Read a body, or end in 422."""
    try:
        return read(value)
    except InvalidInput as error:
        raise RunflowError(422, errors=error.errors) from error
