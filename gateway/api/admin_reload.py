"""`/admin/v1/reload`: read the configuration again. Other processes see by themselves that its file has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin import admitted, describe_admin
from gateway.api.routes import PRIVATE, PlainRoute
from gateway.problems import InternalError, InvalidRequest, LedgerDown, short_of
from gateway.reloading import Reloaded, Result

PATH = "/admin/v1/reload"


class ReloadShape(BaseModel):
    """A reload that changed something, or found that there is nothing to change."""

    model_config = ConfigDict(extra="forbid")

    object: Literal["reload"]
    result: Literal["applied", "unchanged"]
    changed: list[str]
    """The parts of the configuration that are new."""


#: What the document of the API needs to know of these routes.
SHAPES = (ReloadShape,)

router = APIRouter(route_class=PlainRoute)


@router.post(PATH, **describe_admin("Read the configuration again", ReloadShape))
async def reload(request: Request) -> Response:
    """
    Read the configuration file and its references to the environment again.

    One that cannot be used is refused with its first problem, and what was before holds.
    """
    await admitted(request)
    again: Callable[[str], Awaitable[Reloaded]] | None = request.app.state.reload
    if again is None:
        raise InvalidRequest("this gateway was started without a configuration file: there is nothing to read again")
    reloaded = await again("request")
    if reloaded.result is Result.BROKEN:
        raise InternalError("the configuration could not be taken over, and the old one stays; the log says why")
    if reloaded.shortage is not None:
        raise short_of(reloaded.shortage)
    if reloaded.result is Result.DEFERRED:
        raise LedgerDown(reloaded.problems[0].message, retry_after_seconds=1.0)
    if reloaded.result is Result.REFUSED:
        more = f" (and {len(reloaded.problems) - 1} more; the log has them)" if len(reloaded.problems) > 1 else ""
        raise InvalidRequest(f"the configuration is refused, and the old one stays: {reloaded.problems[0]}{more}")
    body = {"object": "reload", "result": reloaded.result.value, "changed": list(reloaded.changed)}
    return Response(orjson.dumps(body), media_type="application/json", headers=PRIVATE)
