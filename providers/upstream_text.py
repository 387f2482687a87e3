"""An upstream's words, made fit to be shown and logged: short, printable, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Longest quotation, in characters.
MOST_CHARACTERS = 300

_QUERY = re.compile(r"(https?://[^\s?#\"'<>]+)[?#][^\s\"'<>]*")
_DATA = re.compile(r"data:[a-z]+/[a-z0-9.+-]+[;,][^\s\"'<>]*")


def quoted(text: str, *, hide: Iterable[str] = ()) -> str:
    """
    Return *text* on one line of at most 300 characters.

    Queries of URLs are cut, since signatures live in them; data URIs and the texts in *hide* become stars.

    >>> quoted("no picture at https://a.example/b.png?sig=1")
    'no picture at https://a.example/b.png?***'
    """
    text = text[: 100 * MOST_CHARACTERS]  # whatever follows would be cut below; no pattern need walk through it
    for secret in hide:
        if secret:
            text = text.replace(secret, "***")
    text = _DATA.sub("data:***", _QUERY.sub(r"\1?***", text))
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
