"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="MASKGATE_URL",
        help="The gateway to ask. Without it: http://127.0.0.1:8080 if something listens there, else a gateway that "
        "runs for the time of this command.",
        show_default=False,
    ),
]

Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="MASKGATE_KEY",
        help="API key. Without it: the one in the state folder, where the gateway is on this machine.",
        show_default=False,
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

Text = Annotated[
    list[str] | None,
    typer.Option("--text", metavar="PHRASE", help="Everything that the phrase names. Repeat it for more prompts."),
]

BoxText = Annotated[
    str | None,
    typer.Option("--box", metavar="X0,Y0,X1,Y1", help="The one thing in this box, in pixels from the top left."),
]

PointTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--point", metavar="X,Y[,0|1]", help="The one thing here; 0 marks what is not part of it. Repeatable."
    ),
]

Automatic = Annotated[bool, typer.Option("--auto", help="Everything there is.")]

MaxMasks = Annotated[int | None, typer.Option(min=1, help="The most instances for each prompt.", show_default=False)]

Deployments = Annotated[
    list[str] | None, typer.Option("--deployment", metavar="NAME", help="Ask only this one. Repeatable.")
]

MaxChargeUsd = Annotated[
    str | None, typer.Option(metavar="USD", help="The most that one picture may cost.", show_default=False)
]

DeadlineSeconds = Annotated[
    float | None, typer.Option(min=0.001, help="The longest to wait for one picture.", show_default=False)
]

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="MASKGATE_CONFIG", metavar="FILE", help="Configuration (YAML).", show_default="built-in"
    ),
]

UnreadConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Not read: the environment says where the database is.", hidden=True),
]
