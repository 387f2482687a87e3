"""`maskgate db`: which revision the database's schema is at, and how it comes to this release's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

from gateway.cli.failures import CommandFailed
from gateway.cli.options import Json, UnreadConfigFile
from gateway.cli.printing import print_json, print_table

T = TypeVar("T")

db = typer.Typer(help="The ledger's database.", no_args_is_help=True)


@db.command()
def upgrade(
    config: UnreadConfigFile = None,  # noqa: ARG001 - older scripts name it
    *,
    json: Json = False,
) -> None:
    """Bring the database that `serve` would use to this release's schema. Stop older gateways and back it up first."""
    from gateway.store.migrating import HEAD
    from gateway.store.opening import upgrade_database

    url, shown = _database()
    before = _told(shown, upgrade_database(url))
    if json:
        print_json({"database": shown, "before": before.revision, "revision": HEAD, "applied": list(before.pending)})
    elif not before.pending:
        typer.echo(f"{shown} is at revision {HEAD} already.")
    else:
        typer.echo(f"{shown} went from {before.revision or 'nothing'} to revision {HEAD}.")


@db.command()
def current(
    config: UnreadConfigFile = None,  # noqa: ARG001 - older scripts name it
    *,
    json: Json = False,
) -> None:
    """Show the revision of the database that `serve` would use, and what an upgrade would still do to it."""
    from gateway.store.migrating import HEAD
    from gateway.store.opening import examine_database

    url, shown = _database()
    state = _told(shown, examine_database(url))
    if json:
        print_json({"database": shown, "revision": state.revision, "code": HEAD, "pending": list(state.pending)})
        return
    row = [shown, state.revision or "none: empty", HEAD, ", ".join(state.pending) or "nothing"]
    print_table(("database", "revision", "this release", "pending"), [row])


def _database() -> tuple[str, str]:
    """Return the address of the database that `serve` would use, and the address without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    from gateway.settings import database_settings

    try:
        url = database_settings(os.environ).ledger_url
        return url, make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        # Its text is not shown: it repeats the address, which may hold a password.
        raise CommandFailed(
            "MASKGATE_DATABASE_URL is no database's address: write postgresql://user@host/name"
        ) from None


def _told(shown: str, asked: Coroutine[Any, Any, T]) -> T:
    """
    Return what a call to the database brings.

    Raises:
        CommandFailed: it brings nothing; the message says why.
    """
    from gateway.store.database import LedgerUnavailable

    try:
        return asyncio.run(asked)
    except (LedgerUnavailable, ValueError) as error:
        raise CommandFailed(f"{shown}: {error}") from error
