"""The database: its tables, the journal that writes the ledger in batches, and the keys."""

from gateway.store.batch import Outcome, Posting
from gateway.store.bounded import BoundedDatabase
from gateway.store.budgeting import BudgetStanding, accounts_of, period_start, resets_at
from gateway.store.chain import CHAINED, Head, chained, genesis, link
from gateway.store.database import Database, LedgerUnavailable, Work
from gateway.store.entry import ENDED, OPENED, RESOLVED, Entry, Kind, Moves, Verdict, ending, moves
from gateway.store.journal import Journal
from gateway.store.keys import ApiKey, KeyExists, Keys, fingerprint
from gateway.store.opening import open_database
from gateway.store.tables import api_keys, entries

__all__ = [
    "CHAINED",
    "ENDED",
    "OPENED",
    "RESOLVED",
    "ApiKey",
    "BoundedDatabase",
    "BudgetStanding",
    "Database",
    "Entry",
    "Head",
    "Journal",
    "KeyExists",
    "Keys",
    "Kind",
    "LedgerUnavailable",
    "Moves",
    "Outcome",
    "Posting",
    "Verdict",
    "Work",
    "accounts_of",
    "api_keys",
    "chained",
    "ending",
    "entries",
    "fingerprint",
    "genesis",
    "link",
    "moves",
    "open_database",
    "period_start",
    "resets_at",
]
