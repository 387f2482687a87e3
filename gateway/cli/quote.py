"""`maskgate quote`: what a question would cost, and who would be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failures import FAILED, WRONG_COMMAND_LINE, CommandFailed
from gateway.cli.options import Automatic, BoxText, Deployments, Json, Key, MaxChargeUsd, PointTexts, Text, Url


def quote(  # noqa: PLR0913 - the options of a command are its arguments
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture file.")],
    text: Text = None,
    box: BoxText = None,
    point: PointTexts = None,
    deployment: Deployments = None,
    max_charge_usd: MaxChargeUsd = None,
    url: Url = None,
    key: Key = None,
    *,
    auto: Automatic = False,
    json: Json = False,
) -> None:
    """Say what a question would cost, who would be asked in which order, and who would not and why. Spends nothing."""
    from gateway.cli.asking import ask
    from gateway.cli.printing import dollars, print_json, print_table
    from gateway.cli.prompts import read_prompts
    from gateway.client import Options

    try:
        data = image.read_bytes()
    except OSError as error:
        raise CommandFailed(f"{image} cannot be read: {error.strerror}", exit_code=WRONG_COMMAND_LINE) from error
    prompts = read_prompts(text or [], box, point or [], automatic=auto)
    options = Options(deployments=deployment or None, max_charge_usd=max_charge_usd)
    quoted = ask(url, key, lambda gateway: gateway.quote(data, prompts, options=options))
    unanswerable = [prompt for prompt in quoted.prompts if prompt.error is not None]
    if json:
        print_json(quoted.document)
    else:
        rows = []
        for prompt in quoted.prompts:
            number = str(prompt.prompt_index + 1)
            for order, candidate in enumerate(prompt.candidates, start=1):
                rows.append([number, str(order), candidate.deployment, dollars(candidate.most.microusd), ""])
            rows += [[number, "-", out.deployment, "", f"{out.reason}: {out.detail}"] for out in prompt.excluded]
        print_table(("prompt", "order", "deployment", "at most", "why not"), rows, right=("prompt", "order", "at most"))
        hits = sum(prompt.cache == "hit" for prompt in quoted.prompts)
        from_cache = f"; {hits} of {len(quoted.prompts)} answered from the cache" if hits else ""
        typer.echo(f"Likely {dollars(quoted.likely.microusd)}, at most {dollars(quoted.most.microusd)}{from_cache}.")
    for prompt in unanswerable:
        typer.echo(f"maskgate: prompt {prompt.prompt_index + 1}: {prompt.error}", err=True)
    if unanswerable:
        raise typer.Exit(FAILED)
