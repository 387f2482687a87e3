"""The database: its tables, the journal that writes the ledger in batches, and the keys."""

from gateway.store.bounded import BoundedDatabase
from gateway.store.database import Database, LedgerUnavailable, Work
from gateway.store.entry import RESOLVED, Entry, Kind, Verdict
from gateway.store.journal import Journal
from gateway.store.keys import ApiKey, KeyExists, Keys, fingerprint
from gateway.store.opening import open_database
from gateway.store.tables import api_keys, entries

__all__ = [
    "RESOLVED",
    "ApiKey",
    "BoundedDatabase",
    "Database",
    "Entry",
    "Journal",
    "KeyExists",
    "Keys",
    "Kind",
    "LedgerUnavailable",
    "Verdict",
    "Work",
    "api_keys",
    "entries",
    "fingerprint",
    "open_database",
]
