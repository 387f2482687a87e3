"""Days and moments as they are written in the configuration file, on one line of microseconds."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros_of(written: str) -> int:
    """
    Return a day's first moment (UTC), or a moment, in microseconds since 1970, UTC.

    >>> micros_of("2026-01-31")
    1769817600000000

    Raises:
        ValueError: it is neither, or no calendar has it.
    """
    if _DAY.fullmatch(written):
        try:
            day = date.fromisoformat(written)
        except ValueError:
            raise ValueError(f"there is no day {written}; write it as 2026-01-31") from None
        return (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
    if not _MOMENT.fullmatch(written):
        raise ValueError(
            f"neither a day, as 2026-01-31, nor a moment with its offset, as 2026-01-31T09:00:00Z: {written!r}"
        )
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise ValueError(f"there is no moment {written}; write it as 2026-01-31T09:00:00Z") from None
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _is_moment(written: str) -> str:
    micros_of(written)
    return written


Moment = Annotated[str, StringConstraints(max_length=40), AfterValidator(_is_moment)]
"""A day (its first moment, UTC) or a moment with its offset from UTC."""
