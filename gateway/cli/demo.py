"""`maskgate demo`: a real photograph through every provider, with a region that is down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the overlays are written.")] = Path("demo-output"),
) -> None:
    """Segment a photograph through every provider on sandbox upstreams, and check the ledger against their books."""
    from gateway.demo import run_demo

    raise typer.Exit(run_demo(out))
