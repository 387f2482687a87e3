"""Asking the providers about everything on hold, from a command."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.accounting import HeldAttempt, Resolution, Result
from gateway.cli.failures import CommandFailed
from gateway.settings import Settings, SettingsError, load_settings
from gateway.store import LedgerUnavailable
from providers.contract import Money

Count = Callable[[HeldAttempt, Result, Resolution], None]
"""Is told of every attempt what came of the question, and how its hold ended."""

ClearUp = Callable[[Settings, Count], Coroutine[Any, Any, int]]
"""Asks about everything on hold by the settings' providers, as `Reconciler.round` does with force."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question about one attempt on hold."""

    held: HeldAttempt
    result: Result
    charged: Money


def look_up(config: Path | None, clear_up: ClearUp) -> list[Answer]:
    """
    Ask about everything on hold in the database that the configuration names.

    Args:
        config: the configuration file; None for the one that the environment names, or the built-in settings.
        clear_up: does it.

    Raises:
        CommandFailed: the configuration or the database cannot be used.
    """
    answers: list[Answer] = []

    def count(held: HeldAttempt, result: Result, resolution: Resolution) -> None:
        answers.append(Answer(held, result, resolution.charge))

    try:
        asyncio.run(clear_up(load_settings(config=config, environ=os.environ), count))
    except SettingsError as error:
        raise CommandFailed(str(error)) from error
    except (LedgerUnavailable, ValueError) as error:
        raise CommandFailed(f"the database cannot be used: {error}") from error
    return answers
