"""A question's name holds everything that changes its masks, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.key import cache_key, canonical, question_digest
from providers.contract import (
    AutomaticPrompt,
    Box,
    ExemplarBox,
    ExemplarsPrompt,
    ObjectPrompt,
    Picture,
    Point,
    Prompt,
    Question,
    TextPrompt,
)

PICTURE = Picture(b"file", "image/png", width=100, height=60, digest="blake3:aa")
OTHER = replace(PICTURE, digest="blake3:bb")

POINTS = st.builds(Point, st.integers(0, 3), st.integers(0, 3), st.booleans())
BOXES = st.builds(lambda x, y: Box(x, y, x + 1, y + 2), st.integers(0, 3), st.integers(0, 3))
EXEMPLARS = st.builds(ExemplarBox, BOXES, st.booleans())
PROMPTS = (
    st.builds(TextPrompt, st.text(max_size=3))
    | st.builds(ObjectPrompt, st.lists(POINTS, max_size=3).map(tuple), st.none() | BOXES)
    | st.builds(
        ExemplarsPrompt, st.lists(EXEMPLARS, min_size=1, max_size=3).map(tuple), st.none() | st.text(max_size=2)
    )
    | st.just(AutomaticPrompt())
)
QUESTIONS = st.builds(
    Question, st.sampled_from([PICTURE, OTHER]), PROMPTS, st.integers(1, 3), st.none() | st.sampled_from([0.0, 0.5])
)


def name(prompt: Prompt, tenant: str = "acme") -> str:
    """Return the name of that prompt about one picture."""
    return question_digest(Question(PICTURE, prompt, 10), tenant)


@given(st.lists(POINTS, max_size=5), st.lists(EXEMPLARS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_points_and_boxes_does_not_matter(
    points: list[Point], boxes: list[ExemplarBox], chance: Random
) -> None:
    """The same things pointed at in another order are the same question."""
    shuffled, others = points.copy(), boxes.copy()
    chance.shuffle(shuffled)
    chance.shuffle(others)
    assert name(ObjectPrompt(tuple(points))) == name(ObjectPrompt(tuple(shuffled)))
    assert name(ExemplarsPrompt(tuple(boxes), "x")) == name(ExemplarsPrompt(tuple(others), "x"))


def test_everything_that_changes_the_masks_changes_the_name() -> None:
    """Tenant, picture, prompt, count and threshold each matter by themselves."""
    question = Question(PICTURE, TextPrompt("shoe"), 10, 0.5)
    names = [
        question_digest(question, "acme"),
        question_digest(question, "globex"),
        question_digest(replace(question, picture=OTHER), "acme"),
        question_digest(replace(question, prompt=TextPrompt("shoes")), "acme"),
        question_digest(replace(question, max_masks=9), "acme"),
        question_digest(replace(question, min_score=0.51), "acme"),
        question_digest(replace(question, min_score=0.0), "acme"),
        question_digest(replace(question, min_score=None), "acme"),
    ]
    assert len(names) == len(set(names))


def test_where_a_picture_came_from_does_not_change_the_name() -> None:
    """The same bytes by URL, as base64 or as a part are the same picture."""
    fetched = replace(PICTURE, url="https://example.com/a.png")
    assert name(TextPrompt("shoe")) == question_digest(Question(fetched, TextPrompt("shoe"), 10), "acme")


@given(QUESTIONS, QUESTIONS, st.sampled_from(["a", "b"]), st.sampled_from(["a", "b"]))
def test_names_are_equal_exactly_when_questions_are(one: Question, two: Question, here: str, there: str) -> None:
    """No two different questions share a name, and equal ones never have two."""
    same = here == there and _plain(one) == _plain(two)
    assert same is (question_digest(one, here) == question_digest(two, there))


def _plain(question: Question) -> tuple[object, ...]:
    """Return what a question asks, compared without the code under test."""
    prompt = question.prompt
    match prompt:
        case ObjectPrompt(points, box):
            asked: object = (sorted((point.x, point.y, point.positive) for point in points), box)
        case ExemplarsPrompt(boxes, text):
            asked = (sorted((repr(each.box), each.positive) for each in boxes), text)
        case _:
            asked = prompt
    return type(prompt).__name__, asked, question.picture.digest, question.max_masks, question.min_score


def test_no_two_of_a_generated_set_of_questions_share_a_name() -> None:
    """Prompts that look alike in JSON are still told apart."""
    boxes = [Box(0, 0, 1, 2), Box(0, 0, 2, 1), Box(0, 1, 2, 2)]
    prompts: list[Prompt] = [
        AutomaticPrompt(),
        *(
            TextPrompt(text)
            for text in ("automatic", "object", "null", "None", "", "a", "a ", "A", "ä", "a\u0308", "[]")
        ),
        *(ObjectPrompt((Point(x, y, positive),)) for x, y, positive in product(range(3), range(3), (True, False))),
        *(ObjectPrompt((), box) for box in boxes),
        *(ObjectPrompt((Point(0, 0),), box) for box in boxes),
        *(ExemplarsPrompt((ExemplarBox(box, positive),)) for box, positive in product(boxes, (True, False))),
        *(ExemplarsPrompt((ExemplarBox(box),), text) for box, text in product(boxes, ("", "null", "a"))),
        ExemplarsPrompt((ExemplarBox(boxes[0]), ExemplarBox(boxes[1], positive=False))),
        ExemplarsPrompt((ExemplarBox(boxes[0], positive=False), ExemplarBox(boxes[1]))),
    ]
    names = {
        question_digest(Question(picture, prompt, count, score), tenant)
        for picture, prompt, count, score, tenant in product(
            (PICTURE, OTHER), prompts, (1, 10), (None, 0.0, 1.0), ("a", "b")
        )
    }
    assert 2 * len(prompts) * 2 * 3 * 2 == len(names)


def test_minus_zero_asks_what_zero_asks() -> None:
    """Two numbers that are equal make one name."""
    assert question_digest(Question(PICTURE, TextPrompt("x"), 1, 0.0), "a") == question_digest(
        Question(PICTURE, TextPrompt("x"), 1, -0.0), "a"
    )


def test_the_family_is_part_of_an_answer_s_name_and_not_of_the_question_s() -> None:
    """One question has one answer for each family."""
    digest = name(TextPrompt("shoe"))
    assert cache_key(digest, "sam3", "eu") != cache_key(digest, "sam2", "eu")
    assert cache_key(digest, "sam3", "eu") != cache_key(name(TextPrompt("shoes")), "sam3", "eu")
    assert cache_key(digest, "sam3", "eu") != cache_key(digest, "sam3", "us")


def test_the_name_does_not_change_from_one_release_to_the_next_unnoticed() -> None:
    """A kept answer is found again by another process; raise NORMALIZATION_VERSION where this is to change."""
    assert ["object", [[1, 2, False], [3, 0, True]], [0, 0, 5, 5]] == canonical(
        ObjectPrompt((Point(3, 0), Point(1, 2, positive=False)), Box(0, 0, 5, 5))
    )
    assert 64 == len(name(TextPrompt("shoe")))
