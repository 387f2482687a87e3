"""
The Retry-After header, in the three forms that upstreams send it.

Source: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after (whole seconds or an HTTP date); fractions are seen
in the wild. Read 2026-11.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

#: Longest wait that is believed, in seconds; ten years in this header are a mistake of somebody's arithmetic.
LONGEST_SECONDS = 86_400.0


def retry_after_seconds(value: str | None, *, now: float) -> float | None:
    """
    Return how long to stay away.

    Args:
        value: the header's text; None where it is absent.
        now: seconds since 1970, for the dates.

    Returns:
        Seconds from 0 to `LONGEST_SECONDS`; None where there is no header or it cannot be read.

    >>> retry_after_seconds("1.5", now=0.0)
    1.5
    >>> retry_after_seconds("Thu, 01 Jan 1970 00:01:00 GMT", now=20.0)
    40.0
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        moment = _moment(value)
        if moment is None:
            return None
        seconds = moment - now
    if math.isnan(seconds):
        return None
    return min(max(0.0, seconds), LONGEST_SECONDS)


def retry_after_of(headers: Mapping[str, str], *, now: float) -> float | None:
    """
    Return how long a reply asks to stay away.

    A date is measured against the reply's own Date header where it has one, so that two clocks that differ do no harm.

    Args:
        headers: by lower-case name.
        now: seconds since 1970, where the reply has no date of its own.
    """
    value = headers.get("retry-after")
    if value is None:
        return None
    theirs = _moment(headers.get("date", ""))
    return retry_after_seconds(value, now=now if theirs is None else theirs)


def _moment(text: str) -> float | None:
    """
    Return an HTTP date as seconds since 1970; None where it is none.

    One without a zone, as C's asctime writes it, is in GMT: RFC 9110, section 5.6.7.
    """
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
