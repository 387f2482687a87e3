"""One line for each request: one JSON object, and nothing in it that is not listed."""

from __future__ import annotations

import io
import json
import resource
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.admission import Gate
from gateway.api.trace import Surroundings
from gateway.ids import new_ids
from gateway.problems import InvalidRequest
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.shortages import Shortages

FIELDS = {
    "event",
    "level",
    "timestamp",
    "answer_id",
    "request_id",
    "method",
    "path",
    "status",
    "outcome",
    "tenant",
    "key_id",
    "deployments",
    "charged_microusd",
    "ms",
}

SECRETS = ("mg_secret", "signature", "left shoe", "said the upstream")


def lines_of(target: io.StringIO) -> list[dict[str, Any]]:
    """Return what was logged."""
    return [json.loads(line) for line in target.getvalue().splitlines()]


async def logged(app: ASGIApp, *, headers: dict[str, str] | None = None, path: str = "/v1/segmentations") -> str:
    """Send one request through what surrounds *app*, and return the log's text."""
    target = io.StringIO()
    surroundings = Surroundings(
        app,
        gate=Gate(1),
        metrics=Metrics(),
        log=make_logger(target),
        clock=lambda: 5.0,
        new_id=new_ids(lambda: 1_800_000_000.0),
        admin_port=None,
        shortages=Shortages(time.monotonic, count=lambda _: None, log=None),
        direct={},
    )
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"signature=signature",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"prompt": "left shoe"}', "more_body": False}

    async def send(_message: Message) -> None:
        """Let the answer go."""

    await surroundings(scope, receive, send)
    return target.getvalue()


async def answering(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer as a route does, and note what it cost."""
    trace = scope["maskgate.trace"]
    trace.tenant, trace.key_id, trace.charged_microusd = "acme", "key_1", 5000
    trace.deployments = ["runflow-eu"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"left shoe"})


async def refusing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Refuse, with words that repeat what was sent."""
    raise InvalidRequest("said the upstream: left shoe", field="prompt")


@pytest.mark.parametrize(("app", "status", "outcome"), [(answering, 200, "ok"), (refusing, 422, "invalid_request")])
async def test_a_request_is_one_line_of_the_listed_fields(app: ASGIApp, status: int, outcome: str) -> None:
    """Whoever reads the log finds no header, no query, no prompt and no message in it."""
    text = await logged(app, headers={"authorization": "Bearer mg_secret", "cookie": "mg_secret"})
    (line,) = [json.loads(line) for line in text.splitlines()]
    assert set(line) == FIELDS
    assert ("request", "info", status, outcome) == (line["event"], line["level"], line["status"], line["outcome"])
    assert ("POST", "/v1/segmentations", 0.0) == (line["method"], line["path"], line["ms"])
    assert not [secret for secret in SECRETS if secret in text]


async def test_who_asked_and_what_it_cost_is_in_the_line() -> None:
    """The tenant's bill can be read from the log."""
    line = json.loads(await logged(answering))
    assert ("acme", "key_1", 5000, ["runflow-eu"]) == (
        line["tenant"],
        line["key_id"],
        line["charged_microusd"],
        line["deployments"],
    )
    assert line["request_id"].startswith("req_")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("order-7.a:b_C", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("a b", False),
        ("a\nb", False),
        ('"}', False),
        ("ü", False),
    ],
)
async def test_a_caller_s_own_id_is_taken_over_where_it_can_stand_in_a_line(given: str, *, kept: bool) -> None:
    """Anything else is replaced by one of ours."""
    line = json.loads(await logged(answering, headers={"x-request-id": given}))
    assert kept is (line["request_id"] == given)


@pytest.mark.parametrize("path", ['/"}\n{"event": "forged"', "/\x00\x1b[31m", "/\u2028ü"])
async def test_a_path_cannot_break_out_of_its_line(path: str) -> None:
    """One request is one line, whatever it asks for."""
    text = await logged(answering, path=path)
    assert 1 == text.count("\n")
    assert path == json.loads(text)["path"]


async def test_our_own_fault_is_logged_with_its_trace_under_the_request_s_id() -> None:
    """The line before the request's has the exception, so that the id in the answer leads to it."""

    async def breaking(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError("a defect")

    text = await logged(breaking)
    defect, request = [json.loads(line) for line in text.splitlines()]
    assert ("request_broke", "error") == (defect["event"], defect["level"])
    assert "ZeroDivisionError: a defect" in defect["exception"]
    assert (500, "internal_error") == (request["status"], request["outcome"])
    assert defect["request_id"] == request["request_id"]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_every_level_writes_a_json_object_with_its_moment(level: str) -> None:
    """A moment in UTC, the level, the event, and what was given beside it, also where JSON has no word for it."""
    target = io.StringIO()
    write: Callable[..., None] = getattr(make_logger(target), level)
    write("something", count=3, odd={1}, text="ü\n")
    (line,) = lines_of(target)
    moment = datetime.fromisoformat(line.pop("timestamp"))
    assert 0 == moment.utcoffset().total_seconds()  # type: ignore[union-attr]
    assert {"event": "something", "level": level, "count": 3, "odd": "{1}", "text": "ü\n"} == line


def test_a_full_disk_costs_its_lines_and_nothing_else() -> None:
    """Each line is dropped and counted, and nothing is raised, at the end neither."""
    dropped: list[None] = []
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        log = make_logger(full, dropped=lambda: dropped.append(None))
        for _ in range(3):
            log.info("request", path="x" * 5000)
    log.info("request")  # the target is closed
    assert 4 == len(dropped)


def test_a_line_behind_half_a_line_stands_alone(tmp_path: Path) -> None:
    """What was cut off by a full disk does not spoil the next line, once there is room again."""
    file, soft_hard = tmp_path / "log", resource.getrlimit(resource.RLIMIT_FSIZE)
    dropped: list[None] = []
    with file.open("w", encoding="utf-8") as target:
        log = make_logger(target, dropped=lambda: dropped.append(None))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, soft_hard[1]))
        try:
            log.info("request", path="x" * 200)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, soft_hard)
        log.info("request", path="/")
    first, second = file.read_text(encoding="utf-8").splitlines()
    assert (1, 100, "/") == (len(dropped), len(first), json.loads(second)["path"])
