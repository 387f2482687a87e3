"""
`Idempotency-Key`: how it is written, and which request it stands for. Pure.

One key of one tenant stands for one request. Two requests are the same when their fingerprints are: method, path, the
fields that the caller gave, and the picture's bytes where they came along. The order of the fields, white space and the
boundary of a multipart body, which differs each time it is sent, say nothing; a default that is spelt out does.

Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ (draft 06 writes a quoted string;
clients of Stripe's kind send the bare text, which is the same key here).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from blake3 import blake3

from gateway.problems import InvalidRequest

HEADER = "Idempotency-Key"

_MOST_CHARACTERS = 255
_VISIBLE = re.compile(r"[\x21-\x7e]+")
#: A structured field's string: a quote or a backslash in it has a backslash before it (RFC 8941, section 3.3.3).
_QUOTED = re.compile(r'"(?:[^"\\]|\\["\\])*"')
_ESCAPED = re.compile(r'\\(["\\])')


def idempotency_key(sent: Sequence[str]) -> str | None:
    """
    Return the key that a request's headers name; None where they name none.

    Args:
        sent: the header's values, one for each time it was sent.

    Raises:
        InvalidRequest: it was sent twice, or is no key.
    """
    if not sent:
        return None
    if len(sent) > 1:
        raise InvalidRequest(f"{HEADER} was sent {len(sent)} times; send one key with a request", field=HEADER)
    text = sent[0].strip(" \t")
    key = _ESCAPED.sub(r"\1", text[1:-1]) if _QUOTED.fullmatch(text) else text
    if len(key) > _MOST_CHARACTERS:
        raise InvalidRequest(f"{HEADER} has {len(key)} characters; a key has at most {_MOST_CHARACTERS}", field=HEADER)
    if text.startswith('"') and not _QUOTED.fullmatch(text):
        raise InvalidRequest(
            f"{HEADER} begins with a quote and is no quoted string; close it, or leave it", field=HEADER
        )
    if not _VISIBLE.fullmatch(key):
        raise InvalidRequest(
            f"{HEADER} has to be 1 to {_MOST_CHARACTERS} visible ASCII characters without spaces, such as a UUID",
            field=HEADER,
        )
    return key


def fingerprint(method: str, path: str, asked: bytes, picture: bytes | None) -> str:
    """
    Return what tells two requests apart, in hexadecimal.

    Args:
        method: of HTTP.
        path: without a query.
        asked: the request's JSON in one spelling.
        picture: the file that came beside it.
    """
    digest = blake3()
    for part in (method.encode(), path.encode(), asked, picture or b""):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
