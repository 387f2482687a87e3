"""`maskgate ledger reconcile`: what the providers say of the ledger's attempts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failures import FAILED, WRONG_COMMAND_LINE, CommandFailed
from gateway.cli.options import ConfigFile, Json


def reconcile(  # noqa: PLR0913 - the options of a command are its arguments
    statement: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The provider's statement: CSV of id, time, amount.", show_default=False),
    ] = None,
    deployment: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The only deployment on the account that it is of.", show_default=False),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose it is, if deployments share the account.", show_default=False),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="id|time|amount=NAME", help="How the statement names a column. Repeatable."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="What it covers begins here.", show_default="its first row")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="What it covers ends here.", show_default="its last row")
    ] = None,
    skew_seconds: Annotated[
        float, typer.Option("--skew", min=0, max=86_400, help="How far the provider's clock may be off, in seconds.")
    ] = 120.0,
    config: ConfigFile = None,
    *,
    complete: Annotated[
        bool, typer.Option("--complete", help="It shows every call that was billed in what it covers.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be written.")] = False,
    json: Json = False,
) -> None:
    """
    Bring the ledger to what the providers say, by new entries alone.

    Without --statement, each provider is asked about its attempts on hold, all of them and at once. With one:
    what is on hold and was billed is settled; a cost that differs is corrected, and what its tenant was charged stands;
    what the ledger does not know is booked at the operator's cost. With --complete, what was not billed is released or
    corrected to nothing. The same statement again changes nothing.
    """
    from gateway.cli.reconciled import print_answers, print_import
    from gateway.cli.statement import Asked, import_file
    from gateway.store import Verdict

    if statement is None:
        if deployment or provider or column or since or until or complete or dry_run:
            told = "--statement: name the file that the other options are about, or leave them out"
            raise CommandFailed(told, exit_code=WRONG_COMMAND_LINE)
        from gateway.app import clear_up
        from gateway.cli.looking_up import look_up

        print_answers(look_up(config, clear_up), json=json)
        return
    asked = Asked(statement, deployment, provider, tuple(column or ()), since, until, complete, dry_run, skew_seconds)
    imported = import_file(config, asked)
    print_import(imported, json=json)
    if any(each.verdict not in {None, Verdict.WRITTEN, Verdict.CLASHED} for each in imported.done):
        raise typer.Exit(FAILED)
