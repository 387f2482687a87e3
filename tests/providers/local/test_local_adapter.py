"""The provider `local`: decoding, workers, deadlines and what goes wrong with them."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from providers.contract import (
    AutomaticPrompt,
    Box,
    Capabilities,
    Deadline,
    Deployment,
    Fetcher,
    Instance,
    Means,
    Model,
    ObjectPrompt,
    Picture,
    Point,
    PromptKind,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
    ProviderUnreachable,
    Question,
    Secret,
    Upstream,
)
from providers.local import ClassicEngine, Local
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders

DEPLOYMENT = Deployment("local", "local", "classic", "local")
SQUARE = Box(60, 40, 140, 100)


class Unused(Upstream, Fetcher):
    """The way to the network, which a local model never takes."""

    async def send(self, method: str, url: str, **_: Any) -> NoReturn:
        """Fail."""
        pytest.fail(f"{method} {url} was sent")

    async def fetch(self, url: str, **_: Any) -> NoReturn:
        """Fail."""
        pytest.fail(f"{url} was fetched")


def picture(form: str = "PNG", mode: str = "RGB") -> Picture:
    """Return a picture of 200 x 160 pixels with a red rectangle on white."""
    pixels = np.full((160, 200, 3), 245, np.uint8)
    pixels[SQUARE.y_min : SQUARE.y_max, SQUARE.x_min : SQUARE.x_max] = (200, 30, 30)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form)
    return Picture(file.getvalue(), f"image/{form.lower()}", 200, 160, "blake3:00")


def means(workers: ThreadWorkers) -> Means:
    """Return what the provider is built with; it takes the decoder processes of it."""
    unused = Unused()
    return Means(unused, unused, workers, shared_decoders(), time.monotonic, asyncio.sleep)


@pytest.fixture
def workers() -> Iterator[ThreadWorkers]:
    """One thread, and no more than one job that waits for it."""
    pool = ThreadWorkers(threads=1, queue=1)
    yield pool
    pool.close()


def in_a_minute() -> Deadline:
    """Return a deadline that does not matter."""
    return Deadline.after(60, time.monotonic)


@dataclass(frozen=True)
class Slow:
    """An engine that takes its time."""

    seconds: float = 60.0
    name: str = "slow"
    model: Model = field(default_factory=lambda: Model("slow", "slow", Capabilities(frozenset({PromptKind.AUTOMATIC}))))

    def segment(self, rgb: npt.NDArray[np.uint8], question: Question) -> Sequence[Instance]:
        """Wait, and find nothing."""
        assert rgb.shape[:2] == question.picture.size
        time.sleep(self.seconds)
        return []


@dataclass(frozen=True)
class Broken(Slow):
    """An engine with a defect."""

    def segment(self, rgb: npt.NDArray[np.uint8], question: Question) -> Sequence[Instance]:  # noqa: ARG002
        """Fail."""
        raise RuntimeError("out of ideas")


@dataclass(frozen=True)
class Crashing(Slow):
    """An engine that takes its process with it, as a codec does."""

    def segment(self, rgb: npt.NDArray[np.uint8], question: Question) -> Sequence[Instance]:  # noqa: ARG002
        """Die."""
        os.abort()


AUTOMATIC = Question(picture(), AutomaticPrompt(), max_masks=5)
SLOWLY = replace(DEPLOYMENT, model="slow")


def test_it_says_what_it_can_be_asked(workers: ThreadWorkers) -> None:
    """The model `classic` reads points, boxes and nothing, but no text, and gives no scores."""
    local = Local(means(workers))
    assert (local.name, set(local.models)) == ("local", {"classic"})
    capabilities = local.models["classic"].capabilities
    assert capabilities.prompt_kinds == {PromptKind.OBJECT, PromptKind.AUTOMATIC}
    assert (capabilities.points, capabilities.boxes, capabilities.gives_scores) == (True, True, False)
    assert capabilities.limits.max_side == 16_384


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "sam9"}, "model is 'sam9'.*one of: classic"),
        ({"endpoint": "http://localhost:1"}, "endpoint is 'http://localhost:1'.*leave it empty"),
        ({"credential": Secret("s3cret")}, "credential is set.*leave it out"),
        ({"options": {"device": "gpu"}}, "options has device.*leave them out"),
    ],
)
def test_a_deployment_that_cannot_work_is_refused(
    workers: ThreadWorkers, changed: dict[str, Any], message: str
) -> None:
    """Each field that a local deployment cannot have is named, with what to do, and never a credential."""
    local = Local(means(workers))
    local.check(DEPLOYMENT)
    with pytest.raises(ValueError, match=message) as refused:
        local.check(replace(DEPLOYMENT, **changed))
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "L"), ("JPEG", "RGB"), ("JPEG", "L"), ("WEBP", "RGB")],
)
@pytest.mark.parametrize("prompt", [ObjectPrompt(box=SQUARE), ObjectPrompt(points=(Point(100, 70),))])
async def test_an_object_is_found_in_every_kind_of_picture(
    workers: ThreadWorkers, form: str, mode: str, prompt: ObjectPrompt
) -> None:
    """The rectangle comes back from a box and from a click, whatever file the picture is."""
    local = Local(means(workers))
    question = Question(picture(form, mode), prompt, max_masks=1)
    segmentation, usage = await local.segment(question, DEPLOYMENT, attempt_id="a", deadline=in_a_minute())
    (instance,) = segmentation.instances
    truth = np.zeros((160, 200), np.uint8)
    truth[SQUARE.y_min : SQUARE.y_max, SQUARE.x_min : SQUARE.x_max] = 1
    assert instance.mask.iou(type(instance.mask).from_bitmap(truth)) >= 0.95
    assert usage.reported is None
    await local.close()


async def test_it_finds_everything_and_counts_its_seconds(workers: ThreadWorkers) -> None:
    """Without a prompt it finds the rectangle and what is around it, and says how long that took."""
    local = Local(means(workers))
    segmentation, usage = await local.segment(AUTOMATIC, DEPLOYMENT, attempt_id="a", deadline=in_a_minute())
    assert [instance.mask.area for instance in segmentation.instances] == [160 * 200 - SQUARE.area, SQUARE.area]
    assert 0 < usage.seconds < 60


@pytest.mark.parametrize("data", [b"", b"not a picture", picture().data[:60]])
async def test_what_cannot_be_decoded_is_refused(workers: ThreadWorkers, data: bytes) -> None:
    """No bytes, other bytes and a cut file are the request's fault, and cost nothing."""
    question = replace(AUTOMATIC, picture=replace(picture(), data=data))
    with pytest.raises(ProviderRefused, match="cannot be decoded") as refused:
        await Local(means(workers)).segment(question, DEPLOYMENT, attempt_id="a", deadline=in_a_minute())
    assert (refused.value.elsewhere, refused.value.may_have_charged) == (False, False)


async def test_a_picture_of_another_size_is_refused(workers: ThreadWorkers) -> None:
    """Masks of a size that nobody expects are never made."""
    question = replace(AUTOMATIC, picture=replace(picture(), width=160, height=200))
    with pytest.raises(ProviderRefused, match="200 x 160 pixels, and is said to have 160 x 200"):
        await Local(means(workers)).segment(question, DEPLOYMENT, attempt_id="a", deadline=in_a_minute())


async def test_an_engine_that_fails_is_a_provider_that_failed(workers: ThreadWorkers) -> None:
    """Whatever an engine raises, the caller hears ProviderFailed with its words."""
    local = Local(means(workers), [Broken()])
    with pytest.raises(ProviderFailed, match="the engine slow failed: RuntimeError: out of ideas"):
        await local.segment(AUTOMATIC, SLOWLY, attempt_id="a", deadline=in_a_minute())


async def test_a_picture_that_breaks_its_decoder_is_refused(workers: ThreadWorkers) -> None:
    """A crash is the picture's fault and costs nothing; what only takes too long may go to another provider."""
    for engine, elsewhere, words in ((Crashing(), False, "crashed"), (Slow(), True, "more than 2.2 seconds")):
        with pytest.raises(ProviderRefused, match=words) as refused:
            await Local(means(workers), [engine]).segment(AUTOMATIC, SLOWLY, attempt_id="a", deadline=in_a_minute())
        error = refused.value
        assert (elsewhere, True, False) == (error.elsewhere, error.invalid_picture, error.may_have_charged)


async def test_a_deadline_that_has_passed_starts_nothing(workers: ThreadWorkers) -> None:
    """Without time left the engine is not called."""
    deadline = Deadline.after(-1, time.monotonic)
    with pytest.raises(ProviderUnreachable, match="before it was begun"):
        await Local(means(workers), [Slow()]).segment(AUTOMATIC, SLOWLY, attempt_id="a", deadline=deadline)


async def test_work_past_the_deadline_is_unanswered_and_free(workers: ThreadWorkers) -> None:
    """The caller hears at the deadline, nothing may have been charged, and the next question is answered."""
    local = Local(means(workers), [Slow(), ClassicEngine()])
    deadline = Deadline.after(0.3, time.monotonic)
    with pytest.raises(ProviderUnanswered, match="still at work at the deadline") as late:
        await local.segment(AUTOMATIC, SLOWLY, attempt_id="a", deadline=deadline)
    assert (late.value.elsewhere, late.value.may_have_charged) == (True, False)
    again = await local.segment(AUTOMATIC, DEPLOYMENT, attempt_id="b", deadline=in_a_minute())
    assert 2 == len(again[0].instances)


async def test_no_free_decoder_is_an_overloaded_provider(workers: ThreadWorkers) -> None:
    """A question that gets no process before its deadline goes elsewhere, and is never worked on."""
    local = Local(means(workers), [Slow()])
    first = asyncio.create_task(local.segment(AUTOMATIC, SLOWLY, attempt_id="a", deadline=in_a_minute()))
    await asyncio.sleep(0)
    with pytest.raises(ProviderOverloaded, match="no decoder was free") as busy:
        await local.segment(AUTOMATIC, SLOWLY, attempt_id="b", deadline=Deadline.after(0.1, time.monotonic))
    assert (busy.value.elsewhere, busy.value.may_have_charged) == (True, False)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
