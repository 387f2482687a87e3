"""`maskgate segment`: masks for files and folders of pictures."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failures import FAILED, WRONG_COMMAND_LINE, CommandFailed
from gateway.cli.options import (
    Automatic,
    BoxText,
    DeadlineSeconds,
    Deployments,
    Key,
    MaxChargeUsd,
    MaxMasks,
    PointTexts,
    Text,
    Url,
)


class Masks(StrEnum):
    """How masks are written in the answers."""

    RLE = "rle"
    PNG = "png"
    POLYGON = "polygon"


def segment(  # noqa: PLR0913, PLR0917 - the options of a command are its arguments
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Files, and folders of pictures.")],
    text: Text = None,
    box: BoxText = None,
    point: PointTexts = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write there, for each picture: the answer (NAME.json), its masks (NAME.mask-00.png, …), the picture "
            "with them painted on it (NAME.overlay.png).",
            show_default=False,
        ),
    ] = None,
    masks: Annotated[Masks, typer.Option(help="How the answers hold the masks.")] = Masks.RLE,
    coco: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all instances as one COCO file.", show_default=False)
    ] = None,
    max_masks: MaxMasks = None,
    min_score: Annotated[float | None, typer.Option(min=0, max=1, help="Leave out what is scored lower.")] = None,
    deployment: Deployments = None,
    max_charge_usd: MaxChargeUsd = None,
    deadline_seconds: DeadlineSeconds = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Pictures at once.")] = 4,
    url: Url = None,
    key: Key = None,
    *,
    auto: Automatic = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what DIR already holds the answer of, to the same question.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each picture.")] = False,
) -> None:
    """
    Segment pictures.

    One bad picture does not stop the others: it is named at the end, and the exit code is 1.
    """
    from gateway.cli.asking import ask
    from gateway.cli.coco import write_coco
    from gateway.cli.pictures import find_pictures
    from gateway.cli.prompts import read_prompts
    from gateway.cli.results import Results
    from gateway.cli.run import Run
    from gateway.cli.summary import Summary
    from gateway.client import Options

    if resume and out is None:
        raise CommandFailed("--resume needs --out: that is where it looks", exit_code=WRONG_COMMAND_LINE)
    run = Run(
        pictures=find_pictures(images),
        prompts=read_prompts(text or [], box, point or [], automatic=auto),
        options=Options(
            max_masks=max_masks,
            min_score=min_score,
            masks=masks.value,
            deployments=deployment or None,
            max_charge_usd=max_charge_usd,
            deadline_seconds=deadline_seconds,
        ),
        results=Results(out) if out is not None else None,
        resume=resume,
        jobs=jobs,
    )
    with Summary(total=len(run.pictures), json=json) as summary:
        ask(url, key, lambda gateway: run.through(gateway, told=summary.add))
    if coco is not None:
        write_coco(coco, summary.outcomes)
    summary.print()
    if summary.failed:
        raise typer.Exit(FAILED)
