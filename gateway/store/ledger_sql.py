"""The statements of every batch; see `batch.py` for their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, or_, select

from gateway.store.budgeting import BudgetRow, Window, WindowKey, fresh_windows
from gateway.store.chain import STORED
from gateway.store.entry import OPENED, Entry
from gateway.store.given_rows import GivenRows, in_columns, unnested
from gateway.store.tables import api_keys, budget_windows, budgets, entries, usage_lines
from gateway.store.usage_lines import Divided, Figures, line_name

_STORED = ", ".join(STORED)

#: An ending is written where its reservation stands, covers it, and is what it takes away; a reserve where its key is
#: good. Nothing is written twice. `phase * 0` and not 0, which would make the partial indexes of reservations fit too:
#: PostgreSQL, which plans while the table is small and keeps the plan, then walks all reservations for each ending.
_FITTING = (
    f"INSERT INTO entries ({_STORED}) {{given}} SELECT {_STORED} FROM given"  # noqa: S608 - made of column names alone
    " WHERE (given.phase = 0 AND NOT EXISTS (SELECT 1 FROM api_keys AS shown WHERE shown.id = given.key_id"
    " AND (shown.revoked_at IS NOT NULL OR shown.expires_at <= given.at)))"
    " OR (given.phase > 0 AND EXISTS (SELECT 1 FROM entries AS opened"
    " WHERE opened.attempt_id = given.attempt_id AND opened.phase = given.phase * 0 AND (given.phase > 2"
    " OR (opened.kind = 'reserve' AND opened.amount_microusd >= given.amount_microusd AND opened.amount_microusd"
    " = CASE given.phase WHEN 1 THEN -given.reserved_microusd ELSE -given.held_microusd END))))"
    " ON CONFLICT (attempt_id, phase) DO NOTHING"
)
_INSERT = GivenRows(entries, STORED, _FITTING)

_BUDGET = ", ".join(f"found.{name}" for name in BudgetRow._fields)
_BUDGETS = GivenRows(
    budgets,
    ["account"],
    f"{{given}} SELECT {_BUDGET} FROM budgets AS found"  # noqa: S608 - made of column names alone
    " WHERE found.account IN (SELECT given.account FROM given)",
)

_USED = ("limit_microusd", "allowed_microusd", "spent_microusd", "reserved_microusd")
_WINDOW = ("budget_id", "starts_at", *_USED, "hard")
_LOCK_WINDOWS = GivenRows(
    budget_windows,
    _WINDOW[:2],
    f"{{given}} SELECT {', '.join(f'found.{name}' for name in _WINDOW[:-1])} FROM budget_windows AS found"  # noqa: S608 - made of column names alone
    " JOIN given ON given.budget_id = found.budget_id AND given.starts_at = found.starts_at"
    " ORDER BY found.budget_id, found.starts_at",
    postgres=" FOR UPDATE OF found",
)
_INTO_WINDOWS = (
    f"INSERT INTO budget_windows ({', '.join(_WINDOW)}) {{given}} SELECT {', '.join(_WINDOW)} FROM given"  # noqa: S608 - made of column names alone
    " WHERE budget_id IS NOT NULL ORDER BY budget_id, starts_at ON CONFLICT (budget_id, starts_at) DO"
)
_MAKE_WINDOWS = GivenRows(budget_windows, _WINDOW, f"{_INTO_WINDOWS} NOTHING")
_PUT_WINDOWS = GivenRows(
    budget_windows,
    _WINDOW,
    f"{_INTO_WINDOWS} UPDATE SET allowed_microusd = excluded.allowed_microusd,"
    " spent_microusd = excluded.spent_microusd, reserved_microusd = excluded.reserved_microusd",
)

_LINE = ("writer", "line", *Divided._fields, *Figures._fields)
_ADDED = (
    f"INSERT INTO usage_lines ({', '.join(_LINE)}) {{given}} SELECT {', '.join(_LINE)} FROM given"  # noqa: S608 - made of column names alone
    " WHERE writer IS NOT NULL ON CONFLICT (writer, line) DO UPDATE SET "
    + ", ".join(f"{name} = usage_lines.{name} + excluded.{name}" for name in Figures._fields)
)
_ADD_USAGE = GivenRows(usage_lines, _LINE, _ADDED)

#: A whole batch on PostgreSQL, where each statement costs a way there and back. It sees budgets as they are once it has
#: its lock on the entries: PostgreSQL locks the tables of a statement first and takes its snapshot then.
_RECORD = (
    f"WITH written AS ({_FITTING} RETURNING 1), added AS ({_ADDED})"  # noqa: S608 - made of column names alone
    f" SELECT counted.rows, {_BUDGET} FROM (SELECT count(*) AS rows FROM written) AS counted"
    f" LEFT JOIN budgets AS found ON found.account = ANY (${len(STORED) + len(_LINE) + 1}::text[])"
)
_POSTGRES_RECORD = _RECORD.replace("{given}", f"WITH given ({_STORED}) AS ({unnested(entries, STORED)})", 1).replace(
    "{given}", f"WITH given ({', '.join(_LINE)}) AS ({unnested(usage_lines, _LINE, first=len(STORED) + 1)})", 1
)

_OF_ATTEMPTS = [entries.c[name] for name in Entry._fields]


def record(
    connection: Connection,
    rows: Sequence[Sequence[Any]],
    *,
    writer: str,
    sums: Mapping[Divided, Figures],
    accounts: Iterable[str],
) -> tuple[int, list[BudgetRow]]:
    """
    Write what can be written of rows of `STORED`, add to the running sums, and find the budgets of some accounts.

    Returns:
        How many rows were written, and the budgets as they are once the entries are locked.
    """
    if connection.dialect.name != "postgresql":
        written = insert_entries(connection, rows)
        add_usage(connection, writer, sums)
        return written, find_budgets(connection, accounts)
    given = (*in_columns(rows), *in_columns(_lines(writer, sums)), list(accounts))
    found = connection.exec_driver_sql(_POSTGRES_RECORD, given).fetchall()
    return found[0][0], [BudgetRow._make(row[1:]) for row in found if row[1] is not None]


def insert_entries(connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
    """Write what can be written of rows of `STORED`, and return how many those were."""
    return _INSERT.on(connection, rows).rowcount


def find_budgets(connection: Connection, accounts: Iterable[str]) -> list[BudgetRow]:
    """Return the budgets of some accounts."""
    return [BudgetRow._make(row) for row in _BUDGETS.on(connection, [(account,) for account in accounts]).fetchall()]


def lock_windows(connection: Connection, needed: Mapping[WindowKey, BudgetRow]) -> dict[WindowKey, Window]:
    """Return windows, made where they are missing, and keep others from changing them until the transaction ends."""
    found = _locked(connection, needed)
    missing = {key: budget for key, budget in needed.items() if key not in found}
    if missing:
        _MAKE_WINDOWS.on(connection, [_row(window) for window in fresh_windows(missing)])
        found |= _locked(connection, missing)
    return found


def _locked(connection: Connection, needed: Mapping[WindowKey, BudgetRow]) -> dict[WindowKey, Window]:
    found = {}
    for budget_id, starts_at, *used in _LOCK_WINDOWS.on(connection, list(needed)).fetchall():
        key = WindowKey(budget_id, starts_at)
        found[key] = Window(needed[key], starts_at, *used)
    return found


def put_windows(connection: Connection, windows: Iterable[Window]) -> None:
    """Store windows that were locked."""
    _PUT_WINDOWS.on(connection, [_row(window) for window in windows])


def _row(window: Window) -> tuple[str, int, int, int, int, int, int]:
    used = (window.limit, window.allowed, window.spent, window.reserved)
    return (window.budget.id, window.starts_at, *used, window.budget.hard)


def add_usage(connection: Connection, writer: str, sums: Mapping[Divided, Figures]) -> None:
    """Add to the running sums of one writer."""
    _ADD_USAGE.on(connection, _lines(writer, sums))


def _lines(writer: str, sums: Mapping[Divided, Figures]) -> list[tuple[Any, ...]]:
    return [(writer, line_name(line), *line, *figures) for line, figures in sums.items()]


def find_openings(connection: Connection, attempts: Iterable[str]) -> dict[str, Entry]:
    """Return the entries that opened some attempts."""
    standing = find_standing(connection, attempts)
    return {attempt_id: phases[OPENED] for attempt_id, phases in standing.items() if OPENED in phases}


def find_standing(connection: Connection, attempts: Iterable[str]) -> dict[str, dict[int, Entry]]:
    """Return the entries of some attempts, by attempt and phase."""
    found: dict[str, dict[int, Entry]] = {attempt: {} for attempt in attempts}
    for row in connection.execute(select(*_OF_ATTEMPTS).where(entries.c.attempt_id.in_(list(found)))):
        found[row.attempt_id][row.phase] = Entry._make(row)
    return found


def find_lapsed_keys(connection: Connection, keys: Iterable[str | None]) -> dict[str, int]:
    """Return, of some keys, from when on each is no longer good, in microseconds since 1970; 0 where it is revoked."""
    lapses = or_(api_keys.c.revoked_at.is_not(None), api_keys.c.expires_at.is_not(None))
    query = select(api_keys.c.id, api_keys.c.revoked_at, api_keys.c.expires_at)
    found = connection.execute(query.where(api_keys.c.id.in_(set(keys)), lapses))
    return {row.id: row.expires_at if row.revoked_at is None else 0 for row in found}
