"""`/admin/v1/keys`: make, list, rotate and revoke keys. A key's secret stands in one answer, and in no list."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin import admitted, describe_admin, read_body
from gateway.api.key_json import IssuedKeyShape, KeyShape, KeysShape, issued_json, key_json
from gateway.api.paging import limit_asked, read_cursor, strange_cursor, write_cursor
from gateway.api.routes import PRIVATE, PlainRoute, house_of
from gateway.api.usage import refuse_unknown
from gateway.intake.issuing import found_key, issue_key, revoke_key, rotate_key
from gateway.intake.key_body import KeyBody, RotationBody
from gateway.store import Keys

PATH = "/admin/v1/keys"

KNOWN = ("cursor", "limit", "tenant")
LIST_PARAMETERS = {
    "tenant": "only this one's",
    "limit": "keys on one page, 1 to 1000; 100 where it is left out",
    "cursor": "next_cursor of the page before",
}

#: What the document of the API needs to know of these routes.
SHAPES = (KeyBody, RotationBody, KeyShape, KeysShape, IssuedKeyShape)

router = APIRouter(route_class=PlainRoute)


@router.get(PATH, **describe_admin("List the keys", KeysShape, query=LIST_PARAMETERS))
async def list_keys(request: Request) -> Response:
    """List keys in the order in which they were made, good or not, without their secrets."""
    await admitted(request)
    parameters, keys = request.query_params, _keys(request)
    refuse_unknown(parameters, KNOWN)
    limit = limit_asked(parameters, default=100, most=1000)
    place = read_cursor(parameters)
    if place is not None and not (len(place) == 1 and isinstance(place[0], str)):
        raise strange_cursor()
    listed = await keys.list_keys(
        tenant=parameters.get("tenant"), after="" if place is None else place[0], most=limit + 1
    )
    page, now = listed[:limit], keys.now()
    return _json(
        {
            "object": "list",
            "keys": [key_json(key, now) for key in page],
            "next_cursor": write_cursor(page[-1].id) if len(listed) > limit else None,
        }
    )


@router.post(PATH, **describe_admin("Make a key", IssuedKeyShape, body=KeyBody, status=201))
async def make_key(request: Request) -> Response:
    """Make a key, and its hard budget with it; its secret is shown this once."""
    await admitted(request)
    body, keys = await read_body(request, KeyBody), _keys(request)
    issued = await issue_key(body, keys, house_of(request).services.new_id)
    return _json(issued_json(issued, keys.now()), status=201)


@router.get(PATH + "/{key_id}", **describe_admin("Show a key", KeyShape))
async def show_key(request: Request) -> Response:
    """Show one key, good or not, without its secret."""
    await admitted(request)
    keys = _keys(request)
    return _json(key_json(await found_key(request.path_params["key_id"], keys), keys.now()))


@router.delete(PATH + "/{key_id}", **describe_admin("Revoke a key", KeyShape))
async def end_key(request: Request) -> Response:
    """Revoke a key: it and its earlier secrets are refused by every gateway from now on."""
    await admitted(request)
    keys = _keys(request)
    return _json(key_json(await revoke_key(request.path_params["key_id"], keys), keys.now()))


@router.post(PATH + "/{key_id}/rotate", **describe_admin("Rotate a key", IssuedKeyShape, body=RotationBody))
async def renew_key(request: Request) -> Response:
    """Give a key another secret, shown this once; the earlier one stays good for the grace."""
    await admitted(request)
    body, keys = await read_body(request, RotationBody, optional=True), _keys(request)
    issued = await rotate_key(
        request.path_params["key_id"], keys, house_of(request).services.new_id, grace_seconds=body.grace_seconds
    )
    return _json(issued_json(issued, keys.now()))


def _keys(request: Request) -> Keys:
    return house_of(request).services.ledger.keys


def _json(body: dict[str, Any], *, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json", headers=PRIVATE)
