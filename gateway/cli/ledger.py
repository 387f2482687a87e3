"""`maskgate ledger`: the ledger itself, looked at where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failures import FAILED
from gateway.cli.options import Json, UnreadConfigFile
from gateway.cli.reconcile import reconcile

ledger = typer.Typer(help="The ledger in the database.", no_args_is_help=True)

Heads = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What --json printed earlier: each chain's head in it has to stand where it stood, so that a chain whose "
        "end was cut off is found as well.",
        show_default=False,
    ),
]


@ledger.callback()
def _group() -> None:
    """Keep each command one of the group, however many there are."""


ledger.command()(reconcile)


@ledger.command()
def verify(
    config: UnreadConfigFile = None,  # noqa: ARG001 - older scripts name it
    heads: Heads = None,
    *,
    json: Json = False,
) -> None:
    """
    Check every entry of the database that `serve` would use, and what is added up from them.

    Hash chains, balance, endings, usage lines and budgets. Exit code 1 when something is broken. Gateways may be at
    work meanwhile; what they write after the beginning is not looked at.
    """
    from gateway.cli.verification import look, noted_heads, print_verification

    seen = look(noted_heads(heads), tell=lambda progress: typer.echo(f"checking {progress}", err=True))
    print_verification(seen, json=json)
    if not seen.intact:
        raise typer.Exit(FAILED)
