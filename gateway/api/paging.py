"""Which tenant's figures a caller may read, and the opaque word by which one page of them leads to the next."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import orjson
from starlette.datastructures import QueryParams

from gateway.intake.access import require
from gateway.problems import Forbidden, InvalidRequest
from gateway.request import Caller, Scope

#: What an administrator asks for to see every tenant.
EVERY_TENANT = "*"


def tenant_asked(parameters: QueryParams, caller: Caller) -> str | None:
    """
    Return whose figures are asked for: the caller's own, or those of the tenant that an administrator names.

    Returns:
        The tenant; None for all of them, which an administrator asks for as `*`.

    Raises:
        Forbidden: the key may not read figures, or not those.
    """
    require(caller, Scope.USAGE)
    asked = parameters.get("tenant", caller.tenant)
    if asked == caller.tenant:
        return asked
    if Scope.ADMIN not in caller.scopes:
        raise Forbidden(
            f"the key {caller.key_id} reads the figures of its own tenant alone; leave the parameter out, or ask with "
            "a key that has the scope admin",
            field="tenant",
        )
    return None if asked == EVERY_TENANT else asked


def limit_asked(parameters: QueryParams, *, default: int, most: int) -> int:
    """
    Return how much one page holds.

    Raises:
        InvalidRequest: no whole number from 1 to *most*.
    """
    text = parameters.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
        raise InvalidRequest(f"{text!r} is no number of lines; write 1 to {most}", field="limit")
    return int(text)


class _Page(Protocol):
    """A stretch of a list."""

    @property
    def next(self) -> Any:
        """Where the next one begins; None at the end of the list."""


Page = TypeVar("Page", bound=_Page)


async def pages_of(parameters: QueryParams, first: Page, read: Callable[[Any], Awaitable[Page]]) -> AsyncIterator[Page]:
    """
    Yield the pages that a CSV answer holds: all there are; only the first where the caller has set a `limit`.

    Args:
        parameters: of the request.
        first: the first page, read before the answer begins, so that a problem is told as one.
        read: brings the page that begins at a place.
    """
    yield first
    page = first
    while page.next is not None and "limit" not in parameters:
        page = await read(page.next)
        yield page


def write_cursor(*place: Any) -> str:
    """Return a place as a word that callers send back and need not read."""
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def read_cursor(parameters: QueryParams) -> list[Any] | None:
    """
    Return the place that a cursor stands for; None where none is given. What is in it is for its reader to check.

    Raises:
        InvalidRequest: no cursor of ours.
    """
    text = parameters.get("cursor")
    if text is None:
        return None
    try:
        place = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        raise strange_cursor() from None
    if not isinstance(place, list) or not all(part.isprintable() for part in place if isinstance(part, str)):
        raise strange_cursor()
    return place


def strange_cursor() -> InvalidRequest:
    """Return the problem of a cursor that does not lead on from here."""
    return InvalidRequest(
        "this is no cursor of the same question; send next_cursor back as it came, beside the parameters that it is of",
        field="cursor",
    )
