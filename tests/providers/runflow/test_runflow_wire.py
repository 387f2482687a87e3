"""Runflow's JSON as its documents show it, read and written."""

from __future__ import annotations

import json

import pytest

from providers.contract import Money
from providers.runflow.wire import (
    BoxPrompt,
    ErrorText,
    Failure,
    Labels,
    PointPrompt,
    RunInput,
    RunStatus,
    Upload,
    create_body,
    read_asset_url,
    read_error,
    read_run,
    read_upload,
    segment_of_path,
    upload_body,
)


def test_create_body() -> None:
    """Every field of the input is sent, so that none of its defaults (the prompt "wheel" is one) is active."""
    run_input = RunInput(
        image_url="https://a.example/p.png",
        prompt="",
        max_masks=7,
        point_prompts=(PointPrompt(3, 4, 1, 1),),
        box_prompts=(BoxPrompt(1, 2, 30, 40, 1),),
    )
    assert json.loads(create_body(run_input, Labels("att_1"))) == {
        "input": {
            "image_url": "https://a.example/p.png",
            "prompt": "",
            "max_masks": 7,
            "point_prompts": [{"x": 3, "y": 4, "label": 1, "object_id": 1}],
            "box_prompts": [{"x_min": 1, "y_min": 2, "x_max": 30, "y_max": 40, "object_id": 1}],
            "apply_mask": False,
            "return_multiple_masks": True,
            "include_scores": True,
            "include_boxes": True,
            "output_format": "png",
            "sync_mode": False,
        },
        "client_ref": "att_1",
        "metadata": {"maskgate_attempt": "att_1"},
    }


def test_upload_body() -> None:
    """An upload is announced with its name, type and size."""
    body = upload_body(filename="image.png", media_type="image/png", size_bytes=10)
    assert json.loads(body) == {"filename": "image.png", "mime_type": "image/png", "size_bytes": 10}


def test_queued_run() -> None:
    """The answer to a create call may hold nothing but an id and a status."""
    run = read_run(b'{"id": "0197aaaa", "status_code": "queued"}')
    assert (run.id, run.status, run.output, run.cost) == ("0197aaaa", RunStatus.PENDING, None, None)


@pytest.mark.parametrize(
    ("record", "status"),
    [
        ({"status_code": "queued"}, RunStatus.PENDING),
        ({"status_code": "dispatching"}, RunStatus.PENDING),
        ({"status_code": "running"}, RunStatus.PENDING),
        ({"status_code": "a word of next year"}, RunStatus.PENDING),
        ({"status_code": "succeeded"}, RunStatus.SUCCEEDED),
        ({"status_code": "SUCCEEDED"}, RunStatus.SUCCEEDED),
        ({"status": "completed"}, RunStatus.SUCCEEDED),
        ({"status_code": None, "status": "succeeded"}, RunStatus.SUCCEEDED),
        ({"status_code": 200, "status": "running"}, RunStatus.PENDING),
        ({"status_code": "failed", "status": "succeeded"}, RunStatus.FAILED),
        ({"status_code": "partial_succeeded"}, RunStatus.PARTLY_SUCCEEDED),
        ({"status_code": "errored"}, RunStatus.FAILED),
        ({"status_code": "canceled"}, RunStatus.CANCELLED),
        ({"status_code": "cancelled"}, RunStatus.CANCELLED),
        ({}, RunStatus.PENDING),
    ],
)
def test_status(record: dict[str, object], status: RunStatus) -> None:
    """`status_code` is read before `status`, in every spelling; an unknown word means that the run goes on."""
    assert read_run(json.dumps({"id": "r1", **record}).encode()).status is status


def test_figures() -> None:
    """Cost is exact money and the duration is seconds."""
    run = read_run(
        b'{"id": "r1", "status_code": "succeeded", "output": {"outputs": []}, "cost": "0.005", "duration_ms": 1234}'
    )
    assert (run.cost, run.seconds) == (Money(5000), 1.234)


def test_id_by_its_other_name() -> None:
    """A run may be called by `run_id`."""
    assert read_run(b'{"run_id": "r1", "status": "running"}').id == "r1"


@pytest.mark.parametrize(
    ("record", "failure"),
    [
        (
            {
                "failure_code": "INPUT_VALIDATION_FAILED",
                "failure_message": "too big",
                "failure_stage_code": "preprocess",
            },
            Failure("INPUT_VALIDATION_FAILED", "too big", "preprocess"),
        ),
        ({"failure_stage": "dispatch"}, Failure(None, None, "dispatch")),
        ({"error": {"code": "X", "message": "words"}}, Failure("X", "words", None)),
        ({"error": "words"}, Failure(None, "words", None)),
        ({}, Failure(None, None, None)),
    ],
)
def test_failure(record: dict[str, object], failure: Failure) -> None:
    """A failed run says why under newer names, older ones, or the SDK's."""
    assert read_run(json.dumps({"id": "r1", "status_code": "failed", **record}).encode()).failure == failure


@pytest.mark.parametrize("body", [b"", b"[]", b'"r1"', b"null", b"{}", b'{"status_code": "queued"}', b"<html>"])
def test_no_run(body: bytes) -> None:
    """An answer with neither an id nor masks is no run."""
    with pytest.raises(ValueError, match=r".+"):
        read_run(body)


def test_upload() -> None:
    """The answers of an upload give the asset, where its bytes go, and where it can be read."""
    assert read_upload(b'{"asset_id": "a1", "upload_url": "https://s.example/x?sig=1"}') == Upload(
        "a1", "https://s.example/x?sig=1"
    )
    assert read_asset_url(b'{"id": "a1", "url": "https://s.example/y"}') == "https://s.example/y"
    for read in (read_upload, read_asset_url):
        with pytest.raises(ValueError, match="missing"):
            read(b"{}")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            b'{"code":"PERMISSION_DENIED","message":"no scope","errors":null}',
            ErrorText("PERMISSION_DENIED", "PERMISSION_DENIED: no scope"),
        ),
        (b'{"error":{"code":"X","message":"nested"}}', ErrorText("X", "X: nested")),
        (b'{"error":"flat","code":"X"}', ErrorText("X", "X: flat")),
        (b'{"detail":"in words"}', ErrorText(None, "in words")),
        (
            b'{"detail":[{"loc":["body","image_url"],"msg":"field required","type":"missing"}]}',
            ErrorText(None, "body.image_url: field required"),
        ),
        (
            b'{"code":"VALIDATION_ERROR","message":"invalid","errors":[{"field":"input.n","message":"at most 32"}]}',
            ErrorText("VALIDATION_ERROR", "VALIDATION_ERROR: invalid; input.n: at most 32"),
        ),
        (b'{"code":"ONLY"}', ErrorText("ONLY", "ONLY")),
        (b"<html>502 Bad Gateway</html>", ErrorText(None, "<html>502 Bad Gateway</html>")),
        (b"", ErrorText(None, "")),
        (b"[1]", ErrorText(None, "")),
        (b'{"detail":[null,7]}', ErrorText(None, "None; 7")),
    ],
)
def test_error(body: bytes, error: ErrorText) -> None:
    """Every form of an error answer gives its code and its words."""
    assert read_error(body) == error


def test_path() -> None:
    """An id becomes one segment of a path, and one that would lead elsewhere is refused."""
    assert segment_of_path("0197/a?b") == "0197%2Fa%3Fb"
    for name in ("", ".", "..", "x" * 201):
        with pytest.raises(ValueError, match="no id"):
            segment_of_path(name)
