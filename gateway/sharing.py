"""What gateways share through Redis, and can do without: bought answers, hints of health, and rate limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.admission.limits import Shared as LimitsShared
from gateway.cache.store import SecondLevel
from gateway.settings import ConfigProblem, SettingsError
from gateway.store.hints import HintBoard
from providers.contract import Clock, Resource, Workers


@dataclass(frozen=True, slots=True)
class Shared:
    """What is shared; None where no Redis is named."""

    answers: SecondLevel | None = None
    hints: HintBoard | None = None
    limits: LimitsShared | None = None


@asynccontextmanager
async def shared_through(
    url: str,
    *,
    replica: str,
    clock: Clock,
    new_id: Callable[[str], str],
    workers: Workers,
    count: Callable[[str], None],
    log: Any,
    short: Callable[[Resource], None],
) -> AsyncIterator[Shared]:
    """
    Share through the Redis of that address while the block lasts. One that is not there is left alone for a while.

    Args:
        url: empty where no Redis is named, and nothing shared.
        replica: this process' name, unlike that of any other, earlier ones included.
        clock: monotonic seconds.
        new_id: makes an id with that prefix.
        workers: read and write answers.
        count: counts what came of each look for a shared answer.
        log: told when Redis begins to be left alone, and when it is in use again.
        short: told of what this machine had none of to ask Redis with.

    Raises:
        SettingsError: the address is none.
    """
    if not url:
        yield Shared()
        return
    from gateway.admission.leases import SharedLimits  # redis takes a while to import, and most gateways have none
    from gateway.cache.sharing import SharedAnswers
    from gateway.store.redis_cache import RedisCache
    from gateway.store.redis_hints import RedisHints
    from gateway.store.redis_leases import RedisLeases

    try:
        redis = RedisCache(url, clock=clock, log=log, short=short)
        leases = RedisLeases(url, replica=replica, clock=clock, log=log, short=short)
    except ValueError as error:  # its text is not shown: it may quote a part of the password
        problem = ConfigProblem("", None, None, "no address of Redis; write redis://[user:password@]host:port/database")
        raise SettingsError([problem], source="MASKGATE_REDIS_URL") from error
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.close)
        await redis.open()
        answers = SharedAnswers(redis, workers=workers, count=lambda result: count(result.value))
        stack.push_async_callback(answers.close)
        limits = SharedLimits(leases, clock=clock, new_id=new_id)
        stack.push_async_callback(limits.close)
        await limits.open()
        yield Shared(answers, RedisHints(redis), limits)
