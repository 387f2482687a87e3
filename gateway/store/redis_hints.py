"""
Hints of health in Redis: one key for each deployment, which goes by itself.

They are read with the same care as kept answers (`redis_cache.py`): within 50 ms, and not at all for a while after a
Redis has failed. Nothing that stands there is believed beyond its form: what is no hint is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import orjson

from gateway.store.hints import Hint, HintsUnavailable
from gateway.store.redis_cache import CacheUnavailable, RedisCache, Stored

_KEY = "maskgate:hint:{deployment}"


class RedisHints:
    """A board of hints in one Redis server. See `HintBoard`."""

    def __init__(self, cache: RedisCache) -> None:
        """Use the connections, and the pauses after failures, of a cache in the same server."""
        self._cache = cache

    async def tell(self, hint: Hint) -> None:
        """Put up a hint for as long as it holds."""
        written = orjson.dumps({"replica": hint.replica, "number": hint.number, "cause": hint.cause})
        try:
            await self._cache.set(_KEY.format(deployment=hint.deployment), written, seconds=hint.seconds)
        except CacheUnavailable as error:
            raise HintsUnavailable(str(error)) from error

    async def read(self, deployments: Sequence[str]) -> list[Hint]:
        """Return the hints of these deployments, in one round trip."""
        if not deployments:
            return []
        try:
            found = await self._cache.get([_KEY.format(deployment=name) for name in deployments])
        except CacheUnavailable as error:
            raise HintsUnavailable(str(error)) from error
        hints = (_hint(name, stored) for name, stored in zip(deployments, found, strict=True))
        return [hint for hint in hints if hint is not None]


def _hint(deployment: str, stored: Stored | None) -> Hint | None:
    """Return what was put up; None for what is none, or would hold for ever."""
    if stored is None or stored.seconds is None or not math.isfinite(stored.seconds):
        return None
    try:
        written = orjson.loads(stored.data)
    except orjson.JSONDecodeError:
        return None
    match written:
        case {"replica": str(replica), "number": int(number), "cause": str() | None as cause}:
            return Hint(deployment, replica, number, cause, stored.seconds)
    return None
