"""
`RateLimit-Policy` and `RateLimit`, as draft-ietf-httpapi-ratelimit-headers-10 has them: lists of structured fields.

What the parameters mean for a bucket that fills steadily:

- `w` is the time in which an empty bucket is whole again, in whole seconds (rounded up), and `q` is what may be kept up
  in each such time: rate * w. Where the rate is a fraction, w is a multiple of its denominator when that is at most a
  minute, so that q is exact; otherwise q is rounded down.
- `r` is how many requests would be admitted at once now: at most the burst, which may be less than q.
- `t` is when r will be larger, in seconds, rounded up; absent when the bucket is whole. With `r=0` it is when the next
  request is admitted, which is what `Retry-After` then says.
- A limit on what is worked on at once has `qu="concurrent-requests"`, and neither w nor t: nobody knows when a request
  will end.

Source: https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-10.txt, read 2026-11.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.admission.gcra import Rule

#: The longest window that is chosen for the sake of a whole q.
EXACT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Standing:
    """How a caller stands with one policy."""

    policy: str
    """Its name: lower-case letters and hyphens."""
    remaining: int
    """How many requests would be admitted now."""
    seconds: int | None = None
    """When there will be more, at least 1; None when nobody knows, or there are as many as there can be."""


def rate_policy(name: str, rule: Rule) -> str:
    """Return the item of `RateLimit-Policy` for a rate."""
    rate = rule.rate
    step = rate.denominator if rate.denominator <= EXACT_SECONDS else 1
    window = math.ceil(rule.burst / rate / step) * step
    return f'"{name}";q={max(1, math.floor(rate * window))};w={window}'


def concurrency_policy(name: str, places: int) -> str:
    """Return the item of `RateLimit-Policy` for requests that are worked on at once."""
    return f'"{name}";q={places};qu="concurrent-requests"'


def standing_item(standing: Standing) -> str:
    """Return the item of `RateLimit`."""
    item = f'"{standing.policy}";r={standing.remaining}'
    return item if standing.seconds is None else f"{item};t={standing.seconds}"


def limit_headers(policies: Iterable[str], standings: Iterable[Standing]) -> dict[str, str]:
    """Return both headers; none where there is no policy."""
    listed = ", ".join(policies)
    if not listed:
        return {}
    return {"RateLimit-Policy": listed, "RateLimit": ", ".join(map(standing_item, standings))}
