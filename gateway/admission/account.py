"""How one tenant or one key stands with its limits, in this process. Nothing in here waits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum

from gateway.admission.gcra import NANOSECONDS, Rule
from gateway.admission.policy_headers import Standing, concurrency_policy, rate_policy
from gateway.request import RateLimit

#: The span over which it is counted how fast tokens are spent.
PACE_NS = NANOSECONDS // 10
#: When it is worth trying again where requests at a time are the limit: nobody knows when one will end.
CROWDED_NS = NANOSECONDS


class Kind(StrEnum):
    """Whose limit it is."""

    TENANT = "tenant"
    KEY = "key"


class Cover(Enum):
    """Whether what this process holds of the shared limits lets one more request in."""

    YES = "yes"
    ASK = "ask"
    """Nobody here knows."""
    NO = "no"


def rule_of(limit: RateLimit) -> Rule | None:
    """
    Return the rule for requests a second, None where there is none.

    Raises:
        ValueError: the rate or the burst is not above 0; it says which.
    """
    rate = limit.requests_per_second
    if rate is None:
        return None
    return Rule(rate, max(1, math.floor(rate)) if limit.burst is None else limit.burst)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One policy that does not let the request in."""

    policy: str
    wait_ns: int
    """When it is worth trying again."""
    says: str
    """The limit, in words."""


@dataclass(slots=True)
class Share:
    """What this process holds of limits that it shares with others. Moments are nanoseconds of its own clock."""

    lock: asyncio.Lock
    """Held while Redis is asked for the account and those that come after it."""
    tokens: int = 0
    tokens_until: int = 0
    """When the tokens lapse."""
    tat: int = 0
    """The shared bucket's TAT as last heard, in the rule's ticks: never later than it is."""
    held: int = 0
    """Places."""
    held_until: int = 0
    """Until when they are this process' without being written anew."""
    free: int = 0
    """Places that nobody held, as last heard."""
    full_until: int = 0
    """Until when it is not asked again whether a place is free."""
    sequence: int = 0
    """Of the latest wish for places: no earlier one's reply counts."""
    peak: int = 0
    """The most requests at a time since the places were last written."""
    waiting: int = 0
    """Requests that wait for tokens or places."""
    span: int = 0
    """Which span of `PACE_NS` the next number is of."""
    spent: int = 0
    spent_before: int = 0
    """Tokens spent in that span, and in the one before."""

    def has_token(self, now: int) -> bool:
        """Whether a request may spend a token."""
        return self.tokens > 0 and now < self.tokens_until

    def has_place(self, in_flight: int, now: int) -> bool:
        """Whether one more request may be worked on."""
        return in_flight < self.held and now < self.held_until

    def spend(self, now: int) -> None:
        """Spend a token, and count it."""
        self.tokens -= 1
        span = now // PACE_NS
        if span != self.span:
            self.spent_before = self.spent if span == self.span + 1 else 0
            self.span, self.spent = span, 0
        self.spent += 1

    def spare(self, rule: Rule) -> int:
        """
        Return how many tokens to take beyond those that are waited for.

        It is half of what was spent in a tenth of a second, so that few lapse, and at most a tenth of the burst and of
        what comes in a second, so that other processes find some.
        """
        return min(max(self.spent, self.spent_before) // 2, rule.burst // 10, math.floor(rule.rate / 10))


class Account:
    """The limit of one tenant or key, and what of it is used up."""

    __slots__ = (
        "_next",
        "in_flight",
        "kind",
        "limit",
        "name",
        "places",
        "policies",
        "rule",
        "share",
        "subject",
        "tat",
        "tenant",
    )

    def __init__(self, kind: Kind, tenant: str, subject: str, limit: RateLimit, *, share: Share | None) -> None:
        """
        Begin with nothing used.

        Args:
            kind: whose limit it is.
            tenant: the tenant, or the key's tenant.
            subject: the tenant's name or the key's id.
            limit: what is allowed.
            share: where limits are shared with other processes, what this one holds of it: nothing yet.
        """
        self.kind, self.tenant, self.subject, self.share = kind, tenant, subject, share
        self.name = f"{kind}:{subject}"
        self.in_flight = 0
        self.tat = 0
        self._next = 0
        self.rule: Rule | None = None
        self.places: int | None = None
        self.policies: tuple[str, ...] = ()
        self.limit = limit
        self._tune(limit)

    def retune(self, limit: RateLimit) -> None:
        """Go on with another limit; what is used up stays so."""
        if limit != self.limit:
            self._tune(limit)
        self.limit = limit

    def _tune(self, limit: RateLimit) -> None:
        old = self.rule
        self.rule = rule_of(limit)
        self.tat = 0 if old is None or self.rule is None else self.rule.rescaled(self.tat, old)
        self.places = limit.concurrency
        if self.share is not None:
            self.share.tokens = self.share.tat = self.share.full_until = 0
        policies = [] if self.rule is None else [rate_policy(self.kind, self.rule)]
        if self.places is not None:
            policies.append(concurrency_policy(self._crowd, self.places))
        self.policies = tuple(policies)

    @property
    def _crowd(self) -> str:
        """The name of the policy about requests at a time."""
        return f"{self.kind}-concurrency"

    def admits(self, now: int) -> bool:
        """Whether the limit lets one more in, as far as this process alone has used it. `enter` may follow at once."""
        if self.places is not None and self.in_flight >= self.places:
            return False
        if self.rule is None:
            return True
        after = self.rule.take(self.tat, now)
        if after is None:
            return False
        self._next = after
        return True

    def covered(self, share: Share, now: int) -> Cover:
        """Whether what is held of the shared limit lets one more in."""
        cover = Cover.YES
        if self.rule is not None and not share.has_token(now):
            if self.rule.take(share.tat, now) is None:
                return Cover.NO
            cover = Cover.ASK
        if self.places is not None and not share.has_place(self.in_flight, now):
            if now < share.full_until:
                return Cover.NO
            cover = Cover.ASK
        return cover

    def enter(self, now: int, share: Share | None) -> None:
        """Let one in, after `admits`; with a share, after `covered`."""
        self.in_flight += 1
        if self.rule is not None:
            self.tat = self._next
        if share is None:
            return
        if self.rule is not None:
            share.spend(now)
        share.peak = max(share.peak, self.in_flight)

    def leave(self) -> None:
        """Let one out."""
        self.in_flight -= 1

    @property
    def unused(self) -> bool:
        """Whether no request is under way or waits, and no place is held."""
        return self.in_flight == 0 and (self.share is None or (self.share.held == 0 == self.share.waiting))

    def idle(self, now: int) -> bool:
        """Whether an account made anew would be the same."""
        return self.unused and (self.rule is None or self.tat <= now * self.rule.ticks)

    def refusals(self, now: int, share: Share | None) -> Iterator[Refusal]:
        """Yield every policy that does not let one more in, and when it will."""
        whose = "this key" if self.kind is Kind.KEY else f"tenant {self.subject!r}, which all of its keys share,"
        rule = self.rule
        if rule is not None:
            wait = rule.wait(self.tat, now)
            if share is not None and not share.has_token(now):
                wait = max(wait, rule.wait(share.tat, now))
            if wait:
                says = f"the limit of {whose} is {float(rule.rate):g} requests per second, {rule.burst} at once"
                yield Refusal(str(self.kind), wait, says=says)
        if self.places is not None:
            full = self.in_flight >= self.places
            if share is not None and not share.has_place(self.in_flight, now):
                full = full or now < share.full_until
            if full:
                says = f"the limit of {whose} is {self.places} requests at a time"
                yield Refusal(self._crowd, CROWDED_NS, says=says)

    def standings(self, now: int, share: Share | None) -> Iterator[Standing]:
        """Yield how the account stands with each of its policies."""
        rule = self.rule
        if rule is not None:
            remaining, more = rule.remaining(self.tat, now), rule.until_more(self.tat, now)
            if share is not None:
                tokens = share.tokens if share.has_token(now) else 0
                shared, later = rule.remaining(share.tat, now) + tokens, rule.until_more(share.tat, now)
                if (shared, -later) < (remaining, -more):
                    remaining, more = shared, later
            yield Standing(str(self.kind), remaining, -(-more // NANOSECONDS) or None)
        if self.places is not None:
            free = self.places - self.in_flight
            if share is not None:
                free = min(free, share.held - self.in_flight + share.free)
            yield Standing(self._crowd, max(0, free))
