"""The request's JSON: what is refused, with which code, and whose fault it is called."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.api.problems import status_of
from gateway.api.reading import parse_json
from gateway.intake.body import Body, SegmentationBody
from gateway.problems import GatewayError, InvalidRequest, MalformedBody

URL = {"url": "https://example.com/a.png"}
BOX = {"x_min": 1, "y_min": 2, "x_max": 3, "y_max": 4}
POINT = {"x": 1, "y": 2}


def body(**fields: Any) -> bytes:
    """Return a good body with these fields beside or instead of its own; None takes one out."""
    fields = {"image": URL, "prompt": "shoe", **fields}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def asking(*prompts: Any) -> bytes:
    """Return a body with these prompts."""
    return body(prompt=None, prompts=list(prompts))


def raw(text: str) -> bytes:
    """Return a body with a member as it is written, for what Python would not write."""
    return b'{"image": {"url": "https://example.com/a"}, "prompt": "shoe", ' + text.encode() + b"}"


MALFORMED = {
    "empty": b"",
    "white space": b"  \n",
    "cut off": body()[:-1],
    "two values": body() + b"{}",
    "a lone surrogate": raw(r'"tags": {"a": "\ud800"}'),
    "half a surrogate pair": raw(r'"tags": {"a": "\udc00\ud800"}'),
    "nested a thousand deep": raw('"metadata": {"a": ' + "[" * 1000 + "]" * 1000 + "}"),
    "nested without end": raw('"metadata": {"a": ' + "[" * 300_000),
    "a comment": b"// a request\n" + body(),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_json_is_called_so(name: str) -> None:
    """The problem is of the whole body, with status 400 and the place where reading stopped."""
    with pytest.raises(MalformedBody, match=r"the body is not JSON: .* at line \d+ column \d+") as refused:
        parse_json(SegmentationBody, MALFORMED[name])
    assert (400, "invalid_request", None) == (status_of(refused.value), refused.value.code, refused.value.field)


REFUSED: list[tuple[bytes, str | None, str]] = [
    (b"null", None, "object"),
    (b"[]", None, "object"),
    (b'"shoe"', None, "object"),
    (b"{}", None, "exactly one of prompt"),
    # unknown fields, at every level
    (body(promt="x"), "promt", "unknown; is it misspelt"),
    (body(image={**URL, "uri": "x"}), "image.uri", "unknown"),
    (body(output={"mask": "rle"}), "output.mask", "unknown"),
    (body(route={"timeout": 3}), "route.timeout", "unknown"),
    (body(cache={"ttl": 3}), "cache.ttl", "unknown"),
    (asking({"kind": "text", "text": "x", "lang": "en"}), "prompts[0].lang", "unknown"),
    (asking({"kind": "automatic", "text": "x"}), "prompts[0].text", "unknown"),
    (asking({"kind": "object", "box": {**BOX, "z": 1}}), "prompts[0].box.z", "unknown"),
    (asking({"kind": "object", "points": [POINT, {**POINT, "label": 1}]}), "prompts[0].points[1].label", "unknown"),
    (asking({"kind": "object", "box": {**BOX, "positive": True}}), "prompts[0].box.positive", "unknown"),
    (asking({"kind": "exemplars", "boxes": [{**BOX, "id": 1}]}), "prompts[0].boxes[0].id", "unknown"),
    # the picture
    (body(image={}), "image", "exactly one of image.url and image.data"),
    (body(image={**URL, "data": "QUFB"}), "image", "exactly one of image.url and image.data"),
    (body(image={"url": ""}), "image.url", "at least 1 character"),
    (body(image={"url": "h" * 8193}), "image.url", "an address of 8193 characters; at most 8192"),
    (body(image={"data": ""}), "image.data", "at least 1 character"),
    (body(image={"url": 7}), "image.url", "valid string"),
    (body(image="https://example.com/a.png"), "image", "object"),
    # the prompts
    (body(prompts=[{"kind": "automatic"}]), None, "exactly one of prompt"),
    (body(prompt=None), None, "exactly one of prompt"),
    (body(prompt=""), "prompt", "at least 1 character"),
    (body(prompt=" \n\t "), "prompt", "at least 1 character"),
    (body(prompt="x" * 2001), "prompt", "at most 2000 characters"),
    (body(prompt=["shoe"]), "prompt", "valid string"),
    (asking(), "prompts", "at least 1 item"),
    (asking(*[{"kind": "automatic"}] * 17), "prompts", "at most 16 items"),
    (body(prompt=None, prompts={"kind": "automatic"}), "prompts", "list|array"),
    (asking("shoe"), "prompts[0]", "object"),
    (asking({}), "prompts[0]", "kind"),
    (asking({"kind": "everything"}), "prompts[0]", "'text', 'object', 'exemplars', 'automatic'"),
    (asking({"kind": "text"}), "prompts[0].text", "required"),
    (asking({"kind": "text", "text": ""}), "prompts[0].text", "at least 1 character"),
    (asking({"kind": "text", "text": "x" * 2001}), "prompts[0].text", "at most 2000 characters"),
    (asking({"kind": "object"}), "prompts[0]", "say where the object is"),
    (asking({"kind": "object", "points": []}), "prompts[0]", "say where the object is"),
    (asking({"kind": "object", "points": [{**POINT, "positive": False}]}), "prompts[0]", "at least one positive point"),
    (asking({"kind": "object", "points": [POINT] * 65}), "prompts[0].points", "at most 64 items"),
    (asking({"kind": "object", "points": [{"x": 1}]}), "prompts[0].points[0].y", "required"),
    (asking({"kind": "object", "points": [{"x": -1, "y": 0}]}), "prompts[0].points[0].x", "greater than or equal to 0"),
    (asking({"kind": "object", "points": [{"x": 1.5, "y": 0}]}), "prompts[0].points[0].x", "integer"),
    (asking({"kind": "object", "points": [{"x": 0, "y": 10**7}]}), "prompts[0].points[0].y", "1000000"),
    (asking({"kind": "object", "points": [{"x": 10**400, "y": 0}]}), "prompts[0].points[0].x", "1000000"),
    (asking({"kind": "object", "points": [{"x": 1e308, "y": 0}]}), "prompts[0].points[0].x", "less than"),
    (asking({"kind": "object", "box": {**BOX, "x_max": 1}}), "prompts[0].box", "an empty box"),
    (asking({"kind": "object", "box": {**BOX, "y_min": 9}}), "prompts[0].box", "an empty box"),
    (asking({"kind": "exemplars"}), "prompts[0].boxes", "required"),
    (asking({"kind": "exemplars", "boxes": []}), "prompts[0].boxes", "at least 1 item"),
    (asking({"kind": "exemplars", "boxes": [BOX], "text": ""}), "prompts[0].text", "at least 1 character"),
    (asking({"kind": "automatic"}, {"kind": "text", "text": ""}), "prompts[1].text", "at least 1 character"),
    # numbers
    (body(max_masks=0), "max_masks", "greater than or equal to 1"),
    (body(max_masks=1001), "max_masks", "less than or equal to 1000"),
    (body(max_masks=-1), "max_masks", "greater than or equal to 1"),
    (body(min_score=-0.01), "min_score", "greater than or equal to 0"),
    (body(min_score=1.01), "min_score", "less than or equal to 1"),
    (body(min_score=1e308), "min_score", "less than or equal to 1"),
    (raw('"min_score": NaN'), "min_score", "finite"),
    (raw('"min_score": -Infinity'), "min_score", "finite"),
    (raw('"min_score": 1e999'), "min_score", "finite"),
    (body(route={"deadline_seconds": 0}), "route.deadline_seconds", "greater than 0"),
    (raw('"route": {"deadline_seconds": -0.0}'), "route.deadline_seconds", "greater than 0"),
    (body(route={"deadline_seconds": 600.1}), "route.deadline_seconds", "less than or equal to 600"),
    (raw('"route": {"deadline_seconds": Infinity}'), "route.deadline_seconds", "finite"),
    (raw('"route": {"deadline_seconds": NaN}'), "route.deadline_seconds", "finite"),
    (body(route={"max_attempts": 0}), "route.max_attempts", "greater than or equal to 1"),
    (body(route={"max_attempts": 11}), "route.max_attempts", "less than or equal to 10"),
    (body(cache={"ttl_seconds": 0}), "cache.ttl_seconds", "greater than 0"),
    (raw('"cache": {"ttl_seconds": NaN}'), "cache.ttl_seconds", "finite"),
    # money is a decimal string
    (body(route={"max_charge_usd": 0.02}), "route.max_charge_usd", "string"),
    (body(route={"max_charge_usd": "cheap"}), "route.max_charge_usd", "not a decimal number of dollars: 'cheap'"),
    (body(route={"max_charge_usd": "-0.01"}), "route.max_charge_usd", "below zero"),
    (body(route={"max_charge_usd": "NaN"}), "route.max_charge_usd", "not a finite number"),
    (body(route={"max_charge_usd": "0.0000001"}), "route.max_charge_usd", "finer than a micro-dollar"),
    (body(route={"max_charge_usd": "1e30"}), "route.max_charge_usd", "too large an amount"),
    (body(route={"max_charge_usd": "1e999999999"}), "route.max_charge_usd", "too large an amount"),
    (body(route={"max_charge_usd": "0" * 41}), "route.max_charge_usd", "at most 40 characters"),
    # closed sets
    (body(fit="squeeze"), "fit", "'auto' or 'strict'"),
    (body(output={"masks": "bitmap"}), "output.masks", "'rle', 'png', 'polygon' or 'none'"),
    (body(output={"delivery": "url"}), "output.delivery", "'inline'"),
    (
        body(route={"strategy": "dearest"}),
        "route.strategy",
        "'cheapest', 'fastest', 'balanced', 'priority' or 'weighted'",
    ),
    (body(route={"deployments": []}), "route.deployments", "at least 1 item"),
    (body(route={"regions": ["eu", ""]}), "route.regions[1]", "at least 1 character"),
    (body(route={"providers": "prodia"}), "route.providers", "list|array"),
    (body(route={"hedge_after_seconds": 0}), "route.hedge_after_seconds", "0 is no delay: .* above 0"),
    (body(route={"hedge_after_seconds": 601}), "route.hedge_after_seconds", "up to 600"),
    (body(route={"hedge_after_seconds": "p90"}), "route.hedge_after_seconds", "'p90' is no delay: .* \"p95\" or null"),
    (body(route={"hedge_after_seconds": True}), "route.hedge_after_seconds", "True is no delay"),
    (body(explain="yes"), "explain", "boolean"),
    (body(cache={"mode": "always"}), "cache.mode", "'use', 'refresh' or 'skip'"),
    # tags and metadata
    (body(tags={f"t{n}": "" for n in range(17)}), "tags", "at most 16 items"),
    (body(tags={"a": "x" * 257}), "tags.a", "at most 256 characters"),
    (body(tags={"a": 1}), "tags.a", "string"),
    (body(tags={"a": "line\nbreak"}), "tags", "cannot be printed"),
    (body(tags={"a\0": ""}), "tags", "cannot be printed"),
    (body(metadata={f"m{n}": n for n in range(65)}), "metadata", "at most 64 items"),
    (body(metadata=[1]), "metadata", "dictionary|object"),
    (body(metadata={"a": [{"b": 2**64}]}), "metadata", "more than 64 bits"),
    (body(metadata={"a": -(2**63) - 1}), "metadata", "more than 64 bits"),
    (raw('"metadata": {"a": {"b": [NaN]}}'), "metadata", "not finite"),
    (raw('"metadata": {"a": 1e999}'), "metadata", "not finite"),
]


@pytest.mark.parametrize(("data", "field", "words"), REFUSED)
def test_a_bad_field_is_named_with_its_path(data: bytes, field: str | None, words: str) -> None:
    """Status 422, the code invalid_request, the path as the caller would write it, and what is wrong."""
    with pytest.raises(InvalidRequest, match=words) as refused:
        parse_json(SegmentationBody, data)
    assert (422, "invalid_request", field) == (status_of(refused.value), refused.value.code, refused.value.field)


def test_the_first_fault_is_named_and_the_others_are_counted() -> None:
    """A body with three faults is told of one, and how many more there are."""
    with pytest.raises(InvalidRequest, match=r"\(and 2 more\)$") as refused:
        parse_json(SegmentationBody, body(max_masks=0, min_score=2, fit="x"))
    assert "max_masks" == refused.value.field


TAKEN: list[bytes] = [
    body(prompt="x"),
    body(prompt="x" * 2000),
    body(prompt="靴" * 2000),
    asking(*[{"kind": "text", "text": "x"}] * 16),
    asking({"kind": "object", "points": [POINT] * 64}),
    asking({"kind": "object", "points": [POINT, {**POINT, "positive": False}]}),
    asking({"kind": "object", "points": [{**POINT, "positive": False}], "box": BOX}),
    raw('"min_score": -0.0'),
    raw('"min_score": 1e-308'),
    body(min_score=1, max_masks=1000),
    body(route={"max_charge_usd": "0", "deadline_seconds": 600, "max_attempts": 10}),
    raw('"route": {"deployments": null, "hedge_after_seconds": null}'),
    body(tags={"t": ""}, metadata={"a": [None, True, 2**64 - 1, -(2**63), 1.5, {"b": "\0"}]}),
    body(image=None),  # the picture may be a part of its own
]


@pytest.mark.parametrize("data", TAKEN)
def test_what_is_just_allowed_is_taken_and_can_be_echoed(data: bytes) -> None:
    """The outermost values of every range pass, and tags and metadata come back as they came."""
    taken, sent = parse_json(SegmentationBody, data), json.loads(data)
    echoed = orjson.loads(orjson.dumps({"tags": taken.tags, "metadata": taken.metadata}))
    assert {"tags": sent.get("tags", {}), "metadata": sent.get("metadata", {})} == echoed


def test_whatever_depth_of_metadata_is_read_is_also_written() -> None:
    """There is no depth that the reader takes and the writer of the answer does not."""
    depths = [depth for depth in range(150, 300) if _echoes(depth)]
    assert list(range(150, depths[-1] + 1)) == depths
    assert depths[-1] > 190


def _echoes(depth: int) -> bool:
    """Whether metadata of that depth is read; then it has to be written, too."""
    try:
        taken = parse_json(SegmentationBody, raw('"metadata": {"a": ' + "[" * depth + "]" * depth + "}"))
    except MalformedBody:
        return False
    return len(orjson.dumps({"answer": {"metadata": taken.metadata}})) > 2 * depth


FIELDS = """
image url data prompt prompts kind text points box boxes x y x_min y_min x_max y_max positive max_masks min_score fit
output masks route strategy max_charge_usd deadline_seconds max_attempts cache mode ttl_seconds tags metadata
"""

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["text", "object", "automatic", "rle", "0.02", "QUFB"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS.split()) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=30,
)


@given(JSON)
@example({"image": URL, "prompt": "x", "route": {"max_charge_usd": "9e999999999"}})
def test_no_json_value_raises_anything_but_a_problem(value: Any) -> None:
    """Whatever is sent is taken or refused with a sentence, and what is taken can be written again."""
    data = json.dumps(value).encode()
    try:
        taken = parse_json(SegmentationBody, data)
    except GatewayError as problem:
        assert problem.message  # noqa: PT017 - taken or refused, both are right
    else:
        assert orjson.dumps([taken.tags, taken.metadata])


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_problem(data: bytes) -> None:
    """Bytes that are no JSON at all are refused."""
    with pytest.raises(InvalidRequest):
        parse_json(SegmentationBody, data)


def subclasses(model: type[Body]) -> list[type[Body]]:
    """Return every body that there is."""
    return [each for found in model.__subclasses__() for each in (found, *subclasses(found))]


@pytest.mark.parametrize("model", subclasses(Body), ids=lambda model: model.__name__)
def test_null_stands_for_every_default(model: type[Body]) -> None:
    """In the check and in the schema, for each field of each body that may be left out."""
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if not field.is_required():
            assert {"type": "null"} in properties[name]["anyOf"], name
            with pytest.raises(ValidationError) as refused:
                model.model_validate_json(json.dumps({name: None, "unknown": 1}))
            assert name not in {error["loc"][0] for error in refused.value.errors() if error["loc"]}
