"""What calls cost, who owes it, and that no micro-dollar is lost or spent twice."""

from gateway.accounting.holds import HeldAttempt
from gateway.accounting.ledger import Attempt, AttemptRefused, KeyRefused, Ledger, OverBudget
from gateway.accounting.pricing import Charge, Price, charge, most
from gateway.accounting.reconciling import Account, Cadence, Reconciler, Result
from gateway.accounting.reports import By, Tally, UsageLine, UsageQuery, UsageReport
from gateway.accounting.reservation import AlreadyResolved, Reservation
from gateway.accounting.resolution import Resolution
from gateway.store import BudgetStanding, LedgerUnavailable

__all__ = [
    "Account",
    "AlreadyResolved",
    "Attempt",
    "AttemptRefused",
    "BudgetStanding",
    "By",
    "Cadence",
    "Charge",
    "HeldAttempt",
    "KeyRefused",
    "Ledger",
    "LedgerUnavailable",
    "OverBudget",
    "Price",
    "Reconciler",
    "Reservation",
    "Resolution",
    "Result",
    "Tally",
    "UsageLine",
    "UsageQuery",
    "UsageReport",
    "charge",
    "most",
]
