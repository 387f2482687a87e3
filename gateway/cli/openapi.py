"""`maskgate openapi`: the API's description, written from the app."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failures import WRONG_COMMAND_LINE, CommandFailed


def openapi(
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there.", show_default=False)] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Say whether FILE is equal to it.", show_default=False)
    ] = None,
) -> None:
    """Print the API's description (OpenAPI 3.1)."""
    if out is not None and check is not None:
        raise CommandFailed("--out writes the file and --check compares it: give one", exit_code=WRONG_COMMAND_LINE)
    description = _description()
    if check is not None:
        _compare(check, description)
    elif out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(description, encoding="utf-8")
    else:
        typer.echo(description, nl=False)


def _description() -> str:
    from gateway.app import create_app
    from gateway.settings import load_settings

    app = create_app(load_settings(config=None, environ={}))
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def _compare(file: Path, description: str) -> None:
    try:
        written = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CommandFailed(f"{file} is not there; write it: maskgate openapi --out {file}") from error
    if written == description:
        typer.echo(f"{file} is equal to the app's.")
        return
    difference = difflib.unified_diff(
        written.splitlines(), description.splitlines(), str(file), "the app", lineterm="", n=1
    )
    for line, _ in zip(difference, range(40), strict=False):
        typer.echo(line)
    raise CommandFailed(f"{file} differs from the app's description; write it anew: maskgate openapi --out {file}")
