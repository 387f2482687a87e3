"""How a hold ends by what its provider says of the attempt. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.accounting.holds import HeldAttempt
from gateway.accounting.price_ids import read_price_id
from providers.contract import NOTHING, Fate, Found, Money, PriceUnit


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a hold ends."""

    charge: Money
    """To the tenant; nothing for a release."""
    cost: Money
    """Owed to the provider."""
    reported: Money | None
    release: bool


def resolve(
    found: Found, held: HeldAttempt, unit: PriceUnit | None, *, believe_absence: bool, same_account: bool = True
) -> Resolution | None:
    """
    Say how a hold ends by what was found; None where it stays.

    The tenant is charged by the terms of the reservation, and never more than it set aside. Where the provider gives no
    figure that is all of it, and the cost is what these terms make it from.

    Args:
        found: the provider's word.
        held: the attempt.
        unit: what its deployment's price is counted in.
        believe_absence: whether it is late enough to believe that the attempt never came there.
        same_account: whether the word is that of the endpoint and the account which the attempt was made with. Another
            one may know that it is billed; that it is not billed says nothing there.
    """
    amount, terms = Money(held.amount_microusd), read_price_id(held.price_id)
    unreported = Resolution(amount, terms.cost(amount), None, release=False)
    if found.fate is Fate.CHARGED:
        if found.cost is None or found.cost < NOTHING:  # a negative figure is no bill
            return unreported
        return Resolution(terms.charge(found.cost, amount), found.cost, found.cost, release=False)
    if not same_account:
        return None
    if found.fate is Fate.NOT_CHARGED:
        if unit is PriceUnit.REQUEST:  # the operator's price says that a call is owed for, however it ended
            return unreported
        return Resolution(NOTHING, NOTHING, None, release=True)
    if found.fate is Fate.ABSENT and believe_absence:
        return Resolution(NOTHING, NOTHING, None, release=True)
    return None
