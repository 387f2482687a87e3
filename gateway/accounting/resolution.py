"""How a hold ends by what its provider says of the attempt. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.accounting.holds import HeldAttempt
from gateway.accounting.price_ids import agreed_terms
from gateway.accounting.pricing import Price, charge
from providers.contract import NOTHING, Fate, Found, Money, PriceUnit, Usage


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a hold ends."""

    charge: Money
    """To the tenant; nothing for a release."""
    cost: Money
    """Owed to the provider."""
    reported: Money | None
    release: bool
    uncharged: Money = NOTHING
    """What the call came to beyond what was reserved for it: the operator bears it."""


#: What has come to nothing: the attempt stays as it is.
UNRESOLVED = Resolution(NOTHING, NOTHING, None, release=False)


def resolve(
    found: Found,
    held: HeldAttempt,
    price: Price | None,
    unit: PriceUnit | None,
    *,
    believe_absence: bool,
    same_account: bool = True,
) -> Resolution | None:
    """
    Say how a hold ends by what was found; None where it stays.

    What is billed is charged by the terms of the reservation, as an answer in time would have been.

    Args:
        found: the provider's word.
        held: the attempt.
        price: that of the reservation; None where the price book has it no more.
        unit: what its deployment's price is counted in now, for where the price is not known.
        believe_absence: whether it is late enough to believe that the attempt never came there.
        same_account: whether the word is that of the endpoint and the account which the attempt was made with. Another
            one may know that it is billed; that it is not billed says nothing there.
    """
    if found.fate is Fate.CHARGED:
        return _billed(held, price, found.cost, found.seconds)
    if not same_account:
        return None
    if found.fate is Fate.NOT_CHARGED:
        if (unit if price is None else price.unit) is PriceUnit.REQUEST:  # a call is owed for, however it ended
            return _billed(held, price, None, None)
        return Resolution(NOTHING, NOTHING, None, release=True)
    if found.fate is Fate.ABSENT and believe_absence:
        return Resolution(NOTHING, NOTHING, None, release=True)
    return None


def _billed(held: HeldAttempt, price: Price | None, reported: Money | None, seconds: float | None) -> Resolution:
    """Return the end of a hold that the provider has billed, with its figure and the time of work where it has them."""
    if reported is not None and reported < NOTHING:  # a negative figure is no bill
        reported = None
    reserved = Money(held.amount_microusd)
    terms = agreed_terms(held.price_id, reserved, price, seconds)
    owed = charge(terms, Usage(seconds or 0.0, reported), reserved)
    return Resolution(owed.charge, owed.cost, reported, release=False, uncharged=owed.uncharged)
