"""`maskgate config check` and `show`: whether a configuration can be used, and what holds by it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.failures import FAILED, CommandFailed
from gateway.cli.options import Json
from gateway.cli.printing import print_json

config = typer.Typer(help="Configuration files.", no_args_is_help=True)


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


@config.command()
def show(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A configuration file (YAML); without one, what the environment alone makes.",
            envvar="MASKGATE_CONFIG",
        ),
    ] = None,
    *,
    json: Json = False,
) -> None:
    """
    Print the configuration that holds: defaults and the environment's deployments filled in, secrets masked.

    What is printed is a configuration file itself, but for the masks.
    """
    import yaml

    from gateway.app import effective
    from gateway.settings import SettingsError, load_settings, shown, shown_environment

    try:
        settings = effective(load_settings(config=file, environ=os.environ))
    except SettingsError as error:
        raise CommandFailed(str(error)) from error
    environment, configuration = shown_environment(settings), shown(settings)
    if json:
        source = None if file is None else str(file)
        print_json({"file": source, "environment": environment, "configuration": configuration})
        return
    for name, value in environment.items():
        typer.echo(f"# {name}={value}")
    typer.echo(yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True, width=120), nl=False)


def _problems(file: Path) -> list[dict[str, Any]]:
    """Return what is wrong with the file itself, or else what the providers refuse in it."""
    from gateway.app import check_settings
    from gateway.settings import SettingsError, load_settings, locate

    try:
        problems = check_settings(load_settings(config=file, environ=os.environ))
    except SettingsError as error:
        return [asdict(problem) for problem in error.problems]
    if problems:
        problems = locate(problems, file.read_text(encoding="utf-8"))
    return [asdict(problem) for problem in problems]
