"""The work of `maskgate ledger verify`; apart from the command line's words, since its imports take a while."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import typer

from gateway.accounting.verification import Verification
from gateway.accounting.verifying import verify
from gateway.cli.direct import on_database
from gateway.cli.failures import WRONG_COMMAND_LINE, CommandFailed
from gateway.cli.printing import print_json, print_table
from gateway.settings import database_settings
from gateway.store import Database, LedgerUnavailable
from gateway.store.chain import Head
from gateway.store.opening import examine_database


def look(noted: Sequence[Head], *, tell: Callable[[str], None]) -> Verification:
    """
    Look at the ledger of the database that the environment names; see `verify`.

    Raises:
        CommandFailed: it cannot be used, or there is no ledger in it.
    """
    _has_ledger()

    async def verified(database: Database) -> Verification:
        return await database.read(partial(verify, tell=tell, noted=noted))

    return on_database(verified)


def print_verification(seen: Verification, *, json: bool) -> None:
    """Print what was looked at and what is broken."""
    if json:
        print_json(_document(seen))
    else:
        _print(seen)


def noted_heads(file: Path | None) -> list[Head]:
    """
    Read the heads that an earlier look has printed; none where no file is named.

    Raises:
        CommandFailed: it is no such file.
    """
    if file is None:
        return []
    try:
        document = orjson.loads(file.read_bytes())
        return [Head(str(head["writer"]), int(head["sequence"]), str(head["chain"])) for head in document["heads"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandFailed(
            f"--heads: {file} is not what `maskgate ledger verify --json` prints: {error}", exit_code=WRONG_COMMAND_LINE
        ) from error


def _document(seen: Verification) -> dict[str, Any]:
    return {
        "intact": seen.intact,
        "entries": seen.entries,
        "attempts": seen.attempts,
        "days": seen.days,
        "windows": seen.windows,
        "breaks": [asdict(each) for each in seen.breaks],
        "more_breaks": seen.more,
        "heads": [head._asdict() for head in seen.heads],
    }


def _print(seen: Verification) -> None:
    for each in seen.breaks:
        typer.echo(str(each))
    if seen.more:
        typer.echo("There are more; these are the first ones.")
    print_table(
        ("writer", "entries", "head of its chain"),
        [[head.writer, str(head.sequence), head.chain] for head in seen.heads],
        right=("entries",),
    )
    figures = {
        "Entries": seen.entries,
        "attempts": seen.attempts,
        "days": seen.days,
        "windows of budgets": seen.windows,
    }
    told = ", ".join(f"{name}: {figure}" for name, figure in figures.items())
    typer.echo(f"The ledger is {'intact' if seen.intact else 'BROKEN'}. {told}.")


def _has_ledger() -> None:
    """Refuse a database without a ledger: a look at nothing would find nothing broken."""
    settings = database_settings(os.environ)
    try:
        state = asyncio.run(examine_database(settings.ledger_url))
    except (LedgerUnavailable, ValueError) as error:
        raise CommandFailed(f"the database cannot be used: {error}") from error
    if state.revision is None:
        where = "MASKGATE_DATABASE_URL" if settings.database_url else str(settings.state_dir / "maskgate.db")
        raise CommandFailed(f"there is no ledger in {where}; name the database that your gateway writes to")
