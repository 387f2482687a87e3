"""Questions and errors, ours to Runflow's and back."""

from __future__ import annotations

import pytest

from providers.contract import (
    Box,
    Deployment,
    ObjectPrompt,
    Outcome,
    Point,
    Prompt,
    Question,
    Reply,
    Secret,
    TextPrompt,
)
from providers.runflow.account import Account, may_upload_to
from providers.runflow.translate import picture_url, to_error, to_failure, to_run_input
from providers.runflow.wire import BoxPrompt, Failure, PointPrompt, Run, RunInput, RunStatus
from tests.providers.loopback import picture_of

URL = "https://a.example/p.png"


def question(prompt: Prompt, *, max_masks: int = 10, url: str | None = None) -> Question:
    """Return a question about a small picture."""
    return Question(picture_of((40, 50), url=url), prompt, max_masks)


def run_input_of(asked: Question) -> RunInput:
    """Return what SAM 3 is asked about a picture at our address."""
    run_input = to_run_input(asked, image_url=URL)
    assert isinstance(run_input, RunInput)
    return run_input


def test_text() -> None:
    """A text prompt goes as the prompt, without points and boxes."""
    run_input = run_input_of(question(TextPrompt("left shoe")))
    assert (run_input.prompt, run_input.point_prompts, run_input.box_prompts) == ("left shoe", (), ())
    assert (run_input.image_url, run_input.max_masks) == (URL, 10)


def test_object() -> None:
    """Points and box of an object prompt share one object_id, and the prompt is sent empty."""
    prompt = ObjectPrompt((Point(3, 4), Point(5, 6, positive=False)), Box(1, 2, 30, 40))
    run_input = run_input_of(question(prompt))
    assert run_input.prompt == ""
    assert run_input.point_prompts == (PointPrompt(3, 4, 1, 1), PointPrompt(5, 6, 0, 1))
    assert run_input.box_prompts == (BoxPrompt(1, 2, 30, 40, 1),)


@pytest.mark.parametrize(("asked", "sent"), [(0, 1), (1, 1), (32, 32), (100, 32)])
def test_max_masks(asked: int, sent: int) -> None:
    """No more masks are asked for than wanted, and no more than Runflow gives."""
    assert run_input_of(question(TextPrompt("x"), max_masks=asked)).max_masks == sent


def test_picture_url() -> None:
    """A picture goes by its own address unless the deployment says to upload it."""
    default = Deployment("eu", "runflow", "m", "eu")
    upload = Deployment("eu", "runflow", "m", "eu", options={"picture_as": "upload"})
    assert picture_url(question(TextPrompt("x"), url=URL), default) == URL
    assert picture_url(question(TextPrompt("x"), url=URL), upload) is None
    assert picture_url(question(TextPrompt("x")), default) is None


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (400, b'{"code":"BAD_REQUEST","message":"bad shape","errors":null}', Outcome.REFUSED),
        (401, b'{"code":"UNAUTHORIZED","message":"no","errors":null}', Outcome.DENIED),
        (402, b'{"code":"INSUFFICIENT_CREDITS","message":"empty"}', Outcome.DENIED),
        (400, b'{"error":{"code":"INSUFFICIENT_CREDIT","message":"empty"}}', Outcome.DENIED),
        (403, b'{"code":"EMAIL_NOT_VERIFIED"}', Outcome.DENIED),
        (404, b"Not Found", Outcome.DENIED),
        (422, b'{"detail":[{"loc":["body"],"msg":"required"}]}', Outcome.REFUSED),
        (429, b'{"code":"RATE_LIMITED","message":"slower"}', Outcome.OVERLOADED),
        (500, b"", Outcome.FAILED),
        (503, b'{"code":"MODEL_UNAVAILABLE"}', Outcome.OVERLOADED),
    ],
)
def test_error(status: int, body: bytes, outcome: Outcome) -> None:
    """Status and code together say what an error answer means, and nothing about a bill."""
    error = to_error(Reply(status, {}, body), now=0.0)
    assert (error.outcome, error.status, error.may_have_charged) == (outcome, status, False)


@pytest.mark.parametrize("status", [409, 499, 502, 504, 520, 524])
def test_an_error_that_is_in_doubt(status: int) -> None:
    """A conflict means that there is a run under our key; and what a proxy says is no word of Runflow's."""
    error = to_error(Reply(status, {}, b'{"code":"CONFLICT"}'), now=0.0)
    assert (error.outcome, error.elsewhere, error.may_have_charged) == (Outcome.FAILED, True, True)


def test_error_hides_the_key() -> None:
    """An answer that echoes the key is quoted without it."""
    reply = Reply(401, {}, b'{"code":"UNAUTHORIZED","message":"unknown key rf_live_1"}')
    assert to_error(reply, now=0.0, hide=["rf_live_1"]).message == "Runflow answered 401: UNAUTHORIZED: unknown key ***"


def test_error_carries_the_wait() -> None:
    """A Retry-After is passed on."""
    assert to_error(Reply(429, {"retry-after": "1.5"}, b""), now=0.0).retry_after_seconds == 1.5


def run(status: RunStatus, failure: Failure | None) -> Run:
    """Return a run that ended badly."""
    return Run("r1", status, None, None, 0.0, failure)


@pytest.mark.parametrize(
    ("ended", "outcome", "words"),
    [
        (
            run(
                RunStatus.FAILED, Failure("INPUT_VALIDATION_FAILED", "image dimensions exceed 4096x4096", "preprocess")
            ),
            Outcome.REFUSED,
            "Runflow's run failed: INPUT_VALIDATION_FAILED: preprocess: image dimensions exceed 4096x4096",
        ),
        (run(RunStatus.FAILED, Failure("OOM", None, None)), Outcome.FAILED, "Runflow's run failed: OOM"),
        (run(RunStatus.FAILED, Failure(None, None, None)), Outcome.FAILED, "Runflow's run failed: no reason given"),
        (run(RunStatus.CANCELLED, None), Outcome.FAILED, "Runflow's run was cancelled"),
    ],
)
def test_failure(ended: Run, outcome: Outcome, words: str) -> None:
    """A run that failed or was cancelled is not billed, and names itself and its reason."""
    error = to_failure(ended)
    assert (error.outcome, error.message, error.upstream_ref, error.may_have_charged) == (outcome, words, "r1", False)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://api.example/put/1?sig=2", True),
        ("https://api.example:443/put/1", True),
        ("http://api.example/put/1", False),
        ("https://api.example:8443/put/1", False),
        ("https://bucket.s3.eu-central-1.amazonaws.com/x?X-Amz-Signature=1", True),
        ("https://1a2b.r2.cloudflarestorage.com/x", True),
        ("http://bucket.s3.amazonaws.com/x", False),
        ("https://bucket.s3.amazonaws.com:8443/x", False),
        ("https://me@bucket.s3.amazonaws.com/x", False),
        ("https://me@api.example/put/1", False),
        ("https://amazonaws.com.evil.example/x", False),
        ("https://evilamazonaws.com/x", False),
        ("http://169.254.169.254/latest", False),
        ("https://127.0.0.1/x", False),
        ("https://[::1", False),
        ("https://api.example:x/", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_upload_addresses(url: str, allowed: bool) -> None:  # noqa: FBT001 - a table
    """A picture is put at the endpoint's own origin or on a known host over https, and nowhere else."""
    account = Account.of(Deployment("eu", "runflow", "meta/sam-3/image", "eu", "https://api.example", Secret("k")))
    assert may_upload_to(url, account) is allowed


def test_upload_addresses_by_option() -> None:
    """The option asset_hosts replaces the known hosts."""
    options = {"asset_hosts": "store.example, *.files.example"}
    deployment = Deployment("eu", "runflow", "meta/sam-3/image", "eu", "https://api.example", Secret("k"), options)
    account = Account.of(deployment)
    urls = [
        "https://store.example/x",
        "https://a.files.example/x",
        "https://b.store.example/x",
        "https://x.runflow.io/x",
    ]
    assert [may_upload_to(url, account) for url in urls] == [True, True, False, False]
