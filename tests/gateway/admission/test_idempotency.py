"""How an Idempotency-Key is written, and what tells two requests apart."""

from __future__ import annotations

import pytest

from gateway.admission.idempotency import fingerprint, idempotency_key
from gateway.problems import InvalidRequest


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (r'"say \"once\" \\ twice"'.replace(" ", "_"), r'say_"once"_\_twice'),
        ('half"quoted', 'half"quoted'),
        ("\t k \t", "k"),
        ("~!", "~!"),
        ("x" * 255, "x" * 255),
        (f'"{"x" * 255}"', "x" * 255),
    ],
)
def test_a_key_may_be_quoted_or_bare(sent: str, key: str) -> None:
    """The quoted string of the draft and the bare text of Stripe's clients name the same key."""
    assert idempotency_key([sent]) == key


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("", "1 to 255 visible ASCII"),
        ('""', "1 to 255 visible ASCII"),
        ("two words", "without spaces"),
        ('"two words"', "without spaces"),
        ("one\r\nX-Other: two", "visible ASCII"),
        ("one\ntwo", "visible ASCII"),
        ("one\n", "visible ASCII"),
        ('"one\n"', "visible ASCII"),
        ("one\x00", "visible ASCII"),
        ("clé", "visible ASCII"),
        ("é", "visible ASCII"),
        ("x" * 256, "256 characters; a key has at most 255"),
        (f'"{"x" * 256}"', "256 characters"),
        ('"open', "begins with a quote"),
        ('"', "begins with a quote"),
        ('"a"b"', "begins with a quote"),
        ('"a";p=1', "begins with a quote"),
        ('"a\\b"', "begins with a quote"),
    ],
)
def test_what_is_no_key_is_refused(sent: str, said: str) -> None:
    """Nothing, more than 255 characters, and whatever is not visible ASCII is refused, and the header is named."""
    with pytest.raises(InvalidRequest, match=said) as refused:
        idempotency_key([sent])
    assert "Idempotency-Key" == refused.value.field


def test_no_header_is_no_key() -> None:
    """A request without the header has no key."""
    assert idempotency_key([]) is None


def test_two_keys_are_refused() -> None:
    """A request stands under one key."""
    with pytest.raises(InvalidRequest, match="sent 2 times"):
        idempotency_key(["a", "a"])


def test_every_part_of_a_request_tells() -> None:
    """Method, path, fields and picture each make another fingerprint, also where their bytes add up to the same."""
    asked = [
        ("POST", "/v1/segmentations", b"{}", b"picture"),
        ("PUT", "/v1/segmentations", b"{}", b"picture"),
        ("POST", "/v1/runs", b"{}", b"picture"),
        ("POST", "/v1/segmentations", b'{"a":1}', b"picture"),
        ("POST", "/v1/segmentations", b"{}", b"another"),
        ("POST", "/v1/segmentations", b"{}", None),
        ("POST", "/v1/segmentations", b"{}p", b"icture"),
    ]
    assert len(asked) == len({fingerprint(*each) for each in asked})
    assert fingerprint(*asked[0]) == fingerprint("POST", "/v1/segmentations", b"{}", b"picture")
