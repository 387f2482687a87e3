"""What entries add to the running sums of `usage_lines`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import orjson
from blake3 import blake3

from gateway.store.entry import ENDED, OPENED, RESOLVED, Entry, Kind

_DAY_MICROS = 86_400_000_000


class Divided(NamedTuple):
    """What usage is divided by: the columns of `usage_lines` from `day` to `tags`."""

    day: int
    """Days since 1970, UTC, of the reservation."""
    tenant: str | None
    key_id: str | None
    deployment: str | None
    provider: str | None
    model: str | None
    region: str | None
    tags: str | None
    """A JSON object of strings."""


class Figures(NamedTuple):
    """What is added up, in the order of the columns of `usage_lines`."""

    attempts: int
    settled: int
    released: int
    held: int
    open: int
    charged_microusd: int
    cost_microusd: int
    held_microusd: int
    open_microusd: int


def divided(opening: Entry) -> Divided:
    """Return which line an attempt belongs to, by the entry that opened it."""
    return Divided(
        opening.at // _DAY_MICROS,
        opening.tenant,
        opening.key_id,
        opening.deployment,
        opening.provider,
        opening.model,
        opening.region,
        opening.tags,
    )


@lru_cache(maxsize=4096)
def line_name(line: Divided) -> str:
    """Return what a line is called within its writer: a digest of what it is divided by, 32 hexadecimal digits."""
    return blake3(orjson.dumps(tuple(line))).hexdigest(length=16)


def figures(entry: Entry) -> Figures:
    """Return what one entry adds; the entries of an attempt add up to where it stands."""
    kind, phase = entry.kind, entry.phase
    return Figures(
        attempts=int(phase == OPENED),
        settled=int(kind in {Kind.SETTLE, Kind.IMPORT}),
        released=int(kind == Kind.RELEASE),
        held=(kind == Kind.HOLD) - (phase == RESOLVED),
        open=(kind == Kind.RESERVE) - (phase == ENDED),
        charged_microusd=entry.payable_microusd + entry.margin_microusd,
        cost_microusd=entry.payable_microusd,
        held_microusd=entry.held_microusd,
        open_microusd=entry.reserved_microusd,
    )


def added_up(written: Iterable[tuple[Entry, Entry]]) -> dict[Divided, Figures]:
    """
    Return what a batch adds to each line.

    Args:
        written: each entry with the one that opened its attempt.
    """
    sums: dict[Divided, Figures] = {}
    for entry, opening in written:
        line = divided(opening)
        more = figures(entry)
        before = sums.get(line)
        sums[line] = more if before is None else Figures(*(a + b for a, b in zip(before, more, strict=True)))
    return sums
