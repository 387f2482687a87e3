"""The ledger added up again from its entries alone, written plainly, to compare what the gateway keeps beside them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from gateway.store import CHAINED, Database, genesis, link
from gateway.store.tables import budget_windows, budgets, entries, usage_lines

DIVISIONS = ("tenant", "key_id", "deployment", "provider", "model", "region", "tags")
FIGURES = (
    "attempts",
    "settled",
    "released",
    "held",
    "open",
    "charged_microusd",
    "cost_microusd",
    "held_microusd",
    "open_microusd",
)


async def agree(database: Database) -> int:
    """Assert that sums, budgets and chains are what the entries say; return how many entries there are."""
    return await database.read(check)


def check(connection: Connection) -> int:
    """Assert it in a transaction that reads."""
    rows = [dict(row) for row in connection.execute(select(entries).order_by(entries.c.id)).mappings()]
    attempts: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        attempts[row["attempt_id"]][row["phase"]] = row
    ends = {attempt_id: _end(phases) for attempt_id, phases in attempts.items()}
    _check_usage(connection, attempts, ends)
    _check_windows(connection, attempts, ends)
    _check_chains(rows)
    return len(rows)


def _end(phases: dict[int, dict[str, Any]]) -> dict[str, int]:
    """Return where an attempt stands, from its kinds and amounts."""
    last = max(phase for phase in phases if phase <= 2)
    kind, amount = phases[last]["kind"], phases[last]["amount_microusd"]
    end = dict.fromkeys(FIGURES, 0) | {"attempts": 1}
    end[{"reserve": "open", "settle": "settled", "release": "released", "hold": "held", "import": "settled"}[kind]] = 1
    if kind in {"settle", "import"}:
        end |= {"charged_microusd": amount, "cost_microusd": phases[last]["cost_microusd"]}
    elif kind in {"hold", "reserve"}:
        end["held_microusd" if kind == "hold" else "open_microusd"] = amount
    for phase, row in phases.items():
        if phase > 2:
            end["charged_microusd"] += row["amount_microusd"]
            end["cost_microusd"] += row["cost_microusd"]
    return end


def _check_usage(connection: Connection, attempts: dict[str, Any], ends: dict[str, dict[str, int]]) -> None:
    expected: defaultdict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for attempt_id, phases in attempts.items():
        opened = phases[0]
        line = (opened["at"] // 86_400_000_000, *(opened[name] for name in DIVISIONS))
        expected[line].update(ends[attempt_id])
    found: defaultdict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row in connection.execute(select(usage_lines)).mappings():
        line = (row["day"], *(row[name] for name in DIVISIONS))
        for name in FIGURES:
            found[line][name] += row[name]
    assert expected == found, "the running sums of usage are not those of the entries"


def _check_windows(connection: Connection, attempts: dict[str, Any], ends: dict[str, dict[str, int]]) -> None:
    kept = {row["id"]: row for row in connection.execute(select(budgets)).mappings()}
    expected: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    for attempt_id, phases in attempts.items():
        for budget in kept.values():
            if _counts(budget, phases[0]):
                window = expected[budget["id"], _start(budget["period"], phases[0]["at"])]
                window[0] += ends[attempt_id]["charged_microusd"]
                window[1] += ends[attempt_id]["open_microusd"] + ends[attempt_id]["held_microusd"]
    found = {}
    for row in connection.execute(select(budget_windows)).mappings():
        found[row["budget_id"], row["starts_at"]] = [row["spent_microusd"], row["reserved_microusd"]]
        assert not row["hard"] or row["spent_microusd"] + row["reserved_microusd"] <= row["allowed_microusd"]
    nothing = [0, 0]
    assert {key: used for key, used in expected.items() if used != nothing} == {
        key: used for key, used in found.items() if used != nothing
    }, "what is used of the budgets is not what the entries say"


def _counts(budget: Any, opened: dict[str, Any]) -> bool:
    if budget["scope"] == "tenant":
        return bool(opened["tenant"] == budget["subject"])
    if budget["scope"] == "key":
        return bool(opened["key_id"] == budget["subject"])
    tags = [f"{name}={value}" for name, value in json.loads(opened["tags"]).items()]
    return opened["tenant"] == budget["tenant"] and budget["subject"] in tags


def _start(period: str, at: int) -> int:
    moment = datetime.fromtimestamp(at // 1_000_000, UTC).replace(hour=0, minute=0, second=0)
    starts = {"total": 0.0, "day": moment.timestamp(), "month": moment.replace(day=1).timestamp()}
    return int(starts[period]) * 1_000_000


def _check_chains(rows: list[dict[str, Any]]) -> None:
    heads: dict[str, tuple[int, str]] = {}
    for row in sorted(rows, key=lambda row: (row["writer"], row["sequence"])):
        sequence, previous = heads.get(row["writer"], (0, genesis(row["writer"])))
        assert sequence + 1 == row["sequence"], f"a gap in the chain of {row['writer']}"
        assert link(previous, [row[name] for name in CHAINED], row["upstream_account"]) == row["chain"]
        heads[row["writer"]] = (row["sequence"], row["chain"])
