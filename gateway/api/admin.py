"""What all admin routes share: who may come in, and how a body is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

from gateway.api.bodies import read_chunks
from gateway.api.documents import REFERENCE, describe
from gateway.api.reading import B, parse_json
from gateway.api.routes import caller_of
from gateway.intake.body import Body
from gateway.problems import UnsupportedContentType
from gateway.request import Caller, Scope

#: What an administrator asks for is a handful of short fields.
MOST_BYTES = 2**16


def describe_admin(
    summary: str,
    answer: type[BaseModel] | None,
    *,
    body: type[Body] | None = None,
    query: Mapping[str, str] | None = None,
    status: int = 200,
) -> dict[str, Any]:
    """
    Return what a route's decorator needs, as `documents.describe` does, with a body of JSON.

    Args:
        summary: of the route.
        answer: the shape of what it answers.
        body: the shape of what it takes; it has to be among the document's shapes, as the answer has.
        query: its query parameters, each with what it means.
        status: of its answer.
    """
    described = describe(summary, answer, query=query)
    extra = described["openapi_extra"]
    if body is not None:
        schema = {"$ref": REFERENCE.format(model=body.__name__)}
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if status != 200:
        extra["responses"][str(status)] = extra["responses"].pop("200")
        described["status_code"] = status
    return described


async def admitted(request: Request) -> Caller:
    """
    Return the administrator who asks.

    Raises:
        Unauthenticated: no key, or one that is good for nothing.
        Forbidden: its key has not the scope admin.
    """
    return await caller_of(request, Scope.ADMIN)


async def read_body(request: Request, model: type[B], *, optional: bool = False) -> B:
    """
    Read and check a body of JSON.

    Args:
        request: not read yet.
        model: what it has to be.
        optional: whether no body at all stands for an empty object.

    Raises:
        UnsupportedContentType: it says that it is something else.
        RequestTooLarge: more than 64 kB.
        MalformedBody: cut off, or not JSON.
        InvalidRequest: naming the first field at fault, and how many more there are.
    """
    chunks, _ = await read_chunks(
        request, most=MOST_BYTES, remedy="An administrator asks for a handful of short fields."
    )
    raw = b"".join(chunks)
    if not raw and optional:
        return parse_json(model, b"{}")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedContentType("send application/json", field="Content-Type")
    return parse_json(model, raw)
