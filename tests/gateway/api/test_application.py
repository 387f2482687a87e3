"""The HTTP face in one piece, on a real socket, with nothing behind it."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from gateway.admission import Gate
from gateway.api.application import SHAPES, build_api
from gateway.ids import new_ids
from gateway.serving import running
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.shortages import Shortages


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of an app whose routes have nothing to work with."""
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        events.append("opened")
        yield {}
        events.append("closed")

    def make() -> FastAPI:
        return build_api(
            lifespan,
            gate=Gate(10),
            metrics=Metrics(),
            log=make_logger(io.StringIO()),
            clock=time.monotonic,
            new_id=new_ids(time.time),
            admin_port=None,
            shortages=Shortages(time.monotonic, count=lambda _: None, log=None),
        )

    with running(make) as url:
        assert ["opened"] == events
        yield url
    assert ["opened", "closed"] == events


def asked(url: str, method: str = "GET") -> tuple[int, str, dict[str, object]]:
    """Return status, media type and JSON of an answer."""
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers.get_content_type(), json.load(answer)


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/v2/nothing", 404, "there is no /v2/nothing; /openapi.json lists what there is"),
        ("DELETE", "/healthz", 405, "/healthz does not take DELETE"),
        ("GET", "/v1/segmentations", 405, "/v1/segmentations does not take GET"),
    ],
)
def test_what_the_framework_finds_is_a_problem_of_ours(
    url: str, method: str, path: str, status: int, detail: str
) -> None:
    """Unknown paths and methods are answered as every other problem is, and say what to do."""
    answered, media_type, body = asked(url + path, method)
    assert (status, "application/problem+json") == (answered, media_type)
    assert (status, detail) == (body["status"], body["detail"])
    assert str(body["request_id"]).startswith("req_")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/healthz", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("HEAD", "/v1/segmentations", "POST"),
        ("PUT", "/admin/v1/keys", "GET, HEAD, POST"),
        ("PATCH", "/admin/v1/keys/key_1", "DELETE, GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(url: str, method: str, path: str, allowed: str) -> None:
    """Allow names every method of the path, whichever route has it."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url + path, method=method), timeout=60)
    with refused.value as answer:
        assert (405, allowed) == (answer.status, answer.headers["Allow"])


def test_head_is_answered_where_get_is_and_a_slash_leads_nowhere(url: str) -> None:
    """The same headers without the body; and no redirect, which behind a proxy would lead to another address."""
    for path in ("/healthz", "/openapi.json", "/docs"):
        with urllib.request.urlopen(urllib.request.Request(url + path, method="HEAD"), timeout=60) as answer:
            assert (200, b"") == (answer.status, answer.read())
            assert int(answer.headers["Content-Length"]) > 0
    for path in ("/healthz/", "/v1/usage/", "/docs/"):
        assert (404, "application/problem+json") == asked(url + path)[:2]


def test_every_shape_is_in_the_document(url: str) -> None:
    """What a route answers with is described by name, and the routes of every room are there."""
    _, _, document = asked(f"{url}/openapi.json")
    components, paths = document["components"], document["paths"]
    assert isinstance(components, dict)
    assert isinstance(paths, dict)
    assert {each.__name__ for each in SHAPES} <= components["schemas"].keys()
    assert {
        "/v1/segmentations",
        "/v1/ledger",
        "/admin/v1/keys",
        "/admin/v1/budgets",
        "/admin/v1/reload",
    } <= paths.keys()
