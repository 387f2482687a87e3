"""
What an upstream warns of in HTTP's own words, to be passed on beside its masks. Pure.

Source: RFC 7234, section 5.5: `Warning: warn-code SP warn-agent SP quoted warn-text [SP quoted warn-date]`, a list with
commas. RFC 9111 has dropped the field; whoever sends it still means it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from providers.upstream_text import quoted

_VALUE = re.compile(r'[1-9][0-9]{2} [^\s",]{1,100} "((?:[^"\\]|\\.){1,400})"')
_MOST_CHARACTERS = 2000
_MOST_WARNINGS = 4


def warnings_in(headers: Mapping[str, str], *, hide: Iterable[str] = ()) -> tuple[str, ...]:
    """
    Return the texts of an answer's `Warning` header, a few at most; none of what cannot be read.

    Args:
        headers: of the answer, by lower-case name.
        hide: texts that must not be shown.
    """
    said = _VALUE.findall(headers.get("warning", "")[:_MOST_CHARACTERS])
    texts = [quoted(re.sub(r"\\(.)", r"\1", text), hide=hide) for text in said[:_MOST_WARNINGS]]
    return tuple(dict.fromkeys(text for text in texts if text))
