"""The gateway that a command talks to: the one that was named, the one that runs here, or one for the meantime."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from gateway.cli.failures import NO_GATEWAY, CommandFailed
from gateway.loopback import leads_to_loopback

HOST = "127.0.0.1"
PORT = 8080


@contextmanager
def gateway_at(url: str | None) -> Iterator[str]:
    """
    Give the base URL of a gateway for as long as the block lasts.

    Args:
        url: the one that was named; None for the default one, or an embedded one where nothing listens there.

    Raises:
        CommandFailed: an embedded one could not be started.
    """
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise CommandFailed(f"{url} is no gateway's address; write http://HOST:PORT", exit_code=NO_GATEWAY)
        yield url
    elif _listens(HOST, PORT):
        yield f"http://{HOST}:{PORT}"
    else:
        with _embedded() as base_url:
            yield base_url


@contextmanager
def _embedded() -> Iterator[str]:
    from gateway.app import create_app
    from gateway.serving import StartFailed, running
    from gateway.settings import SettingsError, load_settings

    try:
        settings = load_settings(config=None, environ=os.environ)
    except SettingsError as error:
        raise CommandFailed(str(error)) from error
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = settings.state_dir / "gateway.log"
    typer.echo(
        f"No gateway on {HOST}:{PORT}: running one for this command, state in {settings.state_dir}. "
        "Name another with --url.",
        err=True,
    )
    try:
        with (
            log.open("a", encoding="utf-8") as lines,
            running(lambda: create_app(settings, log_to=lines, show=lambda _key: None), host=HOST) as base_url,
        ):
            yield base_url
    except StartFailed as error:
        raise CommandFailed(f"the gateway did not start: {error}", exit_code=NO_GATEWAY) from error


def own_key(base_url: str) -> str | None:
    """
    Return the key in the state folder, for a gateway on this machine; None for any other, or where there is none.

    Raises:
        CommandFailed: the file must not be used.
    """
    from gateway.store.key_file import UnsafeKeyFile, read_key_file

    if not leads_to_loopback(base_url):
        return None
    try:
        return read_key_file(Path(os.environ.get("MASKGATE_STATE_DIR") or ".maskgate"))
    except UnsafeKeyFile as error:
        raise CommandFailed(str(error)) from error


def _listens(host: str, port: int) -> bool:
    """Whether a connection to that address is taken."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0
