"""What `/openapi.json` says is whole, and is what the code does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from starlette.routing import Route

from gateway.api import admin_budgets, admin_deployments, admin_keys, admin_reload, ledger
from gateway.api.documents import EXAMPLE
from gateway.api.problems import STATUS, problem_body
from gateway.api.reading import parse_json
from gateway.api.routes import router
from gateway.api.usage import KNOWN
from gateway.app import create_app
from gateway.intake.body import SegmentationBody
from gateway.request import AttemptReport
from gateway.settings import Settings
from providers.contract import Money, Outcome

CALLS = {
    ("post", "/v1/segmentations"),
    ("post", "/v1/quotes"),
    ("get", "/v1/deployments"),
    ("get", "/v1/usage"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document of a gateway that was never started, as a client reads it."""
    app = create_app(Settings(state_dir=tmp_path_factory.mktemp("state")))
    return json.loads(json.dumps(app.openapi()))


def references(value: Any) -> Iterator[str]:
    """Yield every `$ref` in a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def follow(document: Any, reference: str) -> Any:
    """Return what a reference within the document leads to."""
    for step in reference.removeprefix("#/").split("/"):
        document = document[step.replace("~1", "/").replace("~0", "~")]
    return document


def check(document: dict[str, Any], shape: str, value: Any) -> None:
    """Hold a value against one of the document's shapes."""
    Draft202012Validator({"$ref": f"#/components/schemas/{shape}", "components": document["components"]}).validate(
        value
    )


def test_every_reference_leads_somewhere_and_no_shape_is_left_over(document: dict[str, Any]) -> None:
    """A client can be generated from the document alone."""
    found = set(references(document))
    assert all(reference.startswith("#/components/schemas/") for reference in found)
    for reference in found:
        assert follow(document, reference)
    assert {reference.rsplit("/", 1)[1] for reference in found} == set(document["components"]["schemas"])


def test_every_shape_is_a_json_schema(document: dict[str, Any]) -> None:
    """OpenAPI 3.1 takes its shapes from JSON Schema 2020-12."""
    assert document["openapi"].startswith("3.1")
    for shape in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(shape)


def test_every_call_is_there(document: dict[str, Any]) -> None:
    """The document lists every route, and the routes are those that were promised."""
    listed = {(method, path) for path, methods in document["paths"].items() for method in methods}
    routed = {
        (method.lower(), route.path)
        for room in (
            router,
            ledger.router,
            admin_keys.router,
            admin_budgets.router,
            admin_deployments.router,
            admin_reload.router,
        )
        for route in room.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert CALLS <= listed
    assert routed == listed


def test_every_call_says_what_it_does_and_how_it_fails(document: dict[str, Any]) -> None:
    """A summary, a description, and a problem as the answer to everything else."""
    for methods in document["paths"].values():
        for call in methods.values():
            assert call["summary"]
            assert call["description"].endswith((".", "not."))
            problem = call["responses"]["default"]["content"]["application/problem+json"]["schema"]
            assert {"$ref": "#/components/schemas/ProblemShape"} == problem


@pytest.mark.parametrize("path", ["/v1/segmentations", "/v1/quotes"])
def test_a_picture_is_taken_as_json_and_as_multipart(document: dict[str, Any], path: str) -> None:
    """Both bodies are described, with an example that the gateway takes."""
    body = document["paths"][path]["post"]["requestBody"]
    assert body["required"] is True
    reference = {"$ref": "#/components/schemas/SegmentationBody"}
    assert reference == body["content"]["application/json"]["schema"]
    form = body["content"]["multipart/form-data"]["schema"]
    assert (["image", "request"], reference) == (form["required"], form["properties"]["request"])
    check(document, "SegmentationBody", body["content"]["application/json"]["example"])
    assert isinstance(parse_json(SegmentationBody, json.dumps(EXAMPLE).encode()), SegmentationBody)


def test_unknown_fields_are_refused_by_the_document_as_by_the_gateway(document: dict[str, Any]) -> None:
    """A client that validates before it sends finds a misspelt field itself."""
    with pytest.raises(ValidationError):
        check(document, "SegmentationBody", {**EXAMPLE, "promt": "x"})


def test_the_parameters_of_usage_are_those_that_are_read(document: dict[str, Any]) -> None:
    """None is missing in the document, and none of it is unknown to the code."""
    described = {each["name"] for each in document["paths"]["/v1/usage"]["get"]["parameters"]}
    assert set(KNOWN) == described


def test_every_problem_fits_the_document(document: dict[str, Any]) -> None:
    """With and without the members that do not always apply; and its code is in the list of codes."""
    attempt = AttemptReport(0, "prodia", Outcome.UNANSWERED, 12, Money(0), Money(5), "no answer")
    for kind in STATUS:
        bare, full = kind("detail"), kind("detail", field="image", retry_after_seconds=1.0, attempts=[attempt])
        check(document, "ProblemShape", problem_body(bare, "req_1"))
        check(document, "ProblemShape", problem_body(full, "req_1"))
    codes = document["components"]["schemas"]["ProblemShape"]["properties"]["code"]["enum"]
    assert sorted({kind.code for kind in STATUS}) == codes
    with pytest.raises(ValidationError):
        check(document, "ProblemShape", {"type": "about:blank", "title": "x", "status": 400})


def test_a_key_may_be_sent_and_on_loopback_need_not_be(document: dict[str, Any]) -> None:
    """The document names the one way to show a key."""
    assert {"key": {"type": "http", "scheme": "bearer"}} == document["components"]["securitySchemes"]
    assert [{"key": []}, {}] == document["security"]


def test_two_gateways_describe_themselves_alike(document: dict[str, Any], tmp_path: Path) -> None:
    """The document depends on nothing that is configured."""
    assert document == json.loads(json.dumps(create_app(Settings(state_dir=tmp_path)).openapi()))
