"""`/admin/v1/budgets`: set, list and remove budgets, of every tenant."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin import admitted, describe_admin, read_body
from gateway.api.budget_json import BudgetBody, BudgetShape, BudgetsShape, budget_json
from gateway.api.paging import limit_asked, read_cursor, strange_cursor, write_cursor
from gateway.api.routes import PRIVATE, PlainRoute, house_of
from gateway.api.usage import refuse_unknown
from gateway.problems import NotFound

PATH = "/admin/v1/budgets"

KNOWN = ("cursor", "limit", "tenant")
LIST_PARAMETERS = {
    "tenant": "only this one's",
    "limit": "budgets on one page, 1 to 1000; 100 where it is left out",
    "cursor": "next_cursor of the page before",
}

#: What the document of the API needs to know of these routes.
SHAPES = (BudgetBody, BudgetShape, BudgetsShape)

router = APIRouter(route_class=PlainRoute)


@router.get(PATH, **describe_admin("List the budgets", BudgetsShape, query=LIST_PARAMETERS))
async def list_budgets(request: Request) -> Response:
    """List budgets in the order in which they were made, each as it stands in the running period."""
    await admitted(request)
    parameters = request.query_params
    refuse_unknown(parameters, KNOWN)
    limit = limit_asked(parameters, default=100, most=1000)
    place = read_cursor(parameters)
    if place is not None and not (len(place) == 1 and isinstance(place[0], str)):
        raise strange_cursor()
    listed = await house_of(request).budgets.page(
        tenant=parameters.get("tenant"), after="" if place is None else place[0], most=limit + 1
    )
    page = listed[:limit]
    return _json(
        {
            "object": "list",
            "budgets": [budget_json(budget) for budget in page],
            "next_cursor": write_cursor(page[-1].id) if len(listed) > limit else None,
        }
    )


@router.put(PATH, **describe_admin("Set a budget", BudgetShape, body=BudgetBody))
async def put_budget(request: Request) -> Response:
    """
    Set a budget, or change the limit of the one with the same subject, period and hardness.

    What was spent in the running period before counts. It holds on every gateway at once; sending it again is harmless.
    """
    await admitted(request)
    body = await read_body(request, BudgetBody)
    return _json(budget_json(await house_of(request).budgets.set(body.wanted())))


@router.delete(PATH + "/{budget_id}", **describe_admin("Remove a budget", BudgetShape))
async def delete_budget(request: Request) -> Response:
    """Remove a budget, and answer how it stood: what it bounded is bounded no more."""
    await admitted(request)
    budget_id = request.path_params["budget_id"]
    removed = await house_of(request).budgets.remove(budget_id)
    if removed is None:
        raise NotFound(f"there is no budget {budget_id[:100]!r}; GET {PATH} has the ids")
    return _json(budget_json(removed))


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json", headers=PRIVATE)
