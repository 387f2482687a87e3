"""`maskgate keys`: who may ask. On the database that `serve` uses, whether a gateway runs there or not."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from gateway.cli.failures import WRONG_COMMAND_LINE, CommandFailed
from gateway.cli.options import Json, UnreadConfigFile
from gateway.cli.printing import print_json, print_table

_PAGE = 1000
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
#: Which option a field of the body comes from, where it is not called the same.
_OPTIONS = {"scopes": "scope", "expires_in_seconds": "expires-in", "hard_budget.usd": "hard-budget-usd"} | {
    "hard_budget.window": "window"
}

keys = typer.Typer(help="Who may ask: API keys.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="As `maskgate keys list` shows it.")]


@keys.command()
def create(  # noqa: PLR0913, PLR0917 - a command line's options are its arguments
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Who pays.")],
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is called in lists.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="segment|usage|metrics|admin", help="What it may do. Repeatable.", show_default="segment and usage"
        ),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="DURATION", help="As 90d, 12h, 30m or 45s.", show_default="never")
    ] = None,
    requests_per_second: Annotated[
        str | None, typer.Option(metavar="RATE", help="As 50 or 0.1.", show_default="the tenant's limit alone")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(help="Requests at once after a pause.", show_default="one second's worth")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Requests worked on at once.", show_default="the tenant's limit alone")
    ] = None,
    hard_budget_usd: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="The most that it may spend.", show_default=False)
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="total|day|month", help="How long that budget lasts, in UTC.", show_default="total"),
    ] = None,
    config: UnreadConfigFile = None,  # noqa: ARG001 - older scripts name it
    *,
    json: Json = False,
) -> None:
    """Make a key. It is printed this once; with a budget, both are made or neither is."""
    import time

    import orjson

    from gateway.api.reading import parse_json
    from gateway.cli.direct import on_database
    from gateway.ids import new_ids
    from gateway.intake.issuing import Issued, issue_key
    from gateway.intake.key_body import KeyBody
    from gateway.problems import InvalidRequest
    from gateway.store import Database, Keys

    if window is not None and hard_budget_usd is None:
        raise CommandFailed("--window goes with --hard-budget-usd: give that too", exit_code=WRONG_COMMAND_LINE)
    budget = {"usd": hard_budget_usd, "window": window or "total"}
    wanted = {
        "tenant": tenant,
        "name": name,
        "scopes": ["segment", "usage"] if scope is None else scope,
        "expires_in_seconds": None if expires_in is None else _seconds("--expires-in", expires_in),
        "requests_per_second": requests_per_second,
        "burst": burst,
        "concurrency": concurrency,
        "hard_budget": None if hard_budget_usd is None else budget,
    }

    async def make(database: Database) -> Issued:
        try:
            return await issue_key(
                parse_json(KeyBody, orjson.dumps(wanted)), Keys(database, time.time), new_ids(time.time)
            )
        except InvalidRequest as problem:
            raise CommandFailed(_told(problem.field, problem.message), exit_code=WRONG_COMMAND_LINE) from problem

    issued = on_database(make)
    if json:
        print_json({"id": issued.key.id, "key": issued.secret, "tenant": issued.key.tenant})
        return
    typer.echo(
        f"{issued.key.id} of {issued.key.tenant} is made; this is the only time that its key is shown:", err=True
    )
    typer.echo(issued.secret)


@keys.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only this one's.", show_default=False)] = None,
    config: UnreadConfigFile = None,  # noqa: ARG001 - older scripts name it
    *,
    json: Json = False,
) -> None:
    """List the keys in the order in which they were made, good or not, by their first characters."""
    import time

    from gateway.api.key_json import key_json
    from gateway.cli.direct import on_database
    from gateway.store import ApiKey, Database, Keys

    async def every(database: Database) -> list[ApiKey]:
        kept = Keys(database, time.time)
        found: list[ApiKey] = []
        while page := await kept.list_keys(tenant=tenant, after=found[-1].id if found else "", most=_PAGE):
            found += page
        return found

    now = round(time.time() * 1_000_000)
    listed = [key_json(key, now) for key in on_database(every)]
    if json:
        print_json({"object": "list", "keys": listed})
        return
    columns = ("id", "tenant", "name", "prefix", "scopes", "status", "created_at", "expires_at", "replaces")
    rows = [[" ".join(key[name]) if name == "scopes" else str(key[name] or "-") for name in columns] for key in listed]
    print_table(("id", "tenant", "name", "key", "scopes", "status", "created", "expires", "replaces"), rows)


@keys.command()
def revoke(
    key_id: KeyId,
    config: UnreadConfigFile = None,  # noqa: ARG001 - older scripts name it
    *,
    json: Json = False,
) -> None:
    """Make a key good for nothing, on every gateway at once."""
    import time

    from gateway.api.key_json import key_json
    from gateway.cli.direct import on_database
    from gateway.intake.issuing import revoke_key
    from gateway.store import Keys

    key = on_database(lambda database: revoke_key(key_id, Keys(database, time.time)))
    if json:
        print_json(key_json(key, round(time.time() * 1_000_000)))
    else:
        typer.echo(f"{key.id} of {key.tenant} is revoked.")


@keys.command()
def rotate(
    key_id: KeyId,
    grace: Annotated[
        str, typer.Option(metavar="DURATION", help="How long the earlier key stays good beside the new one.")
    ] = "1d",
    config: UnreadConfigFile = None,  # noqa: ARG001 - older scripts name it
    *,
    json: Json = False,
) -> None:
    """Make a new key in the place of one: same id, rights and budgets. It is printed this once."""
    import time

    import orjson

    from gateway.api.reading import parse_json
    from gateway.cli.direct import on_database
    from gateway.ids import new_ids
    from gateway.intake.issuing import rotate_key
    from gateway.intake.key_body import RotationBody
    from gateway.problems import InvalidRequest
    from gateway.store import Keys

    try:
        body = parse_json(RotationBody, orjson.dumps({"grace_seconds": _seconds("--grace", grace)}))
    except InvalidRequest as problem:
        raise CommandFailed(f"--grace: {problem.message}", exit_code=WRONG_COMMAND_LINE) from problem
    issued = on_database(
        lambda database: rotate_key(
            key_id, Keys(database, time.time), new_ids(time.time), grace_seconds=body.grace_seconds
        ),
    )
    if json:
        print_json({"id": issued.key.id, "key": issued.secret, "tenant": issued.key.tenant})
        return
    typer.echo(f"{issued.key.id} of {issued.key.tenant} has another key, shown only now:", err=True)
    typer.echo(issued.secret)


def _seconds(option: str, text: str) -> float:
    """
    Read a duration.

    Raises:
        CommandFailed: it is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise CommandFailed(
            f"{option}: {text!r} is no duration; write a whole number with s, m, h or d, as 90d",
            exit_code=WRONG_COMMAND_LINE,
        )
    return float(int(found[1]) * _SECONDS[found[2]])


def _told(field: str | None, message: str) -> str:
    """Say what is wrong with which option."""
    name = re.sub(r"\[[0-9]+\]$", "", field or "")
    return f"--{_OPTIONS.get(name, name).replace('_', '-')}: {message}" if name else message
