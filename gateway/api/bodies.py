"""A request's body, read up to a limit; what is too long by its own word is refused before a byte is read."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request

from gateway.problems import GatewayError, MalformedBody, RequestTooLarge
from providers.contract import Room

#: Where in a request's scope the server notes why its body goes no further: a `GatewayError`.
REFUSED = "maskgate.refused"

#: How much room is asked for at a time by a body that does not say how long it is.
_ROOM_BYTES = 2**18


async def read_chunks(request: Request, *, most: int, remedy: str) -> tuple[list[bytes], int]:
    """
    Read the whole body, and return its pieces and how many bytes they are.

    Args:
        request: not read yet.
        most: bytes that it may have.
        remedy: what the sender of a longer one is told beside that; a whole sentence.

    Raises:
        RequestTooLarge: it has more, or says so in its head.
        RequestTimeout: it came too slowly.
        MalformedBody: it is cut off, or its framing is broken.
    """
    chunks: list[bytes] = []
    return chunks, await read_into(chunks.append, request, most=most, remedy=remedy)


def told_length(request: Request) -> int | None:
    """Return how many bytes a request says its body has; None where it does not say."""
    told = request.headers.get("content-length", "")
    return int(told[:20]) if told.isdecimal() else None


async def read_into(
    take: Callable[[bytes], object], request: Request, *, most: int, remedy: str, room: Room | None = None
) -> int:
    """
    Read the whole body, hand on its pieces as they come, and return how many bytes they are.

    Args:
        take: is given each piece.
        request: not read yet.
        most: bytes that it may have.
        remedy: what the sender of a longer one is told beside that; a whole sentence.
        room: awaited before bytes are read, with how many: all of them where the head says so.

    Raises:
        RequestTooLarge, RequestTimeout, MalformedBody: as `read_chunks` says.
        GatewayError: what *room* raises.
    """
    told, size = told_length(request), 0
    if told is not None and told > most:
        raise _too_large(most, remedy)
    if room is not None and told:
        await room(told)
    taken = told or 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                break
            if room is not None and size > taken:
                await room(max(size - taken, _ROOM_BYTES))
                taken += max(size - taken, _ROOM_BYTES)
            take(chunk)
    except ClientDisconnect:
        raise _gone(request) from None
    if size > most:
        raise _too_large(most, remedy)
    return size


def _gone(request: Request) -> GatewayError:
    """Return why no more of a body comes."""
    refused = request.scope.get(REFUSED)
    return refused if isinstance(refused, GatewayError) else MalformedBody("the body ended early")


def _too_large(most: int, remedy: str) -> RequestTooLarge:
    return RequestTooLarge(f"the body has more than {most} bytes. {remedy}")
