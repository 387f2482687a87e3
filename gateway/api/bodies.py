"""A request's body, read up to a limit; what is too long by its own word is refused before a byte is read."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from gateway.problems import GatewayError, MalformedBody, RequestTooLarge

#: Where in a request's scope the server notes why its body goes no further: a `GatewayError`.
REFUSED = "maskgate.refused"


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
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > most:
        raise _too_large(most, remedy)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                break
            chunks.append(chunk)
    except ClientDisconnect:
        chunks.clear()  # a problem's traceback may live until garbage is collected
        raise _gone(request) from None
    if size > most:
        chunks.clear()
        raise _too_large(most, remedy)
    return chunks, size


def _gone(request: Request) -> GatewayError:
    """Return why no more of a body comes."""
    refused = request.scope.get(REFUSED)
    return refused if isinstance(refused, GatewayError) else MalformedBody("the body ended early")


def _too_large(most: int, remedy: str) -> RequestTooLarge:
    return RequestTooLarge(f"the body has more than {most} bytes. {remedy}")
