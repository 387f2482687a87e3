"""A parser of structured-field lists (RFC 9651, section 4.2.1), as strict as that, for strings and integers."""

from __future__ import annotations

import re

Bare = int | str | bool

KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*")
INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
STRING = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')


def parse_list(text: str) -> list[tuple[Bare, dict[str, Bare]]]:
    """Return each item with its parameters."""
    rest, items = text.strip(" "), []
    while rest:
        item, rest = _bare(rest)
        parameters, rest = _parameters(rest)
        items.append((item, parameters))
        rest = rest.lstrip(" \t")
        if not rest:
            return items
        assert rest.startswith(","), f"no comma before {rest!r}"
        rest = rest[1:].lstrip(" \t")
        assert rest, "a comma ends the list"
    return items


def _parameters(rest: str) -> tuple[dict[str, Bare], str]:
    parameters: dict[str, Bare] = {}
    while rest.startswith(";"):
        rest = rest[1:].lstrip(" ")
        name = KEY.match(rest)
        assert name is not None, f"no name at {rest!r}"
        rest = rest[name.end() :]
        value: Bare = True
        if rest.startswith("="):
            value, rest = _bare(rest[1:])
        assert name[0] not in parameters, f"{name[0]} is there twice"
        parameters[name[0]] = value
    return parameters, rest


def _bare(rest: str) -> tuple[Bare, str]:
    if string := STRING.match(rest):
        return re.sub(r"\\(.)", r"\1", string[1]), rest[string.end() :]
    integer = INTEGER.match(rest)
    assert integer is not None, f"neither a string nor an integer at {rest!r}"
    return int(integer[0]), rest[integer.end() :]
