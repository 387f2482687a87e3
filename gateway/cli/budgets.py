"""`maskgate budgets`: how much may be spent. On the database that `serve` uses, whether a gateway runs there or not."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.failures import WRONG_COMMAND_LINE, CommandFailed
from gateway.cli.options import Json, UnreadConfigFile
from gateway.cli.printing import dollars, print_json, print_table

_PAGE = 1000

budgets = typer.Typer(help="How much may be spent.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option(metavar="NAME", help="Who pays.")]


@budgets.command("set")
def set_(
    tenant: Tenant,
    usd: Annotated[str, typer.Option(metavar="AMOUNT", help="Dollars above zero, six decimals at most.")],
    key: Annotated[
        str | None, typer.Option(metavar="ID", help="Bound this key of the tenant alone.", show_default=False)
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(metavar="NAME=VALUE", help="Bound what carries this tag alone.", show_default=False),
    ] = None,
    window: Annotated[
        str, typer.Option(metavar="total|day|month", help="How long it lasts, in days and months of UTC.")
    ] = "month",
    config: UnreadConfigFile = None,  # noqa: ARG001 - older scripts name it
    *,
    soft: Annotated[bool, typer.Option("--soft", help="Warn instead of refusing.")] = False,
    json: Json = False,
) -> None:
    """
    Set a budget, or change the limit of the one with the same subject, window and hardness.

    What was spent in the running window before counts. It holds on every gateway at once.
    """
    import time

    from gateway.accounting.budgets import Budgets, wanted_budget
    from gateway.api.budget_json import budget_json
    from gateway.cli.direct import on_database
    from gateway.ids import new_ids
    from gateway.problems import InvalidRequest

    options = {"key_id": "--key", "tag": "--tag", "period": "--window", "limit_usd": "--usd", "tenant": "--tenant"}
    try:
        wanted = wanted_budget(tenant=tenant, key_id=key, tag=tag, period=window, limit_usd=usd, hard=not soft)
    except InvalidRequest as problem:
        told = f"{options[str(problem.field)]}: {problem.message}"
        raise CommandFailed(told, exit_code=WRONG_COMMAND_LINE) from problem
    budget = on_database(lambda database: Budgets(database, wall=time.time, new_id=new_ids(time.time)).set(wanted))
    if json:
        print_json(budget_json(budget))
        return
    typer.echo(
        f"{budget.id}: {'hard' if budget.hard else 'soft'}, {budget.period}, {budget.scope} {budget.subject}: "
        f"{dollars(budget.limit.microusd)}, of which {dollars(budget.left.microusd)} are left"
    )


@budgets.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only this one's.", show_default=False)] = None,
    config: UnreadConfigFile = None,  # noqa: ARG001 - older scripts name it
    *,
    json: Json = False,
) -> None:
    """List the budgets, and how they stand in the running window."""
    import time

    from gateway.accounting.budget_words import moment
    from gateway.accounting.budgets import Budget, Budgets
    from gateway.api.budget_json import budget_json
    from gateway.cli.direct import on_database
    from gateway.ids import new_ids
    from gateway.store import Database

    async def every(database: Database) -> list[Budget]:
        kept = Budgets(database, wall=time.time, new_id=new_ids(time.time))
        found: list[Budget] = []
        while page := await kept.page(tenant=tenant, after=found[-1].id if found else "", most=_PAGE):
            found += page
        return found

    listed = on_database(every)
    if json:
        print_json({"object": "list", "budgets": [budget_json(budget) for budget in listed]})
        return
    figures = ("limit", "spent", "reserved", "left")
    rows = [
        [
            budget.id,
            budget.tenant,
            f"{budget.scope} {budget.subject}",
            budget.period.value,
            "hard" if budget.hard else "soft",
            *(dollars(getattr(budget, name).microusd) for name in figures),
            "never" if budget.resets_at is None else moment(budget.resets_at),
        ]
        for budget in listed
    ]
    print_table(("id", "tenant", "of", "window", "kind", *figures, "resets"), rows, right=figures)


@budgets.command()
def remove(
    budget_id: Annotated[str, typer.Argument(metavar="ID", help="As `maskgate budgets list` shows it.")],
    config: UnreadConfigFile = None,  # noqa: ARG001 - older scripts name it
    *,
    json: Json = False,
) -> None:
    """Remove a budget: what it bounded is bounded no more, on every gateway at once."""
    import time

    from gateway.accounting.budgets import Budgets
    from gateway.api.budget_json import budget_json
    from gateway.cli.direct import on_database
    from gateway.ids import new_ids

    removed = on_database(
        lambda database: Budgets(database, wall=time.time, new_id=new_ids(time.time)).remove(budget_id)
    )
    if removed is None:
        raise CommandFailed(f"there is no budget {budget_id}; `maskgate budgets list` has the ids")
    if json:
        print_json(budget_json(removed))
    else:
        typer.echo(f"{budget_id} is removed.")
