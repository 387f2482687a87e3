"""The console script `maskgate`."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.budgets import budgets
from gateway.cli.config import config
from gateway.cli.db import db
from gateway.cli.demo import demo
from gateway.cli.deployments import deployments
from gateway.cli.failures import EXIT_CODES, Commands
from gateway.cli.keys import keys
from gateway.cli.ledger import ledger
from gateway.cli.openapi import openapi
from gateway.cli.quote import quote
from gateway.cli.sandbox import sandbox
from gateway.cli.segment import segment
from gateway.cli.serve import serve
from gateway.cli.usage import usage

app = typer.Typer(
    cls=Commands,
    help="One API for image segmentation over every provider that can do it.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (serve, sandbox, demo, segment, quote, usage, deployments, openapi):
    app.command()(command)
for name, group in (("keys", keys), ("budgets", budgets), ("ledger", ledger), ("db", db), ("config", config)):
    app.add_typer(group, name=name)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - the shape of typer's callbacks
    """Print the installed version and end."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"maskgate {version('maskgate')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """One API for image segmentation over every provider that can do it."""


if __name__ == "__main__":
    app()
