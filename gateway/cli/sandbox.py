"""`maskgate sandbox`: upstreams that behave as the providers do, without a key and without a bill."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from gateway.cli.failures import NO_GATEWAY, CommandFailed


def sandbox(
    port: Annotated[
        int, typer.Option(min=1, max=65532, help="Control port; the upstreams take the next three.")
    ] = 9100,
    host: Annotated[
        str, typer.Option(help="Listen here. With --print-config: where the gateway finds it.")
    ] = "127.0.0.1",
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse fields that the providers' documents do not name.")
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the gateway's configuration for it, and end.")
    ] = False,
) -> None:
    """Run sandbox upstreams (two Runflow regions, one Prodia) until SIGINT or SIGTERM."""
    from gateway.app import sandbox_config

    if print_config:
        typer.echo(sandbox_config(host, port), nl=False)
        return
    try:
        asyncio.run(_run(host, port, strict=strict))
    except OSError as error:
        raise CommandFailed(f"the sandbox did not start: {error}", exit_code=NO_GATEWAY) from error


async def _run(host: str, port: int, *, strict: bool) -> None:
    """Run it until a signal."""
    from gateway.app import open_sandbox

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    sandbox = await open_sandbox(host=host, port=port, strict=strict)
    try:
        typer.echo(f"Sandbox on {sandbox.control_url}", err=True)
        for name, base_url in sandbox.upstreams.items():
            typer.echo(f"  {name:<12} {base_url}", err=True)
        typer.echo(
            "Scenes at /scenes, books at /books, faults at /faults. Its configuration: --print-config.", err=True
        )
        await stop.wait()
    finally:
        await sandbox.stop()
