"""How much a caller may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from gateway.request import RateLimit
from gateway.settings.figures import Rate
from gateway.settings.prices import Contradiction
from gateway.settings.section import Section


class RateSettings(Section):
    """A rate, and how many requests at once. None is no limit."""

    requests_per_second: Rate | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests that may come at once after a pause; None: one second's worth, at least one."""
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests that may be worked on at once."""

    def rate_limit(self) -> RateLimit:
        """Return the limit as admission knows it."""
        return RateLimit(self.requests_per_second, self.burst, self.concurrency)

    def rate_limit_over(self, others: RateLimit) -> RateLimit:
        """Return the limit with *others* for what the file does not name here; a written null is no limit."""
        named = self.model_fields_set
        return RateLimit(
            self.requests_per_second if "requests_per_second" in named else others.requests_per_second,
            self.burst if "burst" in named else others.burst,
            self.concurrency if "concurrency" in named else others.concurrency,
        )


def unlimited_burst(limit: RateLimit, written: RateSettings) -> Iterator[Contradiction]:
    """Find a burst that is written down where no rate is, so that it limits nothing."""
    if written.burst is not None and limit.requests_per_second is None:
        yield ("burst",), "a burst without requests_per_second limits nothing; write that too, or leave burst out"
