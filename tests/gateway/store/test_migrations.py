"""A ledger of the first release becomes one of this release, whole or not at all."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select, text

from gateway.accounting import Ledger
from gateway.accounting.verifying import verify
from gateway.store import LedgerUnavailable
from gateway.store.chain import CHAINED, genesis, link
from gateway.store.migrating import REVISIONS, read_revision
from gateway.store.opening import SchemaState, examine_database, upgrade_database
from gateway.store.tables import api_keys, entries, usage_lines
from tests.gateway.store.old_ledger import DAY, KEYS, NOON, in_database, make_old_ledger, old_entries, read_schema

CHILD = Path(__file__).with_name("migration_child.py")
ROOT = CHILD.parents[3]


async def read_rows(url: str, statement: Any) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    rows: list[dict[str, Any]] = await in_database(
        url, lambda connection: [dict(row) for row in connection.execute(statement).mappings()]
    )
    return rows


def sibling(url: str) -> str:
    """Return the address of another SQLite file in the same folder."""
    return url.replace("ledger.db", "other.db")


@pytest.fixture
def other_url(database_url: str, request: pytest.FixtureRequest) -> str:
    """The address of a second empty database of the same kind."""
    if database_url.startswith("sqlite"):
        return sibling(database_url)
    server: Any = request.getfixturevalue("postgres_server")
    url: str = server.create(f"{database_url.rpartition('/')[2]}_other")
    return url


def test_scripts_are_the_revisions_that_the_code_knows() -> None:
    """Alembic finds the revisions that are written in the code, in one line and in the same order."""
    config = Config()
    config.set_main_option("script_location", "gateway.store:migrations")
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert tuple(script.revision for script in reversed(scripts)) == REVISIONS


async def test_first_script_makes_the_first_release(database_url: str, other_url: str) -> None:
    """The first revision is what the first release made, but for the table that says so."""

    def make_first(connection: Connection) -> None:
        from alembic import command

        config = Config()
        config.set_main_option("script_location", "gateway.store:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql("DROP TABLE alembic_version")

    await make_old_ledger(database_url)
    await in_database(other_url, make_first)
    assert await in_database(database_url, read_schema) == await in_database(other_url, read_schema)


async def test_an_upgraded_schema_equals_a_new_one(database_url: str, other_url: str) -> None:
    """Columns in their order, constraints, indexes, triggers, functions and sequences are those of a new database."""
    await make_old_ledger(database_url, old_entries(20, seed=1), KEYS)
    assert await upgrade_database(database_url) == SchemaState("0001", ("0002", "0003", "0004", "0005"))
    assert await upgrade_database(other_url) == SchemaState(None, ("0001", "0002", "0003", "0004", "0005"))
    upgraded, new = [await in_database(url, read_schema) for url in (database_url, other_url)]
    assert upgraded == new
    assert await in_database(database_url, read_revision) == "0005"


async def test_every_entry_is_carried_over(database_url: str) -> None:
    """What stood in an entry stands there still, under its number; what it moves balances, and the chain is whole."""
    before = old_entries(1500, seed=2)
    await make_old_ledger(database_url, before)
    await upgrade_database(database_url)
    after = await read_rows(database_url, select(entries).order_by(entries.c.id))
    assert [{name: row[name] for name in before[0]} for row in after] == before
    opened = {row["attempt_id"]: row["amount_microusd"] for row in before if row["phase"] == 0}
    ended = {row["attempt_id"]: row["kind"] for row in sorted(before, key=lambda row: row["phase"])}
    left: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    head = genesis("w_migration")
    for sequence, row in enumerate(after, 1):
        assert (row["writer"], row["sequence"]) == ("w_migration", sequence)
        head = link(head, [row[name] for name in CHAINED], row["upstream_account"])
        assert head == row["chain"]
        left[row["attempt_id"]][0] += row["reserved_microusd"]
        left[row["attempt_id"]][1] += row["held_microusd"]
    for attempt, amount in opened.items():
        kind = ended[attempt]
        assert left[attempt] == [amount if kind == "reserve" else 0, amount if kind == "hold" else 0]


async def test_usage_is_added_up(database_url: str) -> None:
    """The usage lines are the old entries, added up by day, tenant, key and tags."""
    before = old_entries(700, seed=3)
    await make_old_ledger(database_url, before)
    await upgrade_database(database_url)
    expected: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 9)
    attempts: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in before:
        attempts[row["attempt_id"]][row["phase"]] = row
    kinds = ("settle", "release", "hold", "reserve")
    for phases in attempts.values():
        opened, last = phases[0], phases[max(phases)]
        amount, kind = last["amount_microusd"], last["kind"]
        figures = expected[opened["at"] // DAY, opened["tenant"], opened["key_id"], opened["tags"]]
        settled = kind == "settle"
        own = [1, *(kind == each for each in kinds), settled * amount, settled * last["cost_microusd"]]
        own += [(kind == "hold") * amount, (kind == "reserve") * amount]
        figures[:] = [sum(pair) for pair in zip(figures, own, strict=True)]
    found = await read_rows(database_url, select(usage_lines))
    names = (
        "attempts", "settled", "released", "held", "open", "charged_microusd", "cost_microusd", "held_microusd",
        "open_microusd",
    )  # fmt: skip
    assert {
        (row["day"], row["tenant"], row["key_id"], row["tags"]): [row[name] for name in names] for row in found
    } == expected
    assert {(row["writer"], row["deployment"], row["region"]) for row in found} == {("w_migration", "runflow-eu", "eu")}


async def test_keys_get_scopes(database_url: str) -> None:
    """A key may do what it could before, the first key is an administrator, and a revoked key stays revoked."""
    await make_old_ledger(database_url, keys=KEYS)
    await upgrade_database(database_url)
    found = await read_rows(database_url, select(api_keys).order_by(api_keys.c.id.desc()))
    fixed = {"tenant": "acme", "name": "", "prefix": "mg_…", "created_at": NOON}
    none = dict.fromkeys(("expires_at", "replaces", "requests_per_second", "burst", "concurrency"))
    assert found == [
        fixed | none | {"id": "key_first", "sha256": "aa", "scopes": "segment usage admin", "revoked_at": None},
        fixed | none | {"id": "key_2", "sha256": "bb", "scopes": "segment usage", "revoked_at": NOON},
    ]


async def test_an_upgraded_ledger_is_append_only_and_goes_on(database_url: str) -> None:
    """Changes are refused as before, and the next entry gets the next number."""
    before = old_entries(5, seed=4)
    await make_old_ledger(database_url, before)
    await upgrade_database(database_url)
    for statement in ("UPDATE entries SET at = 0", "DELETE FROM entries"):
        with pytest.raises(LedgerUnavailable, match="append-only"):
            await in_database(database_url, lambda connection, sql=statement: connection.exec_driver_sql(sql))
    (opening,) = await read_rows(database_url, select(entries).where(entries.c.phase == 0).limit(1))
    last = max(row["id"] for row in before)
    new = {name: value for name, value in opening.items() if name != "id"}
    new |= {"attempt_id": "att_new", "writer": "w_new", "sequence": 1}
    await in_database(database_url, lambda connection: connection.execute(insert(entries).values(new)))
    (added,) = await read_rows(database_url, select(entries.c.id).where(entries.c.attempt_id == "att_new"))
    assert added == {"id": last + 1}


async def test_an_ending_without_its_reservation_stops_the_upgrade(database_url: str) -> None:
    """An entry that cannot be carried over is named, and the database is what it was."""
    before = [row for row in old_entries(3, seed=5) if row["attempt_id"] != "att_000001" or row["phase"] > 0]
    await make_old_ledger(database_url, before)
    schema = await in_database(database_url, read_schema)
    with pytest.raises(ValueError, match="att_000001 has a settle and no reserve"):
        await upgrade_database(database_url)
    assert await in_database(database_url, read_schema) == schema


@pytest.mark.slow
async def test_an_upgrade_that_is_killed_has_not_happened(database_url: str) -> None:
    """Killed with a part of its entries carried over, it leaves the old ledger; the next one goes through."""
    sqlite = database_url.startswith("sqlite")
    before = old_entries(24_000 if sqlite else 6_000, seed=6)
    assert len(before) > (50_000 if sqlite else 12_000)
    await make_old_ledger(database_url, before, KEYS)
    schema = await in_database(database_url, read_schema)
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), database_url, "4", cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdin=PIPE, stdout=PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"in the middle\n"
    child.kill()
    await child.wait()
    assert await in_database(database_url, read_schema) == schema
    assert await examine_database(database_url) == SchemaState("0001", ("0002", "0003", "0004", "0005"))
    assert await upgrade_database(database_url) == SchemaState("0001", ("0002", "0003", "0004", "0005"))
    (counted,) = await read_rows(database_url, text("SELECT count(*) AS entries, max(sequence) AS last FROM entries"))
    assert counted == {"entries": len(before), "last": len(before)}


async def test_two_upgrades_at_once_take_turns(database_url: str) -> None:
    """Of two that start at once one migrates, and the other finds it done."""
    await make_old_ledger(database_url, old_entries(700, seed=7))
    found = await asyncio.gather(*(upgrade_database(database_url) for _ in range(2)))
    assert sorted(state.revision or "" for state in found) == ["0001", "0005"]


async def test_an_upgraded_ledger_is_sound_and_can_be_worked_with(database_url: str) -> None:
    """What was open is held by the next sweep; before and after it the whole ledger verifies."""
    before = old_entries(200, seed=8)
    await make_old_ledger(database_url, before, KEYS)
    await upgrade_database(database_url)
    ledger = await Ledger.open(database_url, wall=lambda: (NOON + 30 * DAY) / 1_000_000, clock=time.monotonic)
    try:
        told = await ledger.database.read(lambda connection: verify(connection, tell=lambda _stage: None))
        assert (told.entries, told.breaks) == (len(before), [])
        ended = {row["attempt_id"] for row in before if row["phase"] > 0}
        assert await ledger.sweep() == len({row["attempt_id"] for row in before} - ended)
        told = await ledger.database.read(lambda connection: verify(connection, tell=lambda _stage: None))
        assert (told.breaks, len(told.heads)) == ([], 2)
    finally:
        await ledger.close()
