"""
What OpenAPI says of the routes.

The routes read their bodies themselves (a picture may be JSON or multipart), so the document gets their shapes from
here: of the same models that check the body and, for answers, of those that the tests hold every answer against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api.problems import MEDIA_TYPE, STATUS
from gateway.api.schema import ProblemShape
from gateway.intake.body import Body, SegmentationBody

REFERENCE = "#/components/schemas/{model}"

EXAMPLE = {
    "image": {"url": "https://example.com/shoes.jpg"},
    "prompts": [{"kind": "text", "text": "left shoe"}],
    "output": {"masks": "rle"},
}


def describe(
    summary: str,
    answer: type[BaseModel] | None,
    *,
    takes_picture: bool = False,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """
    Return what a route's decorator needs, so that the document shows its body, its answer and its problems.

    Args:
        summary: of the route.
        answer: the shape of its 200; None where it is no JSON of ours.
        takes_picture: whether it takes the request of a segmentation.
        query: its query parameters, each with what it means.
        headers: the request's own headers, likewise.
    """
    extra: dict[str, Any] = {"responses": {"default": _content(MEDIA_TYPE, ProblemShape, "A problem")}}
    if answer is not None:
        extra["responses"]["200"] = _content("application/json", answer, "The answer")
    parameters = [
        {"name": name, "in": place, "required": False, "description": text, "schema": {"type": "string"}}
        for place, named in (("query", query), ("header", headers))
        for name, text in (named or {}).items()
    ]
    if parameters:
        extra["parameters"] = parameters
    if takes_picture:
        extra["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {"schema": _reference(SegmentationBody), "example": EXAMPLE},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image", "request"],
                        "properties": {
                            "image": {"type": "string", "format": "binary"},
                            "request": _reference(SegmentationBody),
                        },
                    },
                    "encoding": {"request": {"contentType": "application/json"}},
                },
            },
        }
    return {"summary": summary, "openapi_extra": extra, "response_model": None}


def install(app: FastAPI, models: Sequence[type[BaseModel]]) -> None:
    """Make *app* answer `/openapi.json` with every shape that the routes refer to."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, models)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _document(app: FastAPI, models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, summary=app.summary, routes=app.routes
    )
    _, shapes = models_json_schema(
        [(SegmentationBody, "validation"), *((model, _mode(model)) for model in models)],
        ref_template=REFERENCE,
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(shapes["$defs"])
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}, {}]
    shape = components["schemas"]["ProblemShape"]["properties"]
    shape["code"]["enum"] = sorted({problem.code for problem in STATUS})
    return document


def _mode(model: type[BaseModel]) -> Literal["validation", "serialization"]:
    """Return which of its two shapes is written down: what is taken, or what is given."""
    return "validation" if issubclass(model, Body) else "serialization"


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _content(media_type: str, model: type[BaseModel], description: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": _reference(model)}}}
