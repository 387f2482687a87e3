"""What a budget says to the caller whose spending it bounds: a refusal, or a warning beside the answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from gateway.problems import BudgetExceeded
from gateway.store import BudgetStanding
from providers.contract import Money

WARNING_HEADER = "Maskgate-Budget-Warning"

_MICROS = 1_000_000
_CALLED = {"total": "total", "day": "daily", "month": "monthly"}
#: What a string in a structured field may hold as it is, the percent sign apart.
_PLAIN = " !#$&'()*+,/:;<=>?@[]^_`{|}~"


def refusal(standing: BudgetStanding, amount: Money, *, now: float) -> BudgetExceeded:
    """
    Return the problem of a request that a hard budget has no room for.

    A caller sees the figures of its own tenant alone: a budget bounds one tenant, one of its keys, or one of its tags.

    Args:
        standing: the budget, as it stood when it refused.
        amount: what was to be reserved.
        now: seconds since 1970, UTC.
    """
    spent, reserved = Money(standing.spent_microusd), Money(standing.reserved_microusd)
    left = Money(max(0, standing.limit_microusd - standing.spent_microusd - standing.reserved_microusd))
    figures = f"limit ${Money(standing.limit_microusd).usd}, spent ${spent.usd}, reserved ${reserved.usd}"
    text = (
        f"the {_CALLED[standing.period]} budget of the {standing.scope} {standing.subject} has no room for "
        f"${amount.usd}: {figures}, left ${left.usd}; "
    )
    seconds = None
    if standing.resets_at is None:
        text += f"it does not reset: have budget {standing.budget_id} raised"
    else:
        text += (
            f"it resets at {moment(standing.resets_at)}: wait until then, or have budget {standing.budget_id} raised"
        )
        seconds = max(1.0, standing.resets_at / _MICROS - now)
    if reserved.microusd:
        text += "; what is reserved and not used comes back when its requests end"
    return BudgetExceeded(text, retry_after_seconds=seconds)


def warning(passed: Sequence[BudgetStanding]) -> str:
    """
    Return the value of the header that warns of soft budgets which are passed: a list of structured fields.

    Each is the budget's id with parameters; a subject is written with percent signs where it is not plain ASCII.
    Source: https://www.rfc-editor.org/rfc/rfc9651 (structured field values).

    Args:
        passed: at least one.
    """
    return ", ".join(_item(standing) for standing in passed)


def _item(standing: BudgetStanding) -> str:
    used = standing.spent_microusd + standing.reserved_microusd
    item = (
        f'"{standing.budget_id}";scope={standing.scope};subject="{quote(standing.subject, safe=_PLAIN)}"'
        f";period={standing.period};limit-microusd={standing.limit_microusd};used-microusd={used}"
    )
    return item if standing.resets_at is None else f"{item};resets-at={standing.resets_at // _MICROS}"


def moment(micros: int) -> str:
    """
    Write a moment in ISO 8601, to the second.

    >>> moment(1_798_761_600_000_000)
    '2027-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(micros // _MICROS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
