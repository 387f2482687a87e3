"""
A header's value with parameters, read in time that grows with its length only.

Why not `email.message` or `python_multipart.multipart.parse_options_header`: both look for the end of a parameter from
its start again at every semicolon, so that 60 kB of semicolons take ten seconds.

Source: RFC 9110 section 5.6.6 (parameters), RFC 8187 section 3.2 (`name*=utf-8''…`).
"""

from __future__ import annotations

import re
from urllib.parse import unquote

#: A name, and a quoted or a bare value; possessive, so that nothing is tried a second time.
_PARAMETER = re.compile(r';[ \t]*([^\s;="]++)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)"|([^;"]*+))')
_ESCAPED = re.compile(r"\\(.)")
_CHARSETS = frozenset({"utf-8", "us-ascii", "iso-8859-1"})


def split_value(text: str) -> tuple[str, dict[str, str]]:
    """
    Return a header's value in lower case, and its parameters by lower-case name; of two equal names the first counts.

    >>> split_value('multipart/form-data; boundary="a;b"')
    ('multipart/form-data', {'boundary': 'a;b'})
    """
    value, _, _ = text.partition(";")
    parameters: dict[str, str] = {}
    for found in _PARAMETER.finditer(text, len(value)):
        name, quoted, bare = found.groups()
        given = bare.strip(" \t") if quoted is None else _ESCAPED.sub(r"\1", quoted)
        if name.endswith("*"):
            name, decoded = name[:-1], _decoded(given)
            if decoded is None:
                continue
            given = decoded
        parameters.setdefault(name.lower(), given)
    return value.strip(" \t").lower(), parameters


def _decoded(text: str) -> str | None:
    """Return an extended value in plain text; None where it cannot be read."""
    charset, _, rest = text.partition("'")
    _, quote, escaped = rest.partition("'")
    if not quote or charset.lower() not in _CHARSETS:
        return None
    try:
        return unquote(escaped, encoding=charset, errors="strict")
    except UnicodeError:
        return None
