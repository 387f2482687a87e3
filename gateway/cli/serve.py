"""`maskgate serve`: the gateway, until it is told to stop."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failures import NO_GATEWAY, WRONG_COMMAND_LINE, CommandFailed
from gateway.cli.options import ConfigFile


def serve(
    config: ConfigFile = None,
    host: Annotated[str, typer.Option(help="Listen here; 0.0.0.0 for every address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for a free one.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share port and ledger.")] = 1,
    admin_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Answer /admin/v1 on this port of the same address, and nowhere else; 0 for a free one.",
            show_default="MASKGATE_ADMIN_PORT, or the configuration's admin.port, or the gateway's own port",
        ),
    ] = None,
    *,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Also start sandbox upstreams, and use only them.")
    ] = False,
) -> None:
    """
    Run the gateway until SIGINT or SIGTERM; requests in flight are finished.

    A configuration file is read again when it changes, and on SIGHUP, without dropping a request.
    """
    with ExitStack() as stack:
        if sandbox:
            if config is not None:
                raise CommandFailed(
                    "--sandbox brings its own configuration: leave --config and MASKGATE_CONFIG out",
                    exit_code=WRONG_COMMAND_LINE,
                )
            config = _start_sandbox(stack)
        _run(config, host=host, port=port, admin_port=admin_port, workers=workers, sandbox=sandbox)


def _run(config: Path | None, *, host: str, port: int, admin_port: int | None, workers: int, sandbox: bool) -> None:
    """Serve until a signal, in this process or in several."""
    from gateway.app import create_app
    from gateway.cli.worker import PROCESSES_VARIABLE, settings_for, source_for
    from gateway.serving import StartFailed, listen, serve_in_processes, url_of
    from gateway.serving import serve as serve_app
    from gateway.settings import SettingsError
    from gateway.telemetry.metrics import MULTIPROCESS_VARIABLE

    try:
        settings = settings_for(config, host=host, environ=os.environ)
        listeners = [listen(host, port)]
        url = url_of(listeners[0])
        wanted = settings.admin.port if admin_port is None else admin_port
        if wanted is not None:
            listeners.append(listen(host, wanted, option="--admin-port"))
            given = listeners[1].getsockname()[1]
            settings = settings.model_copy(update={"admin": settings.admin.model_copy(update={"port": given})})
            if admin_port is not None:  # goes before the file's, whenever and wherever that is read again
                os.environ["MASKGATE_ADMIN_PORT"] = str(given)
            typer.echo(f"Admin routes on {url_of(listeners[1])}", err=True)
        if workers > 1:
            typer.echo(f"Maskgate on {url}, {workers} processes", err=True)
            os.environ |= {"MASKGATE_HOST": host, PROCESSES_VARIABLE: str(workers)} | (
                {"MASKGATE_CONFIG": str(config)} if config else {}
            )
            with tempfile.TemporaryDirectory(prefix="maskgate-metrics-") as shared:
                os.environ[MULTIPROCESS_VARIABLE] = shared  # so that whichever answers /metrics speaks for all
                serve_in_processes("gateway.cli.worker:create", listeners, processes=workers)
        else:
            source = source_for(config, host=host, environ=os.environ)
            app = create_app(settings, source=source, upstreams_here=sandbox)
            serve_app(app, listeners, started=lambda: _tell_started(url, settings.state_dir))
    except SettingsError as error:
        raise CommandFailed(str(error)) from error
    except StartFailed as error:
        raise CommandFailed(f"the gateway did not start: {error}", exit_code=NO_GATEWAY) from error


def _tell_started(url: str, state_dir: Path) -> None:
    """Say where the gateway is, and where its first key is; the key itself would end up in a log."""
    from gateway.store.key_file import KEY_FILE

    if (state_dir / KEY_FILE).exists():
        typer.echo(f"API key in {state_dir / KEY_FILE}", err=True)
    typer.echo(f"Maskgate on {url} ({url}/docs)", err=True)


def _start_sandbox(stack: ExitStack) -> Path:
    """Start sandbox upstreams that live as long as *stack*; return the configuration file for them."""
    from gateway.app import sandbox_config
    from gateway.sandboxed import sandbox_running
    from gateway.serving import StartFailed

    try:
        started = stack.enter_context(sandbox_running())
    except StartFailed as error:
        raise CommandFailed(str(error), exit_code=NO_GATEWAY) from error
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="maskgate-")))
    config = folder / "sandbox.yaml"
    config.write_text(sandbox_config(started.host, started.port), encoding="utf-8")
    typer.echo(f"Sandbox on {started.control_url} (its books: {started.control_url}/books)", err=True)
    return config
