"""
Where upstreams say that work has ended.

It needs no key of ours: what it brings is believed by its signature, and even then no further than that it is worth a
look. Several processes may share one address; a callback that reaches another than the one that waits is harmless.
"""

from __future__ import annotations

import asyncio

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.bodies import read_chunks
from gateway.api.routes import PlainRoute, house_of
from gateway.problems import MalformedBody, NotFound, Overloaded, RequestTimeout, Unauthenticated
from providers.contract import Notice, Notified

#: A callback is small: 32 signed addresses are some 50 kB.
MOST_BYTES = 2**18

#: Nobody knows whose a callback is before its body is read, so few are read at once, and each not for long.
READ_AT_ONCE = 64
READ_SECONDS = 10.0

PATH = "/v1/callbacks/{deployment}"

router = APIRouter(route_class=PlainRoute)


def callback_url(public_url: str, deployment: str) -> str:
    """Return where a provider reaches this gateway; empty where *public_url* is, since nobody outside reaches it."""
    return public_url + PATH.format(deployment=deployment) if public_url else ""


@router.post(PATH, include_in_schema=False)  # for providers, not for callers
async def take_callback(request: Request) -> Response:
    """Hand a callback to the provider whose deployment it names."""
    services = house_of(request).services
    name = request.path_params["deployment"]
    offer = next((offer for offer in services.offers if offer.name == name), None)
    if offer is None:
        raise NotFound("there is no deployment of that name")
    provider = services.providers[offer.deployment.provider]
    if not isinstance(provider, Notified):
        raise NotFound(f"the deployment {name} takes no callbacks")
    body = await _read(request)
    headers = {key.lower(): value for key, value in request.headers.items()}
    notice = provider.notified(offer.deployment, headers=headers, body=body)
    services.metrics.callback(name, notice.value)
    if notice is Notice.FORGED:
        raise Unauthenticated("the callback's signature is missing or was made with no secret that is configured here")
    if notice is Notice.UNREADABLE:
        raise MalformedBody("the callback is not what this provider documents")
    return Response(orjson.dumps({"status": "ok"}), media_type="application/json")


async def _read(request: Request) -> bytes:
    """
    Read a callback's body.

    Raises:
        Overloaded: as many as may be are being read.
        GatewayError: it is too long, too slow, or cut off.
    """
    readers = house_of(request).callback_readers
    if readers.locked():
        raise Overloaded(f"{READ_AT_ONCE} callbacks are being read; send it again", retry_after_seconds=1.0)
    async with readers:
        try:
            async with asyncio.timeout(READ_SECONDS):
                chunks, _ = await read_chunks(request, most=MOST_BYTES, remedy="A callback is shorter.")
        except TimeoutError:
            raise RequestTimeout(f"the callback was not whole after {READ_SECONDS:g} s") from None
    return b"".join(chunks)
