"""Every provider answers the questions that it says it can be asked, and answers them right."""

from __future__ import annotations

import asyncio
import itertools
import math
import ssl
from dataclasses import replace

import pytest

from providers.contract import Instance, Mask, Money, PromptKind, TextPrompt
from providers.sandbox.scenes import Scene
from tests.providers.contract_suite.houses import House, open_house
from tests.providers.contract_suite.questions import Known, known_questions, picture_of
from tests.providers.contract_suite.subjects import REMOTE, Subject

SIDE_BY_SIDE = 32


def check_instance(instance: Instance, scene: Scene, *, gives_scores: bool) -> None:
    """Refuse an instance that is not in our form."""
    bitmap = instance.mask.bitmap
    assert scene.size == instance.mask.size == bitmap.shape
    assert {0, 1} >= set(bitmap.ravel().tolist())
    assert instance.mask.area == int(bitmap.sum()) > 0
    assert Mask.from_counts(scene.size, instance.mask.counts) == instance.mask
    assert gives_scores == (instance.score is not None)
    assert instance.score is None or 0 <= instance.score <= 1


async def test_every_kind_of_prompt_is_answered(house: House, scenes: dict[str, Scene]) -> None:
    """Each object of a known scene comes back as its mask, at the picture's size, by every prompt that is declared."""
    scene = scenes["shoes"]
    for known in known_questions(scene, house.capabilities):
        segmentation, _ = await house.ask(known.question())
        assert "" == known.wrong(segmentation, least_iou=house.subject.least_iou)
        assert () == segmentation.warnings
        for instance in segmentation.instances:
            check_instance(instance, scene, gives_scores=house.capabilities.gives_scores)
            assert instance.label == (known.prompt.text if isinstance(known.prompt, TextPrompt) else None)


async def test_a_picture_that_came_by_url_is_answered_alike(house: House, known: Known) -> None:
    """Whether the picture goes as bytes or as its address, the masks are the same."""
    by_bytes, _ = await house.ask(known.question())
    by_url, _ = await house.ask(known.question(url=house.sandbox.picture_url(known.scene.name)))
    assert by_bytes == by_url


async def test_naming_nothing_finds_nothing(house: House, scenes: dict[str, Scene]) -> None:
    """A text that names nothing in the picture is answered, by no instance at all."""
    if PromptKind.TEXT in house.capabilities.prompt_kinds:
        known = Known(scenes["shoes"], TextPrompt("submarine"), ())
        segmentation, usage = await house.ask(known.question())
        assert () == segmentation.instances
        assert [] == house.billed_beyond(usage)
        assert (house.subject.upstream is not None) == bool(house.billed())


async def test_fewer_masks_are_still_right(house: House, scenes: dict[str, Scene]) -> None:
    """Asked for one mask, or for sure ones only, a provider returns some of what it returns otherwise."""
    scene = scenes["shoes"]
    known = max(known_questions(scene, house.capabilities), key=lambda known: len(known.truth))
    every, _ = await house.ask(known.question())
    one, _ = await house.ask(known.question(max_masks=1))
    assert one.instances
    assert set(one.instances) <= set(every.instances)
    sure, _ = await house.ask(replace(known.question(), min_score=0.97))
    assert set(sure.instances) <= set(every.instances)
    assert all(instance.score is None or instance.score >= 0.97 for instance in sure.instances)


async def test_usage_says_what_was_consumed(house: House, known: Known) -> None:
    """The seconds are a duration; money and name of the call are those of the upstream's books, or are not there."""
    _, usage = await house.ask(known.question(), attempt_id="att_by_this_name")
    assert 0 <= usage.seconds < 30
    assert math.isfinite(usage.seconds)
    calls = house.billed()
    if house.subject.upstream is None:
        assert usage.seconds > 0
        assert (None, None) == (usage.reported, usage.upstream_ref)
    else:
        billed = [(call["id"], Money(int(str(call["microusd"])))) for call in calls]
        assert [(usage.upstream_ref, usage.reported)] == (billed if house.subject.names_calls else [(None, None)])
        assert 1 == len(billed)
        assert ["att_by_this_name" if house.subject.names_attempts else None] == [call["client_ref"] for call in calls]


async def test_questions_side_by_side_do_not_mix(house: House, scenes: dict[str, Scene]) -> None:
    """Each of 32 questions at once is answered as it is when it is asked alone."""
    every = [known for scene in scenes.values() for known in known_questions(scene, house.capabilities)]
    chosen = list(itertools.islice(itertools.cycle(every[:: max(1, len(every) // SIDE_BY_SIDE)]), SIDE_BY_SIDE))
    alone = {known: (await house.ask(known.question()))[0] for known in dict.fromkeys(chosen)}
    together = await asyncio.gather(*(house.ask(known.question()) for known in chosen))
    for known, (segmentation, _) in zip(chosen, together, strict=True):
        assert alone[known] == segmentation
    named = [usage.upstream_ref for _, usage in together if usage.upstream_ref is not None]
    assert len(named) == len(set(named))


async def test_two_instances_share_nothing(house: House, known: Known, tls: ssl.SSLContext) -> None:
    """Closing one instance of a provider leaves another one whole."""
    async with open_house(house.subject, house.sandbox, tls=tls) as other:
        first, second = await asyncio.gather(house.ask(known.question()), other.ask(known.question()))
        assert first[0] == second[0]
    again, _ = await house.ask(known.question())
    assert first[0] == again


@pytest.mark.parametrize("subject", REMOTE, ids=lambda subject: subject.name)
async def test_a_changed_deployment_is_called_as_it_is_now(house: House, known: Known, subject: Subject) -> None:
    """A deployment that keeps its name and changes its endpoint is called at the new one at once."""
    broken = replace(house.deployment, endpoint=f"{house.deployment.endpoint}/elsewhere")
    before, _ = await house.ask(known.question())
    house_as_broken = replace(house, deployment=broken)
    error = await house_as_broken.failure(known.question())
    assert 404 == error.status
    assert before == (await house.ask(known.question()))[0]


async def test_what_is_no_picture_is_refused(house: House, known: Known) -> None:
    """Bytes that cannot be decoded are the caller's fault: refused, nowhere else, for nothing."""
    broken = replace(picture_of(known.scene), data=b"\x89PNG\r\n\x1a\n and no picture")
    error = await house.failure(replace(known.question(), picture=broken))
    assert ("refused", False, False) == (error.outcome, error.elsewhere, error.may_have_charged)
    assert [] == house.billed()
