"""Which of a provider's instances the caller gets, and in which order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.render.selection import select
from providers.contract import Instance, Mask, Picture, Question, Segmentation, TextPrompt

PICTURE = Picture(b"", "image/png", width=10, height=10, digest="blake3:0")


def instance(score: float | None, area: int = 1, label: str | None = None) -> Instance:
    """Return an instance of that many pixels."""
    return Instance(Mask((10, 10), np.array([0, area, 100 - area], np.int64)), score, label)


def selected(instances: list[Instance], *, max_masks: int = 10, min_score: float | None = None) -> list[Instance]:
    """Return what is selected."""
    question = Question(PICTURE, TextPrompt("x"), max_masks, min_score)
    return list(select(Segmentation(tuple(instances)), question).instances)


def test_the_best_come_first_and_the_largest_of_equals() -> None:
    """By score, then by area; those without a score come last, the largest first."""
    best, large, small = instance(0.9), instance(0.5, 50), instance(0.5, 20)
    unknown, tiny = instance(None, 99), instance(None, 3)
    zero = instance(0.0, 1)
    assert [best, large, small, zero, unknown, tiny] == selected([tiny, unknown, zero, small, large, best])


def test_equals_stay_in_the_provider_s_order() -> None:
    """Where neither score nor area tells them apart, nothing is shuffled."""
    equals = [instance(0.5, 9, label) for label in "abcdef"]
    assert equals == selected(equals)


def test_the_threshold_is_inclusive_and_spares_those_without_a_score() -> None:
    """Nobody knows how sure a provider without scores is, so nothing of its is left out."""
    instances = [instance(0.5), instance(0.4999), instance(None)]
    assert [instances[0], instances[2]] == selected(instances, min_score=0.5)
    assert instances == selected(instances, min_score=0.0)
    assert [instances[2]] == selected(instances, min_score=1.0)


def test_the_cut_comes_after_the_order() -> None:
    """Of many the best are kept, and not the first."""
    assert [0.9, 0.8] == [each.score for each in selected([instance(n / 10) for n in range(10)], max_masks=2)]


def test_the_provider_s_warnings_stay() -> None:
    """What was done to its masks is still to be told."""
    question = Question(PICTURE, TextPrompt("x"), 1)
    assert Segmentation((), ("resized",)) == select(Segmentation((), ("resized",)), question)


INSTANCES = st.lists(
    st.builds(instance, st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(1, 4)), max_size=12
)


@given(INSTANCES, st.integers(1, 12), st.none() | st.sampled_from([0.0, 0.25, 1.0]))
def test_nothing_better_is_left_out(instances: list[Instance], max_masks: int, min_score: float | None) -> None:
    """What is given is in order, is within the threshold, and is no worse than what is not given."""
    given_ = selected(instances, max_masks=max_masks, min_score=min_score)
    allowed = [i for i in instances if min_score is None or i.score is None or i.score >= min_score]
    ranks = sorted(((-1.0 if i.score is None else i.score, i.mask.area) for i in allowed), reverse=True)
    assert ranks[:max_masks] == [(-1.0 if i.score is None else i.score, i.mask.area) for i in given_]
    assert all(any(i is other for other in allowed) for i in given_)
    assert given_ == selected(given_, max_masks=max_masks, min_score=min_score)
