"""`maskgate config check`: whether a configuration file can be used, before it is."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.failures import FAILED
from gateway.cli.options import Json
from gateway.cli.printing import print_json

config = typer.Typer(help="Configuration files.", no_args_is_help=True)


@config.callback()
def _group() -> None:
    """Keep `check` a command of its own group although it is alone in it."""


@config.command()
def check(
    file: Annotated[Path, typer.Argument(help="A configuration file (YAML).")],
    *,
    json: Json = False,
) -> None:
    """Say whether FILE can be used, and name every problem with its line. `${NAME}` is read from the environment."""
    problems = _problems(file)
    if json:
        print_json({"file": str(file), "usable": not problems, "problems": problems})
    else:
        for problem in problems:
            place = ":".join(str(part) for part in (file, problem["line"], problem["column"]) if part is not None)
            typer.echo(f"{place}: {problem['path'] + ': ' if problem['path'] else ''}{problem['message']}", err=True)
        if not problems:
            typer.echo(f"{file} can be used.")
    if problems:
        raise typer.Exit(FAILED)


def _problems(file: Path) -> list[dict[str, Any]]:
    """Return what is wrong with the file itself, or else what the providers refuse in it."""
    from gateway.app import check_settings
    from gateway.settings import SettingsError, load_settings

    try:
        problems = check_settings(load_settings(config=file, environ=os.environ))
    except SettingsError as error:
        problems = error.problems
    return [asdict(problem) for problem in problems]
