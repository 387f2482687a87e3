"""Batch after batch onto one chain of entries."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial

from gateway.store.batch import NotAsGiven, Outcome, Posting, apply, apply_carefully
from gateway.store.chain import begin
from gateway.store.database import Database, LedgerUnavailable

#: How often a batch is judged anew when other gateways come in between.
_ROUNDS = 5


def name_writer() -> str:
    """Return a name that no other writer of entries has."""
    return f"w_{secrets.token_hex(8)}"


class Lane:
    """
    One chain, whose entries are written one batch after the other.

    Its head advances with commits that are known. After one that is unknown nobody can say which entry the next one
    follows, so that a new writer begins.
    """

    def __init__(self, database: Database, new_writer: Callable[[], str]) -> None:
        """Begin a chain in a database; `new_writer` names its writer, unlike any other."""
        self._database = database
        self._new_writer = new_writer
        self._head = begin(new_writer())

    async def transact(self, batch: Sequence[Posting]) -> list[Outcome]:
        """
        Write a batch in one transaction; in a second one, entry by entry, where not all of it fits.

        Raises:
            LedgerUnavailable: it is not written; or, where `certain` is false, nobody knows.
        """
        work = apply
        for _ in range(1 + _ROUNDS):
            try:
                outcomes, self._head = await self._database.write(partial(work, batch=batch, head=self._head))
            except NotAsGiven:
                work = apply_carefully
            except LedgerUnavailable as failure:
                if not failure.certain:
                    self._head = begin(self._new_writer())
                raise
            except BaseException:
                self._head = begin(self._new_writer())
                raise
            else:
                return outcomes
        raise LedgerUnavailable(f"other gateways came in between {_ROUNDS} times", certain=True)
