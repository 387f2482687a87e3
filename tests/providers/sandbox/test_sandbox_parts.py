"""The parts of the sandbox that need no socket."""

from __future__ import annotations

import itertools
import zlib

import cv2
import numpy as np
import pytest

from providers.local.classic import ClassicEngine
from providers.sandbox.books import Books
from providers.sandbox.multipart import BadMultipart, Part, boundary_of, read_parts, write_parts
from providers.sandbox.scenes import names, paint_scenes
from providers.sandbox.segmenting import BadPicture, Segmenter, decode, score
from providers.sandbox.shelf import Shelf
from providers.sandbox.signing import Signer
from providers.workers import ThreadWorkers


def test_scenes_are_the_same_every_time_and_their_objects_never_overlap() -> None:
    """Every object of every scene is visible, no pixel belongs to two, and painting again changes nothing."""
    scenes = paint_scenes()
    assert [scene.png for scene in scenes] == [scene.png for scene in paint_scenes.__wrapped__()]
    assert [(scene.name, scene.size) for scene in scenes][:3] == [
        ("shapes", (384, 512)),
        ("shoes", (480, 640)),
        ("desk", (768, 1024)),
    ]
    for scene in scenes:
        assert np.array_equal(decode(scene.png), scene.rgb)
        assert all(thing.mask.area > 1000 for thing in scene.objects)
        assert np.sum([thing.mask.bitmap for thing in scene.objects], axis=0).max() == 1
    crowd = next(scene for scene in scenes if scene.name == "crowd")
    assert [thing.name for thing in crowd.objects] == ["coin"] * 16


@pytest.mark.parametrize(
    ("text", "name", "named"),
    [
        ("shoe", "left shoe", True),
        ("shoes", "left shoe", True),
        (" Left  SHOE ", "left shoe", True),
        ("left shoes", "left shoe", True),
        ("boxes", "shoe box", True),
        ("cherries", "cherry", True),
        ("shoe left", "left shoe", False),
        ("sho", "left shoe", False),
        ("a left shoe", "left shoe", False),
        ("", "left shoe", False),
        ("!?", "left shoe", False),
    ],
)
def test_a_prompt_names_an_object_by_successive_words_or_their_plural(text: str, name: str, *, named: bool) -> None:
    """Whole words in their order name an object, in the singular or the plural; anything else does not."""
    assert names(text, name) is named


def test_scores_fall_and_stay_between_one_half_and_one() -> None:
    """Every rank has its own score, above the default threshold and below 1."""
    scores = [score(rank) for rank in range(256)]
    assert all(one > next_one for one, next_one in itertools.pairwise(scores))
    assert 0.5 < scores[-1] < scores[0] < 1


def test_a_shelf_forgets_the_oldest_first() -> None:
    """Beyond its number or its bytes a shelf drops what came first; a replaced thing keeps its age."""
    shelf: Shelf[str] = Shelf(most=3, most_bytes=100)
    for name in "abc":
        shelf.put(name, name, size=10)
    shelf.put("a", "again", size=20)
    assert list(shelf.newest_first()) == ["c", "b", "again"]
    shelf.put("d", "d", size=10)
    assert ([shelf.get(name) for name in "abcd"], len(shelf)) == ([None, "b", "c", "d"], 3)
    shelf.put("e", "e", size=85)
    assert [shelf.get(name) for name in "bcde"] == [None, None, "d", "e"]
    shelf.put("f", "f", size=101)
    assert len(shelf) == 0


def test_the_books_note_an_answer_once_and_only_for_what_was_billed() -> None:
    """An unknown call is passed over, and the moment of success stays."""
    now = [0.0]
    books = Books(lambda: now[0])
    books.answered("prodia", "x")
    books.write("prodia", "x", client_ref=None, microusd=1100)
    now[0] = 5.0
    books.answered("prodia", "x")
    (call,) = books.calls()
    assert (call.at, call.answered, books.charged("prodia"), books.charged("other")) == (
        "1970-01-01T00:00:00+00:00",
        True,
        1100,
        0,
    )


def test_a_signature_holds_for_its_path_and_its_time() -> None:
    """Another path, another lifetime, no signature at all: each is refused."""
    now = [1_800_000_000.0]
    signer = Signer(b"secret", lambda: now[0])
    url = signer.url("http://h", "/a b", seconds=10)
    assert url.startswith("http://h/a%20b?X-Amz-Algorithm=")
    query = dict(pair.split("=", 1) for pair in url.partition("?")[2].split("&"))
    assert signer.check("/a b", query) is None
    refusals = [
        signer.check("/a", query),
        signer.check("/a b", query | {"X-Amz-Expires": "9999"}),
        signer.check("/a b", {}),
        signer.check("/a b", query, credential=True),
    ]
    assert [refusal.status if refusal else None for refusal in refusals] == [403, 403, 403, 400]
    now[0] += 11
    expired = signer.check("/a b", query)
    assert expired is not None
    assert expired.message == "Request has expired"


def test_multipart_is_read_as_it_was_written() -> None:
    """Every byte value survives, delimiters of other boundaries included."""
    parts = (
        Part("job", "job.json", "application/json", b"{}"),
        Part("output", "mask_0.png", "image/png", bytes(range(256)) * 300 + b"\r\n--x\r\n"),
        Part("output", "mask_0.png", "image/png", b""),
    )
    content_type, body = write_parts(parts)
    boundary = boundary_of(content_type)
    assert boundary is not None
    assert read_parts(body, boundary) == parts
    with pytest.raises(BadMultipart, match="closing delimiter"):
        read_parts(body[:-10], boundary)
    content_type, body = write_parts(parts[:1] * 65)
    with pytest.raises(BadMultipart, match="more than 64 parts"):
        read_parts(body, boundary_of(content_type) or "")


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/mixed; boundary=x", "multipart/form-data"])
def test_only_form_data_with_a_boundary_is_a_form(content_type: str) -> None:
    """Any other content type has no boundary."""
    assert boundary_of(content_type) is None


async def test_a_large_picture_is_refused_before_it_is_decoded(workers: ThreadWorkers) -> None:
    """A small file that claims to hold 400 million pixels is no picture; nor is a cut one."""
    segmenter = Segmenter((), ClassicEngine(), workers)
    chunks = (b"IHDR" + (20_000).to_bytes(4) * 2 + b"\x08\x02\x00\x00\x00", b"IDAT" + zlib.compress(b""), b"IEND")
    file = b"".join((len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) for chunk in chunks)
    with pytest.raises(BadPicture, match="dimensions"):
        await segmenter.open(b"\x89PNG\r\n\x1a\n" + file)
    whole = cv2.imencode(".png", np.arange(30_000, dtype=np.uint8).reshape(100, 300))[1].tobytes()
    with pytest.raises(BadPicture, match="cannot be decoded"):
        await segmenter.open(whole[: len(whole) // 2])
