"""`maskgate usage`: what was spent."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.options import Json, Key, Url


def usage(  # noqa: PLR0913, PLR0917 - a command line's options are its arguments
    by: Annotated[
        str,
        typer.Option(
            metavar="WORDS",
            help="What to divide by, with commas: tenant, key, deployment, provider, model, region, day, tag:NAME.",
        ),
    ] = "deployment",
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="From this ISO date or moment on.", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Before this ISO date or moment.", show_default=False)
    ] = None,
    deployment: Annotated[str | None, typer.Option(metavar="NAME", help="Only this one.", show_default=False)] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME:VALUE", help="Only what carries this tag. Repeatable.")
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Whose, with an administrator's key; * for all.", show_default="the key's own"
        ),
    ] = None,
    key_id: Annotated[str | None, typer.Option(metavar="ID", help="Only this API key's.", show_default=False)] = None,
    url: Url = None,
    key: Key = None,
    *,
    json: Json = False,
) -> None:
    """Add up what a tenant has spent: attempts, charges, and what is held until its bill is known."""
    from gateway.cli.asking import ask
    from gateway.cli.printing import dollars, print_json, print_table
    from gateway.client import UsageTally

    def figures(tally: UsageTally) -> list[str]:
        counts = (tally.attempts, tally.settled, tally.released, tally.held, tally.open)
        amounts = (tally.charged, tally.held_amount, tally.open_amount)
        return [*map(str, counts), *(dollars(amount.microusd) for amount in amounts)]

    report = ask(
        url,
        key,
        lambda gateway: gateway.usage(
            by=by,
            since=since,
            until=until,
            deployment=deployment,
            tags=tag or (),
            tenant=tenant,
            key_id=key_id,
        ),
    )
    if json:
        print_json(report.document)
        return
    divisions = list(report.lines[0].group) if report.lines else []
    headings = ("attempts", "settled", "released", "held", "open", "charged", "amount held", "amount open")
    if not divisions:
        print_table(headings, [figures(report.total)], right=headings)
        return
    rows = [[*(value or "-" for value in line.group.values()), *figures(line.tally)] for line in report.lines]
    rows.append(["total", *[""] * (len(divisions) - 1), *figures(report.total)])
    print_table((*divisions, *headings), rows, right=headings)
