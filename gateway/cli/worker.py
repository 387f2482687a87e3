"""The app in one of several processes; what each of them is to do stands in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import typer
from fastapi import FastAPI

from gateway.app import create_app
from gateway.serving import spare_the_collector, with_start_told
from gateway.settings import Settings, load_settings


def create() -> FastAPI:
    """Make the app from the environment: `MASKGATE_CONFIG` and what else `load_settings` reads, and `MASKGATE_HOST`."""
    settings = settings_for(None, host=os.environ.get("MASKGATE_HOST", "127.0.0.1"), environ=os.environ)
    return with_start_told(
        create_app(settings),
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
