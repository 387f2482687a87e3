"""What a database does for us: one piece of work in one transaction, off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from providers.contract import Resource

T = TypeVar("T")
Work = Callable[[Connection], T]


class LedgerUnavailable(Exception):
    """The ledger's database brought no result: nothing may be spent now."""

    def __init__(
        self, message: str, *, certain: bool, values_at_fault: bool = False, shortage: Resource | None = None
    ) -> None:
        """
        Say what is known.

        Args:
            message: what the database said; for the operator, not for the caller.
            certain: whether it is certain that nothing was committed.
            values_at_fault: whether the database is well and refuses the values.
            shortage: what this machine had run out of, where that is why: the database itself may be well.
        """
        super().__init__(message)
        self.certain = certain
        self.values_at_fault = values_at_fault
        self.shortage = shortage


def told(error: BaseException) -> str:
    """Return what the driver said, without the statement and the values that SQLAlchemy adds to it."""
    return str(getattr(error, "orig", None) or error) or type(error).__name__


class Database(Protocol):
    """A database with our tables in it."""

    async def write(self, work: Work[T]) -> T:
        """
        Do the work in one transaction; when this returns, it is on disk.

        Raises:
            LedgerUnavailable: it is not committed, or nobody knows.
        """

    async def read(self, work: Work[T]) -> T:
        """
        Do work that changes nothing, beside the writers.

        Raises:
            LedgerUnavailable: no answer.
        """

    async def close(self) -> None:
        """End the connections."""
