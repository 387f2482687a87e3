"""From a statement's file and the command line's words to an import of it, on the database that `serve` uses."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, select

from gateway.accounting import Ledger
from gateway.accounting.importing import UNKNOWN, Done, Source, Wanted, import_statement
from gateway.accounting.matching import Period
from gateway.accounting.statement import Billed, Column, StatementRefused, read_moment, read_statement
from gateway.cli.direct import on_database
from gateway.cli.failures import WRONG_COMMAND_LINE, CommandFailed
from gateway.ids import new_ids
from gateway.settings import Settings, SettingsError, load_settings
from gateway.store import OPENED, Database, entries

Described = tuple[str, str, str, str]
"""A deployment's name, provider, model and region."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for."""

    statement: Path
    deployment: str | None
    provider: str | None
    columns: Sequence[str]
    """As `id=Job ID`."""
    since: str | None
    until: str | None
    complete: bool
    dry_run: bool
    skew_seconds: float


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a statement."""

    rows: int
    wanted: Wanted
    done: tuple[Done, ...]


def import_file(config: Path | None, asked: Asked) -> Imported:
    """
    Bring the ledger of the database that the configuration names to what a statement says.

    Raises:
        CommandFailed: the statement or the command line is wrong, or the database cannot be used.
    """
    if asked.deployment is None and asked.provider is None:
        told = "name whose statement it is with --deployment or --provider"
        raise CommandFailed(told, exit_code=WRONG_COMMAND_LINE)
    billed = _read(asked)
    wanted = Wanted(_period(asked, billed), asked.complete, asked.dry_run, asked.skew_seconds)
    try:
        settings = load_settings(config=config, environ=os.environ, unset="unset")  # nobody is called with its keys
    except SettingsError as error:
        raise CommandFailed(str(error)) from error
    return on_database(partial(_imported, asked=asked, billed=billed, wanted=wanted, settings=settings))


async def _imported(
    database: Database, *, asked: Asked, billed: Sequence[Billed], wanted: Wanted, settings: Settings
) -> Imported:
    """Put on hold what was abandoned, and import."""
    source = await _source(database, asked, settings)
    ledger = Ledger(database, wall=time.time, clock=time.monotonic, sleep=asyncio.sleep)
    try:
        if not wanted.dry_run:
            await ledger.sweep(grace_seconds=settings.limits.grace_seconds)
        run = new_ids(time.time)("stmt")
        done = await import_statement(ledger, billed, source, wanted, wall=time.time, run=run)
    finally:
        await ledger.journal.close()
    return Imported(len(billed), wanted, tuple(done))


def _read(asked: Asked) -> tuple[Billed, ...]:
    """Read the statement's file."""
    names = {}
    for given in asked.columns:
        meaning, found, name = given.partition("=")
        if not found or meaning not in set(Column) or not name.strip():
            told = f"--column: write {'|'.join(Column)}=NAME, got {given!r}"
            raise CommandFailed(told, exit_code=WRONG_COMMAND_LINE)
        names[Column(meaning)] = name
    try:
        with asked.statement.open(encoding="utf-8-sig", newline="") as lines:
            return read_statement(lines, names)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"--statement: {asked.statement} cannot be read: {error}") from error
    except StatementRefused as refused:
        raise CommandFailed(f"--statement: {asked.statement}: {refused}. Nothing was written") from refused


def _period(asked: Asked, billed: Sequence[Billed]) -> Period:
    """Return what the statement covers: what its reader says, or else from its first row to its last."""
    times = [row.at for row in billed]
    since = _moment("--since", asked.since, min(times, default=None))
    until = _moment("--until", asked.until, max(times, default=None))
    if until < since:
        raise CommandFailed("--until: the statement ends before it begins", exit_code=WRONG_COMMAND_LINE)
    outside = [row.line for row in billed if not since <= row.at <= until]
    if outside:
        told = f"--since, --until: line {outside[0]} lies outside, one of {len(outside)}. Nothing was written"
        raise CommandFailed(told, exit_code=WRONG_COMMAND_LINE)
    return Period(since, until)


def _moment(option: str, given: str | None, otherwise: int | None) -> int:
    if given is not None:
        try:
            return read_moment(given)
        except ValueError as error:
            raise CommandFailed(f"{option}: {error}", exit_code=WRONG_COMMAND_LINE) from error
    if otherwise is None:
        told = f"{option}: the statement has no rows; say which period it covers"
        raise CommandFailed(told, exit_code=WRONG_COMMAND_LINE)
    return otherwise


async def _source(database: Database, asked: Asked, settings: Settings) -> Source:
    """Return whose statement it is: by the configuration, or by what the ledger knows."""
    listed = {(each.name, each.provider, each.model, each.region) for each in settings.deployments or ()}
    if asked.deployment is None:
        return await _source_of_provider(database, str(asked.provider), listed)
    named = {each for each in listed if each[0] == asked.deployment}
    named = named or await database.read(partial(_last_described, deployment=asked.deployment))
    if not named:
        told = f"--deployment: neither the configuration nor the ledger knows {asked.deployment!r}"
        raise CommandFailed(f"{told}; correct it, or name --provider instead")
    [(name, provider, model, region)] = named
    if asked.provider not in {None, provider}:
        told = f"--provider: {name} is one of {provider}; leave one of the two out"
        raise CommandFailed(told, exit_code=WRONG_COMMAND_LINE)
    return Source(provider, name, (name, model, region))


async def _source_of_provider(database: Database, provider: str, listed: set[Described]) -> Source:
    """Describe calls of a provider by its deployment, where it has but one: else nobody can say which one made them."""
    its = [each for each in listed if each[1] == provider]
    if not its and not await database.read(partial(_was_asked, provider=provider)):
        told = f"--provider: neither the configuration nor the ledger knows {provider!r}"
        raise CommandFailed(f"{told}; correct it. Nothing was written")
    if len(its) != 1:
        return Source(provider, None, (UNKNOWN, UNKNOWN, UNKNOWN))
    [(name, _, model, region)] = its
    return Source(provider, None, (name, model, region))


def _was_asked(connection: Connection, provider: str) -> bool:
    """Whether the ledger has an attempt of a provider."""
    query = select(entries.c.id).where(entries.c.phase == OPENED, entries.c.provider == provider)
    return connection.scalar(query.limit(1)) is not None


def _last_described(connection: Connection, deployment: str) -> set[Described]:
    """Return what a deployment was when it was last called."""
    columns = (entries.c.deployment, entries.c.provider, entries.c.model, entries.c.region)
    query = select(*columns).where(entries.c.phase == OPENED, entries.c.deployment == deployment)
    rows = connection.execute(query.order_by(entries.c.at.desc()).limit(1)).all()
    return {(row[0], row[1], row[2], row[3]) for row in rows}
