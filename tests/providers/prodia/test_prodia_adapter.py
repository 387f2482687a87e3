"""Attempts at Prodia over sockets, against a server that behaves as its documents say, faults included."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from providers.contract import (
    AutomaticPrompt,
    Deadline,
    Deployment,
    Fate,
    Found,
    Mask,
    Money,
    PromptKind,
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
    ProviderUnreachable,
    Question,
    Secret,
    Segmentation,
    TextPrompt,
    Usage,
)
from providers.prodia import Prodia
from tests.providers.loopback import disc, file_of, picture_of, real_means, serving

SIZE = (256, 300)
DISCS = [disc(SIZE, x=60, y=60, radius=30), disc(SIZE, x=200, y=150, radius=50)]
TRUTHS = [Mask.from_bitmap(bitmap) for bitmap in DISCS]
TOKEN = "tok_test"
B = "0f" * 30
JOB: dict[str, Any] = {
    "id": "0b6c2f2e",
    "state": {"current": "completed"},
    "metrics": {"elapsed": 0.0884},
    "price": {"product": "inference-sam3-segment-v1", "dollars": 0.0011},
}


def answer(job: dict[str, Any], outputs: list[bytes], *, status: int = 200) -> web.Response:
    """Return Prodia's multipart answer."""
    parts = [("job", "job.json", "application/json", json.dumps(job).encode())]
    parts += [("output", f"mask_{n}.png", "image/png", output) for n, output in enumerate(outputs)]
    body = b"".join(
        f'--{B}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, filename, media_type, content in parts
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={B}"}
    return web.Response(status=status, body=body + f"--{B}--\r\n".encode(), headers=headers)


@dataclass
class FakeProdia:
    """Prodia as its documents show it: what it answers can be replaced by a test."""

    answer: Callable[[web.Request], Awaitable[web.Response]] | None = None
    seen: list[tuple[str, dict[str, str], dict[str, tuple[str | None, str | None, bytes]]]] = field(
        default_factory=list
    )
    """Address, headers, and the parts by name: filename, media type, content."""

    def app(self) -> web.Application:
        """Return the server."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v2/job", self._job)
        return app

    async def _job(self, request: web.Request) -> web.Response:
        parts: dict[str, tuple[str | None, str | None, bytes]] = {}
        async for part in await request.multipart():
            assert part.name is not None  # type: ignore[union-attr]
            content = bytes(await part.read())  # type: ignore[union-attr]
            parts[part.name] = (part.filename, part.headers.get("Content-Type"), content)  # type: ignore[union-attr]
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((request.path_qs, headers, parts))
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401, text="token is invalid")
        if self.answer is not None:
            return await self.answer(request)
        return answer(JOB, [file_of(bitmap) for bitmap in DISCS])


@dataclass
class Scene:
    """A server, an adapter and a deployment that points at it."""

    fake: FakeProdia
    prodia: Prodia
    deployment: Deployment

    async def ask(self, *, seconds: float = 20) -> tuple[Segmentation, Usage]:
        """Make one attempt."""
        question = Question(picture_of(SIZE), TextPrompt("robot cat"), 10)
        deadline = Deadline.after(seconds, time.monotonic)
        return await self.prodia.segment(question, self.deployment, attempt_id="att_1", deadline=deadline)

    async def failure(self, kind: type[ProviderError], *, seconds: float = 20) -> ProviderError:
        """Make one attempt that has to fail, and return its error."""
        with pytest.raises(kind) as caught:
            await self.ask(seconds=seconds)
        return caught.value


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Serve a Prodia that finds both discs."""
    fake = FakeProdia()
    async with serving(fake.app()) as base, real_means(base) as means:
        deployment = Deployment("prodia", "prodia", "inference.sam3.segment.v1", "global", f"{base}/v2", Secret(TOKEN))
        prodia = Prodia(means)
        prodia.check(deployment)
        yield Scene(fake, prodia, deployment)
        await prodia.close()


async def test_text(scene: Scene) -> None:
    """A text prompt brings every mask, without scores, and the price that Prodia names."""
    segmentation, usage = await scene.ask()
    assert [instance.mask for instance in segmentation.instances] == TRUTHS
    assert [(instance.score, instance.label) for instance in segmentation.instances] == [(None, "robot cat")] * 2
    assert usage == Usage(seconds=0.0884, reported=Money(1100), upstream_ref="0b6c2f2e")


async def test_request(scene: Scene) -> None:
    """One POST asks for multipart and the price, with the job and the picture as it is."""
    await scene.ask()
    [(where, headers, parts)] = scene.fake.seen
    assert where == "/v2/job?price=true"
    assert headers["accept"] == "multipart/form-data"
    assert parts == {
        "job": (
            "job.json",
            "application/json",
            b'{"type":"inference.sam3.segment.v1","config":{"prompt":"robot cat","confidence_threshold":0.5}}',
        ),
        "input": ("input.png", "image/png", picture_of(SIZE).data),
    }


async def test_nothing_found(scene: Scene) -> None:
    """A job without outputs is a success without instances, and has its price."""

    async def nothing(_: web.Request) -> web.Response:
        return answer(JOB, [])

    scene.fake.answer = nothing
    segmentation, usage = await scene.ask()
    assert segmentation == Segmentation(())
    assert usage.reported == Money(1100)


async def test_one_picture(scene: Scene) -> None:
    """A picture alone is one mask, of which nothing more is known."""

    async def picture(_: web.Request) -> web.Response:
        return web.Response(body=file_of(DISCS[0]), content_type="image/png")

    scene.fake.answer = picture
    segmentation, usage = await scene.ask()
    assert [instance.mask for instance in segmentation.instances] == TRUTHS[:1]
    assert usage == Usage()


async def test_many_masks(scene: Scene) -> None:
    """A large answer, read off the event loop, brings every mask."""

    async def many(_: web.Request) -> web.Response:
        return answer(JOB, [file_of(DISCS[n % 2]) for n in range(120)])

    scene.fake.answer = many
    segmentation, _ = await scene.ask()
    assert [instance.mask for instance in segmentation.instances] == TRUTHS * 60


@pytest.mark.parametrize(
    ("status", "kind", "retry_after", "seconds"),
    [
        (400, ProviderRefused, None, None),
        (402, ProviderDenied, None, None),
        (413, ProviderRefused, None, None),
        (429, ProviderOverloaded, None, None),
        (429, ProviderOverloaded, "3", 3.0),
        (429, ProviderOverloaded, "0.25", 0.25),
        (429, ProviderOverloaded, "Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (500, ProviderFailed, None, None),
    ],
)
async def test_errors(
    scene: Scene, status: int, kind: type[ProviderError], retry_after: str | None, seconds: float | None
) -> None:
    """An error status is not billed, not repeated, and carries Prodia's words, its job and its wait."""

    async def refuse(_: web.Request) -> web.Response:
        reply = answer({"id": "j1", "error": f"not with {TOKEN}"}, [], status=status)
        if retry_after is not None:
            reply.headers["Retry-After"] = retry_after
        return reply

    scene.fake.answer = refuse
    error = await scene.failure(kind)
    assert (error.status, error.upstream_ref, error.retry_after_seconds) == (status, "j1", seconds)
    assert error.may_have_charged is False
    assert "not with ***" in error.message
    assert len(scene.fake.seen) == 1


async def test_wrong_token(scene: Scene) -> None:
    """A token that is not taken is our account's fault, and could be cured elsewhere."""
    scene.deployment = replace(scene.deployment, credential=Secret("wrong"))
    error = await scene.failure(ProviderDenied)
    assert (error.elsewhere, error.message) == (True, "Prodia answered 401: token is invalid")


async def test_wrong_endpoint(scene: Scene) -> None:
    """An endpoint without a job is the owner's fault, and the message says what to check."""
    scene.deployment = replace(scene.deployment, endpoint=scene.deployment.endpoint.replace("/v2", "/v3"))
    assert "check the deployment's endpoint" in (await scene.failure(ProviderDenied)).message


@pytest.mark.parametrize(
    "reply",
    [
        lambda: web.Response(text="<html>", content_type="text/html"),
        lambda: web.Response(text="{}", content_type="application/json"),
        lambda: web.Response(status=204),
        lambda: web.Response(body=b"x", headers={"Content-Type": f"multipart/form-data; boundary={B}"}),
        lambda: answer(JOB, [b"<html>"]),
        lambda: answer(JOB, [file_of(DISCS[0])[:-20]]),
        lambda: answer({**JOB, "state": {"current": "processing"}}, []),
    ],
)
async def test_unreadable(scene: Scene, reply: Callable[[], web.Response]) -> None:
    """A 2xx that holds no segmentation fails the attempt, which may be billed."""

    async def say(_: web.Request) -> web.Response:
        return reply()

    scene.fake.answer = say
    error = await scene.failure(ProviderFailed)
    assert (error.may_have_charged, error.elsewhere) == (True, True)


async def test_failed_job(scene: Scene) -> None:
    """A job that failed in an answer of status 200 is a failure, and is not billed."""

    async def fail(_: web.Request) -> web.Response:
        return answer({"id": "j1", "state": {"current": "failed"}, "error": "no GPU"}, [])

    scene.fake.answer = fail
    error = await scene.failure(ProviderFailed)
    assert (error.message, error.may_have_charged, error.upstream_ref) == ("Prodia's job failed: no GPU", False, "j1")


async def test_lost(scene: Scene) -> None:
    """A call that is cut off before its answer may be billed, and is not repeated."""

    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    scene.fake.answer = cut
    assert (await scene.failure(ProviderUnanswered)).may_have_charged is True
    assert len(scene.fake.seen) == 1


async def test_hangs(scene: Scene) -> None:
    """A call that is not answered until the deadline may be billed."""
    never = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    scene.fake.answer = hang
    assert (await scene.failure(ProviderUnanswered, seconds=0.2)).may_have_charged is True
    never.set()


async def test_nobody_listens(scene: Scene) -> None:
    """An endpoint that refuses connections is unreachable: nothing left."""
    async with serving(web.Application()) as base:
        pass
    scene.deployment = replace(scene.deployment, endpoint=base)
    assert (await scene.failure(ProviderUnreachable)).may_have_charged is False


async def test_look_up(scene: Scene) -> None:
    """Nobody can tell what became of a lost call, and nothing is sent to find out."""
    deadline = Deadline.after(20, time.monotonic)
    found = await scene.prodia.look_up(scene.deployment, attempt_id="att_1", upstream_ref=None, deadline=deadline)
    assert found == Found(Fate.UNKNOWN)
    assert scene.fake.seen == []


async def test_check(scene: Scene) -> None:
    """A deployment with an option that there is not is refused."""
    with pytest.raises(ValueError, match=r"options\.speed is unknown; known options: max_masks"):
        scene.prodia.check(replace(scene.deployment, options={"speed": 1}))


@pytest.mark.parametrize("most", [0, 2048, 1.5, True, "3"])
async def test_check_max_masks(scene: Scene, most: Any) -> None:
    """The masks that are read of one answer are a whole number from 1 to 2047."""
    with pytest.raises(
        ValueError, match=r"options\.max_masks is .*; it has to be a whole number of masks from 1 to 2047"
    ):
        scene.prodia.check(replace(scene.deployment, options={"max_masks": most}))


async def test_max_masks(scene: Scene) -> None:
    """A deployment may say how many masks of an answer are read; the rest is named in a warning."""
    scene.deployment = replace(scene.deployment, options={"max_masks": 1})
    scene.prodia.check(scene.deployment)
    segmentation, _ = await scene.ask()
    assert [instance.mask for instance in segmentation.instances] == TRUTHS[:1]
    assert segmentation.warnings == ("Prodia sent 2 masks; only the first 1 were read.",)


@pytest.mark.parametrize("name", ["inference.sam2.segment.v1", "inference.segment.v1"])
async def test_automatic(scene: Scene, name: str) -> None:
    """SAM 2 is sent its type as it is configured and no config, and finds everything without labels."""
    scene.deployment = replace(scene.deployment, model=name)
    scene.prodia.check(scene.deployment)
    question = Question(picture_of(SIZE), AutomaticPrompt(), 10)
    deadline = Deadline.after(20, time.monotonic)
    segmentation, _ = await scene.prodia.segment(question, scene.deployment, attempt_id="att_1", deadline=deadline)
    assert [(instance.mask, instance.label) for instance in segmentation.instances] == [(mask, None) for mask in TRUTHS]
    [(_, _, parts)] = scene.fake.seen
    assert parts["job"] == ("job.json", "application/json", f'{{"type":"{name}"}}'.encode())


async def test_defaults(scene: Scene) -> None:
    """A token in the environment is a deployment of each product at the public endpoint; without one there is none."""
    deployments = scene.prodia.defaults({"PRODIA_TOKEN": "tok_x"})
    for deployment in deployments:
        scene.prodia.check(deployment)
        assert (deployment.endpoint, deployment.credential) == ("https://inference.prodia.com/v2", Secret("tok_x"))
    assert [(deployment.name, deployment.model) for deployment in deployments] == [
        ("prodia", "inference.sam3.segment.v1"),
        ("prodia-sam2", "inference.sam2.segment.v1"),
    ]
    assert list(scene.prodia.defaults({})) == []


@pytest.mark.parametrize(
    ("names", "family", "kind", "max_side", "characters"),
    [
        (("inference.sam3.segment.v1", "inference.segment.v2"), "sam3", PromptKind.TEXT, 4096, 500),
        (("inference.sam2.segment.v1", "inference.segment.v1"), "sam2", PromptKind.AUTOMATIC, 2048, None),
    ],
)
async def test_models(
    scene: Scene, names: tuple[str, str], family: str, kind: PromptKind, max_side: int, characters: int | None
) -> None:
    """Each product takes one kind of prompt about pictures of 10 MB within its sides; 0.005 dollars are reserved."""
    model, again = (scene.prodia.models[name] for name in names)
    assert model is again
    can = model.capabilities
    assert (can.limits.min_side, can.limits.max_side, can.limits.max_bytes) == (256, max_side, 10_000_000)
    assert (can.prompt_kinds, can.limits.max_prompt_characters) == (frozenset({kind}), characters)
    assert model.list_price is not None
    assert (model.name, model.family, model.list_price.usd, can.gives_scores) == (names[0], family, "0.005", False)
