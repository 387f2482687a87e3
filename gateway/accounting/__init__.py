"""What calls cost, who owes it, and that no micro-dollar is lost or spent twice."""

from gateway.accounting.ledger import Attempt, AttemptRefused, Ledger
from gateway.accounting.pricing import Charge, Price, charge, most
from gateway.accounting.reports import By, Tally, UsageLine, UsageQuery, UsageReport
from gateway.accounting.reservation import AlreadyResolved, Reservation
from gateway.store import LedgerUnavailable

__all__ = [
    "AlreadyResolved",
    "Attempt",
    "AttemptRefused",
    "By",
    "Charge",
    "Ledger",
    "LedgerUnavailable",
    "Price",
    "Reservation",
    "Tally",
    "UsageLine",
    "UsageQuery",
    "UsageReport",
    "charge",
    "most",
]
