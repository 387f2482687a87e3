"""What a reconciliation prints: how the books stood to each other, and what was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from gateway.accounting.budget_words import moment
from gateway.accounting.importing import Done
from gateway.accounting.matching import Group
from gateway.cli.looking_up import Answer
from gateway.cli.printing import print_json, print_table
from gateway.cli.statement import Imported
from gateway.store import Verdict
from providers.contract import Money

_MOST_SHOWN = 100


def print_import(imported: Imported, *, json: bool) -> None:
    """Print how the statement and the ledger stood, and what was written."""
    groups = [_figures(group, imported.done) for group in Group]
    told = [_told(each) for each in imported.done if each.entry or each.finding.group is not Group.MATCHED]
    if json:
        wanted = imported.wanted
        period = {"since": moment(wanted.period.since), "until": moment(wanted.period.until)}
        asked = {"rows": imported.rows, **period, "complete": wanted.complete, "dry_run": wanted.dry_run}
        print_json({**asked, "groups": groups, "findings": told})
        return
    _print_rows(groups, len(groups), right=("calls", "statement_usd", "ledger_usd", "written"))
    _print_rows(told, _MOST_SHOWN, right=("line", "statement_usd", "ledger_usd"))
    if len(told) > _MOST_SHOWN:
        typer.echo(f"And {len(told) - _MOST_SHOWN} more; --json has them all.")
    for line in _advice(imported):
        typer.echo(line)


def print_answers(answers: Iterable[Answer], *, json: bool) -> None:
    """Print what the providers said of the attempts on hold."""
    rows = [
        {
            "attempt_id": answer.held.attempt_id,
            "deployment": answer.held.deployment,
            "provider": answer.held.provider,
            "result": answer.result.value,
            "held_usd": Money(answer.held.amount_microusd).usd,
            "charged_usd": answer.charged.usd,
        }
        for answer in answers
    ]
    if json:
        print_json({"object": "list", "attempts": rows})
        return
    _print_rows(rows, len(rows), right=("held_usd", "charged_usd"))
    typer.echo(f"Attempts on hold that were asked about: {len(rows)}.")


def _print_rows(rows: Sequence[dict[str, Any]], most: int, *, right: Sequence[str]) -> None:
    """Print documents of one shape as a table; nothing where there are none."""
    if not rows:
        return
    names = list(rows[0])
    cells = [["" if row[name] is None else str(row[name]) for name in names] for row in rows[:most]]
    print_table([name.replace("_", " ") for name in names], cells, right=[name.replace("_", " ") for name in right])


def _figures(group: Group, done: Sequence[Done]) -> dict[str, Any]:
    """Add up one group."""
    here = [each for each in done if each.finding.group is group]
    billed = (each.finding.billed.cost.microusd for each in here if each.finding.billed is not None)
    owed = (each.finding.known.cost_microusd for each in here if each.finding.known is not None)
    return {
        "group": group.value,
        "calls": len(here),
        "statement_usd": Money(sum(billed)).usd,
        "ledger_usd": Money(sum(owed)).usd,
        "written": sum(each.verdict is Verdict.WRITTEN for each in here),
    }


def _told(done: Done) -> dict[str, Any]:
    """Return one finding as it is shown; what the ledger owed is told as it was before."""
    known, billed = done.finding.known, done.finding.billed
    return {
        "group": done.finding.group.value,
        "line": None if billed is None else billed.line,
        "upstream_ref": None if billed is None else billed.ref,
        "attempt_id": None if known is None else known.attempt_id,
        "was": None if known is None else known.state.value,
        "statement_usd": None if billed is None else billed.cost.usd,
        "ledger_usd": None if known is None else Money(known.cost_microusd).usd,
        "entry": None if done.entry is None else done.entry.kind,
        "outcome": _outcome(done),
    }


def _outcome(done: Done) -> str:
    if done.entry is None:
        return "left as it is"
    if done.verdict is None:
        return "dry run"
    return "another came first" if done.verdict is Verdict.CLASHED else done.verdict.value


def _advice(imported: Imported) -> list[str]:
    """Say what is still to do."""
    left = Counter(each.finding.group for each in imported.done if each.entry is None)
    said = []
    if left[Group.MISSING_THERE]:
        said.append("If the statement is complete for its period, --complete settles what is missing there.")
    if left[Group.WAITING]:
        said.append("Rows wait for attempts that have not ended: import the statement again later.")
    if imported.wanted.dry_run:
        said.append("Nothing was written: a dry run.")
    return said
