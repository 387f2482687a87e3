"""The ledger's entries as values, read out of the API's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from providers.contract import Money


@dataclass(frozen=True, slots=True)
class LedgerFilter:
    """Which entries to bring. None is no bound; moments are ISO, in UTC where they name no time zone."""

    tenant: str | None = None
    """Whose; None for the key's own. An administrator may name any, and `*` for all."""
    key_id: str | None = None
    deployment: str | None = None
    tags: tuple[str, ...] = ()
    """Only those of attempts that carry all of these, each as `NAME:VALUE`."""
    since: str | None = None
    """Reserved from this date or moment on."""
    until: str | None = None
    """Reserved before this date or moment."""
    kind: str | None = None
    """`reserve`, `settle`, `release`, `hold`, `correct` or `import`."""
    attempt_id: str | None = None
    request_id: str | None = None
    """Only those of the answer of this id."""

    def parameters(self) -> list[tuple[str, str]]:
        """Return it as a query string's parameters."""
        names = ("tenant", "key_id", "deployment", "since", "until", "kind", "attempt_id", "request_id")
        given = [(name, getattr(self, name)) for name in names]
        return [(name, value) for name, value in given if value is not None] + [("tag", tag) for tag in self.tags]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One movement of money, and whose it is."""

    attempt_id: str
    phase: int
    """0 opened, 1 ended, 2 resolved after a hold, 3 and on corrected."""
    kind: str
    amount: Money
    """Reserve and hold: set aside. Settle: the charge. Correct: by how much the charge changes."""
    cost: Money
    """Owed to the provider; of a hold, at most."""
    at: datetime
    tenant: str
    key_id: str
    deployment: str
    request_id: str
    tags: Mapping[str, str]
    reason: str | None
    document: Mapping[str, Any] = field(repr=False)
    """The entry as it came, with its accounts and its place in the hash chain."""


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Some entries."""

    entries: tuple[LedgerEntry, ...]
    next_cursor: str | None
    """What leads to the next page; None on the last one."""


def read_ledger(document: Mapping[str, Any]) -> LedgerPage:
    """
    Read a page's JSON.

    Raises:
        KeyError, TypeError, ValueError: it is no page of this API.
    """
    return LedgerPage(tuple(map(_read_entry, document["entries"])), document["next_cursor"])


def _read_entry(document: Mapping[str, Any]) -> LedgerEntry:
    return LedgerEntry(
        attempt_id=document["attempt_id"],
        phase=document["phase"],
        kind=document["kind"],
        amount=Money(document["amount_microusd"]),
        cost=Money(document["cost_microusd"]),
        at=datetime.fromisoformat(document["at"]),
        tenant=document["tenant"],
        key_id=document["key_id"],
        deployment=document["deployment"],
        request_id=document["request_id"],
        tags=document["tags"],
        reason=document["reason"],
        document=document,
    )
