"""The app in one of several processes; what each of them is to do stands in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import typer
from fastapi import FastAPI

from gateway.app import create_app
from gateway.reloading import ConfigSource
from gateway.serving import spare_the_collector, with_start_told
from gateway.settings import Settings, load_settings

#: How many processes there are.
PROCESSES_VARIABLE = "MASKGATE_PROCESSES"


def create() -> FastAPI:
    """Make the app from the environment: `MASKGATE_CONFIG` and what else `load_settings` reads, and `MASKGATE_HOST`."""
    host = os.environ.get("MASKGATE_HOST", "127.0.0.1")
    settings = settings_for(None, host=host, environ=os.environ)
    return with_start_told(
        create_app(
            settings,
            source=source_for(None, host=host, environ=os.environ),
            processes=int(os.environ[PROCESSES_VARIABLE]),
        ),
        started=spare_the_collector,
        failed=lambda error: typer.echo(f"maskgate: the gateway did not start: {error}", err=True),
    )


def settings_for(config: Path | None, *, host: str, environ: Mapping[str, str]) -> Settings:
    """
    Return the settings of a gateway that listens on *host*.

    Raises:
        SettingsError: the configuration cannot be used.
    """
    return load_settings(config=config, environ=environ).model_copy(update={"host": host})


def source_for(config: Path | None, *, host: str, environ: Mapping[str, str]) -> ConfigSource | None:
    """Return where those settings come from, to be read again when it changes; None where there is no file."""
    named = config or (Path(environ["MASKGATE_CONFIG"]) if environ.get("MASKGATE_CONFIG") else None)
    return None if named is None else ConfigSource(named, partial(settings_for, named, host=host, environ=environ))
