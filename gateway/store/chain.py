"""
What makes a change to the ledger visible: each entry carries a hash over itself and over the one before it. Pure.

Every writer has a chain of its own, so that no two gateways wait for each other. Its entries are numbered from 1; an
entry that is taken out leaves a gap, and one that is changed fits neither its own hash nor that of the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from blake3 import blake3

from gateway.store.entry import Entry

CHAINED: tuple[str, ...] = (*Entry._fields[:-1], "writer", "sequence")
"""The columns that an entry's hash covers, in the order in which it covers them; `id` and `chain` are left out. An
entry's `upstream_account`, where it has one, is covered after them: entries from before it was kept have none."""

STORED: tuple[str, ...] = (*CHAINED, "chain", "upstream_account")
"""What is written of an entry: all but its `id`, which the database gives."""


def genesis(writer: str) -> str:
    """Return what a writer's first entry follows: the hash of the writer's name, as 64 hexadecimal digits."""
    return blake3(writer.encode()).hexdigest()


def link(previous: str, values: Sequence[Any], upstream_account: str | None = None) -> str:
    """
    Return an entry's hash, as 64 hexadecimal digits.

    Args:
        previous: the hash of the writer's entry before this one; `genesis` before the first.
        values: the entry's values of `CHAINED`, in that order.
        upstream_account: the entry's.

    Raises:
        TypeError: a value cannot be stored, such as half a character.
    """
    covered = values if upstream_account is None else (*values, upstream_account)
    return blake3(previous.encode() + orjson.dumps(covered)).hexdigest()


class Head(NamedTuple):
    """The end of a writer's chain."""

    writer: str
    sequence: int
    """How many entries the writer has written."""
    chain: str
    """The hash of the last one."""


def begin(writer: str) -> Head:
    """Return the head of a chain without entries."""
    return Head(writer, 0, genesis(writer))


def chained(head: Head, entries: Sequence[Entry]) -> tuple[list[tuple[Any, ...]], Head]:
    """
    Append entries to a chain.

    Returns:
        Their values of `STORED`, and the new head.

    Raises:
        TypeError: a value cannot be stored.
    """
    writer, sequence, chain = head
    rows: list[tuple[Any, ...]] = []
    for entry in entries:
        sequence += 1
        values = (*entry[:-1], writer, sequence)
        chain = link(chain, values, entry.upstream_account)
        rows.append((*values, chain, entry.upstream_account))
    return rows, Head(writer, sequence, chain)
