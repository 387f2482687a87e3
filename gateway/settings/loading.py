"""From the environment and the configuration file to checked settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from gateway.settings.document import Document, not_yaml
from gateway.settings.file import FileSettings
from gateway.settings.problem import ConfigProblem, SettingsError
from gateway.settings.sections import PORT, AdminSettings


class Settings(FileSettings):
    """Everything the gateway is built from."""

    environ: dict[str, str] = Field(default={}, repr=False)
    """The environment that providers' own defaults are read from; empty when the file lists deployments."""
    state_dir: Path = Path(".maskgate")
    database_url: str = Field(default="", repr=False)
    redis_url: str = Field(default="", repr=False)
    """The Redis through which gateways share bought answers; empty for none."""
    host: str = "127.0.0.1"
    """The address listened on: keyless access holds on loopback alone."""

    @property
    def ledger_url(self) -> str:
        """Where the ledger is kept."""
        return self.database_url or f"sqlite:///{self.state_dir / 'maskgate.db'}"


def load_settings(*, config: Path | None, environ: Mapping[str, str], unset: str | None = None) -> Settings:
    """
    Read the configuration file, if there is one, and the environment.

    Args:
        config: the file named on the command line; else `MASKGATE_CONFIG` names it.
        environ: the process's environment.
        unset: what stands in the file where it names a variable that the environment does not have; None: that is a
            problem.

    Raises:
        SettingsError: listing every problem with its line.
    """
    named = config or (Path(environ["MASKGATE_CONFIG"]) if environ.get("MASKGATE_CONFIG") else None)
    if named is None:
        return _with_environment(FileSettings(), environ)
    try:
        text = named.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([ConfigProblem("", None, None, f"cannot be read: {error}")], source=str(named)) from error
    return settings_from_yaml(text, environ=environ, source=str(named), unset=unset)


def database_settings(environ: Mapping[str, str]) -> Settings:
    """
    Return where the database is, and defaults for the rest: that is said by the environment alone.

    For commands that need nothing else, on a machine that has none of the providers' keys.
    """
    return Settings(**_storage(environ))


def settings_from_yaml(
    text: str, *, environ: Mapping[str, str], source: str = "configuration", unset: str | None = None
) -> Settings:
    """
    Read a configuration from YAML text; see `load_settings`.

    Raises:
        SettingsError: listing every problem with its line.
    """
    try:
        document = Document(text)
        filled, problems = document.filled(environ, unset=unset)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError([not_yaml(error)], source=source) from error
    try:
        file = FileSettings.model_validate(filled)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            steps = detail["loc"][:-1] if detail["loc"][-1:] == ("[key]",) else detail["loc"]
            problems.append(document.located(steps, _sentence(dict(detail))))
        raise SettingsError(problems, source=source) from error
    problems += [document.located(place, message) for place, message in file.contradictions()]
    if problems:
        raise SettingsError(problems, source=source)
    return _with_environment(file, environ)


def _with_environment(file: FileSettings, environ: Mapping[str, str]) -> Settings:
    """Add what the environment alone says."""
    own = {"public_url", "admin"}
    return Settings(
        **{name: getattr(file, name) for name in FileSettings.model_fields if name not in own},
        public_url=_public_url(file, environ),
        admin=_admin(file, environ),
        environ=dict(environ) if file.deployments is None else {},
        redis_url=environ.get("MASKGATE_REDIS_URL", ""),
        **_storage(environ),
    )


def _storage(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return where the ledger is kept."""
    return {
        "state_dir": Path(environ.get("MASKGATE_STATE_DIR") or ".maskgate"),
        "database_url": environ.get("MASKGATE_DATABASE_URL", ""),
    }


def _public_url(file: FileSettings, environ: Mapping[str, str]) -> str:
    """Return where providers reach this gateway: the environment's word before the file's."""
    url = environ.get("MASKGATE_PUBLIC_URL")
    if not url:
        return file.public_url
    try:
        return FileSettings(public_url=url).public_url
    except ValidationError as error:
        problem = ConfigProblem("", None, None, _sentence(dict(error.errors(include_url=False)[0])))
        raise SettingsError([problem], source="MASKGATE_PUBLIC_URL") from error


def _admin(file: FileSettings, environ: Mapping[str, str]) -> AdminSettings:
    """Return where the admin routes are: the environment's word before the file's."""
    written = environ.get("MASKGATE_ADMIN_PORT")
    if not written:
        return file.admin
    if not PORT.fullmatch(written) or not 0 < int(written) < 65536:
        problem = ConfigProblem("", None, None, f"not a port: {written!r}; write a number from 1 to 65535")
        raise SettingsError([problem], source="MASKGATE_ADMIN_PORT")
    return AdminSettings(port=int(written))


def _sentence(detail: dict[str, Any]) -> str:
    """Say what pydantic found in words that name the remedy."""
    if detail["type"] == "extra_forbidden":
        return "unknown field; is it misspelt?"
    if detail["type"] == "missing":
        return "missing, and required"
    return str(detail["msg"]).removeprefix("Value error, ")
