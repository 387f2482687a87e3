"""Run one piece of work on the database that `serve` uses, from a command: whether a gateway runs there or not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.cli.failures import CommandFailed
from gateway.problems import GatewayError
from gateway.settings import database_settings
from gateway.store import Database, LedgerUnavailable, open_database

T = TypeVar("T")


def on_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """
    Return what *work* gives, done with the database that the environment names.

    No configuration file is read: a key can be revoked where no provider's key is known.

    Args:
        work: is given the open database, which is closed behind it.

    Raises:
        CommandFailed: the database cannot be used, or the work is refused.
    """

    async def done(url: str) -> T:
        database = await open_database(url)
        try:
            return await work(database)
        finally:
            await database.close()

    try:
        settings = database_settings(os.environ)
        if not settings.database_url:
            settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return asyncio.run(done(settings.ledger_url))
    except (LedgerUnavailable, ValueError) as error:
        raise CommandFailed(f"the database cannot be used: {error}") from error
    except OSError as error:
        raise CommandFailed(f"the state folder cannot be made: {error}") from error
    except GatewayError as problem:
        field = "" if problem.field is None else f"{problem.field}: "
        raise CommandFailed(field + problem.message) from problem
