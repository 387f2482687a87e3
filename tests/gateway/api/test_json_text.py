"""A body's JSON says everything once, and no more than a request needs."""

import time

import pytest

from gateway.api.json_text import MOST_FIELDS, MOST_VALUES, check_json
from gateway.api.problems import status_of
from gateway.api.reading import parse_json
from gateway.intake.body import MOST_NOTE_BYTES, SegmentationBody
from gateway.problems import GatewayError, InvalidRequest, MalformedBody, RequestTooLarge

START = b'{"image": {"url": "x"}, "prompt": "shoe", '
MEGABYTE = 2**20


@pytest.mark.parametrize(
    "raw",
    [
        START + b'"prompt": "boot"}',
        START + b'"route": {"regions": ["eu"], "regions": ["us"]}}',
        START + b'"metadata": {"a": [{"regions": 1, "regions": 1}]}}',
        START + b'"prom\\u0070t": "boot"}',
    ],
)
def test_a_field_that_stands_twice_is_named(raw: bytes) -> None:
    """Readers differ in which of two they take, so neither is taken, however deep and however it is spelt."""
    with pytest.raises(MalformedBody, match=r'the field "(prompt|regions)" stands twice in one object') as refused:
        parse_json(SegmentationBody, raw)
    assert refused.value.field in {"prompt", "regions"}


HEAVY = {
    "unknown fields": START + b", ".join(b'"%x": 1' % number for number in range(90_000)) + b"}",
    "numbers in metadata": START + b'"metadata": {"a": [' + b",".join([b"1"] * 500_000) + b"]}}",
    "points without coordinates": START + b'"prompts": [{"points": [' + b",".join([b"{}"] * 340_000) + b"]}]}",
    "many fields in many objects": START + b'"prompts": [' + b",".join([b'{"a":1,"b":2}'] * 9_000) + b"]}",
    "a whole number of a megabyte": START + b'"max_masks": ' + b"1" * MEGABYTE + b"}",
    "a fraction of a megabyte": START + b'"min_score": 9.' + b"1" * MEGABYTE + b"}",
    "an exponent": START + b'"min_score": 1e999999999}',
    "depth": START + b'"metadata": {"a": ' + b"[" * (MEGABYTE // 2) + b"]" * (MEGABYTE // 2) + b"}}",
    "depth of objects": b'{"a":' * (MEGABYTE // 5),
    "a long kind": START + b'"prompts": [{"kind": "' + b"a" * MEGABYTE + b'"}]}',
    "a long name": START + b'"' + b"a" * MEGABYTE + b'": 1}',
    "quotes": START + b'"quote_id": "' + b'\\"' * (MEGABYTE // 2) + b'"}',
}


@pytest.mark.parametrize("name", HEAVY)
def test_a_megabyte_of_nonsense_is_refused_at_once_and_briefly(name: str) -> None:
    """The problem is short, whatever was sent, and costs no more than looking through the bytes."""
    started = time.perf_counter()
    with pytest.raises(GatewayError) as refused:
        parse_json(SegmentationBody, HEAVY[name])
    assert time.perf_counter() - started < 1.0  # a few milliseconds; it were seconds if every fault were described
    assert len(refused.value.message) + len(refused.value.field or "") < 1200
    assert status_of(refused.value) in {400, 413, 422}


def test_bounds_are_where_they_are_said() -> None:
    """As many values and fields as are allowed pass, and one more is too large."""
    check_json(b"[" + b",".join([b"1"] * MOST_VALUES) + b"]")
    check_json(b"{" + b",".join(b'"%d":1' % number for number in range(MOST_FIELDS)) + b"}")
    with pytest.raises(RequestTooLarge, match="20000 values"):
        check_json(b"[" + b",".join([b"1"] * (MOST_VALUES + 1)) + b"]")
    with pytest.raises(RequestTooLarge, match="129 fields"):
        check_json(b"{" + b",".join(b'"%d":1' % number for number in range(MOST_FIELDS + 1)) + b"}")


def test_tags_and_metadata_are_notes() -> None:
    """Each has 4,096 bytes, and a byte more is told with the field."""
    room = MOST_NOTE_BYTES - len(b'{"a":""}')
    parse_json(SegmentationBody, START + b'"metadata": {"a": "' + b"x" * room + b'"}}')
    with pytest.raises(InvalidRequest, match="4097 bytes of JSON; at most 4096 are echoed") as refused:
        parse_json(SegmentationBody, START + b'"metadata": {"a": "' + b"x" * (room + 1) + b'"}}')
    assert "metadata" == refused.value.field
    tags = b", ".join(b'"%02d": "%s"' % (number, "靴".encode() * 86) for number in range(16))
    with pytest.raises(InvalidRequest, match="the tags have 4160 bytes; at most 4096") as refused:
        parse_json(SegmentationBody, START + b'"tags": {' + tags + b"}}")
    assert "tags" == refused.value.field
