"""
The one reader of the environment and of the configuration file. A wrong configuration cannot start.

Without a file the embedded defaults hold: an SQLite ledger under `MASKGATE_STATE_DIR`, the local engine, and one
deployment for each provider whose key is in the environment. A file (YAML, `MASKGATE_CONFIG` or `--config`) replaces
the deployments; `${NAME}` in it is taken from the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from providers.contract import Money, PriceUnit

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
PUBLIC_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,255}(/[A-Za-z0-9._~-]+){0,16}")
PORT = re.compile(r"[0-9]{1,5}")

#: Pillow takes no larger picture: twice its `MAX_IMAGE_PIXELS`, which is the whole process's.
MOST_PIXELS = 178_956_970


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong in a configuration file."""

    path: str
    """Where, as `deployments[0].price.usd`."""
    line: int | None
    column: int | None
    message: str

    def __str__(self) -> str:
        """Write it as a compiler would: place, then what is wrong."""
        place = f"line {self.line}, column {self.column}: " if self.line is not None else ""
        return f"{place}{self.path}: {self.message}" if self.path else f"{place}{self.message}"


class SettingsError(Exception):
    """A configuration that cannot be used; its text lists every problem, one a line."""

    def __init__(self, problems: list[ConfigProblem], *, source: str) -> None:
        """Hold *problems* of the file or variable named *source*."""
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.problems = problems


class Section(BaseModel):
    """What all parts of the file share."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PriceSettings(Section):
    """What one unit costs, since when, and who says so."""

    usd: Annotated[str, StringConstraints(max_length=40)]
    """Decimal dollars, as text: a YAML float would not stay exact."""
    unit: PriceUnit = PriceUnit.SUCCESS
    valid_from: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    source: Annotated[str, StringConstraints(min_length=1, max_length=500)]

    @field_validator("usd")
    @classmethod
    def _is_price(cls, text: str) -> str:
        """Refuse what is no price."""
        if Money.from_usd(text).microusd < 0:
            raise ValueError("a price below zero")
        return text

    @field_validator("valid_from")
    @classmethod
    def _is_day(cls, text: str) -> str:
        """Refuse days that no calendar has."""
        try:
            date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"there is no day {text}; write it as 2026-01-31") from None
        return text


class DeploymentSettings(Section):
    """One model of one provider in one region at one endpoint."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    provider: str
    model: str
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")] = "global"
    endpoint: str = ""
    credential: str = Field(default="", repr=False)
    priority: Annotated[int, Field(ge=0, le=1000)] = 1
    """Lower is asked first under the strategy `priority`, and breaks ties under the others."""
    price: PriceSettings | None = None
    """None: the provider's list price; where it publishes none, the deployment takes no traffic."""
    options: dict[str, str | int | float | bool] = {}
    callback_secrets: tuple[Annotated[str, StringConstraints(min_length=8, max_length=500)], ...] = Field(
        default=(), repr=False
    )
    """What the provider signs its callbacks with; any one of them fits, so that they can be rotated."""


class FetchSettings(Section):
    """How pictures and masks are brought from other people's addresses."""

    allow: tuple[str, ...] = ()
    """`ip:port` addresses that are fetched from although they are private."""
    max_bytes: Annotated[int, Field(ge=1024, le=2**30)] = 32 * 2**20
    seconds: Annotated[float, Field(gt=0, le=300)] = 10.0

    @field_validator("allow")
    @classmethod
    def _are_addresses(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse names: what a name leads to can change under our feet."""
        for entry in entries:
            if not _is_address(entry):
                raise ValueError(f"{entry!r} is no address; write ip:port, as 10.0.0.7:8080 or [fd00::7]:8080")
        return entries


def _is_address(entry: str) -> bool:
    """Whether it is `ip:port`, an IPv6 address in brackets."""
    host, _, port = entry.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        version = ip_address(bare).version
    except ValueError:
        return False
    written = f"[{bare}]" if version == 6 else bare
    return host == written and PORT.fullmatch(port) is not None and 0 < int(port) < 65536


class CacheSettings(Section):
    """What is kept of bought answers."""

    max_bytes: Annotated[int, Field(ge=0)] = 256 * 2**20
    ttl_seconds: Annotated[float, Field(gt=0)] = 86_400.0
    empty_ttl_seconds: Annotated[float, Field(gt=0)] = 60.0


class AccessSettings(Section):
    """Who may ask."""

    keyless_on_loopback: bool = True
    """Whether programs on this machine need a key while the gateway listens on loopback alone."""


class LimitSettings(Section):
    """What the gateway takes at once."""

    max_pixels: Annotated[int, Field(ge=64, le=MOST_PIXELS)] = 120_000_000
    max_in_flight: Annotated[int, Field(ge=1)] = 4096
    """Requests being worked on; the next one is turned away with 503."""
    worker_threads: Annotated[int, Field(ge=1, le=256)] = 4
    grace_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """How long after a request's deadline an open reservation is taken for abandoned."""


class ReconcileSettings(Section):
    """When providers are asked what became of attempts on hold."""

    every_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Between two rounds; one attempt is asked about ever more rarely, at last once an hour."""
    first_seconds: Annotated[float, Field(ge=0, le=86_400)] = 10.0
    """From the hold to the first question."""
    absent_seconds: Annotated[float, Field(ge=0, le=7 * 86_400)] = 300.0
    """From the hold until an attempt that the provider knows nothing of counts as never made."""


class FileSettings(Section):
    """The configuration file."""

    public_url: str = ""
    """Where providers reach this gateway, as https://maskgate.example.com; empty where they cannot: no callbacks."""
    deployments: tuple[DeploymentSettings, ...] | None = None
    fetch: FetchSettings = FetchSettings()
    cache: CacheSettings = CacheSettings()
    access: AccessSettings = AccessSettings()
    limits: LimitSettings = LimitSettings()
    reconcile: ReconcileSettings = ReconcileSettings()

    @field_validator("public_url")
    @classmethod
    def _is_public(cls, url: str) -> str:
        """Refuse what no path can be appended to."""
        if url and not PUBLIC_URL.fullmatch(url):
            raise ValueError("write it as https://host or https://host/path, without a trailing slash, query or user")
        return url

    @field_validator("deployments")
    @classmethod
    def _names_differ(cls, deployments: tuple[DeploymentSettings, ...] | None) -> tuple[DeploymentSettings, ...] | None:
        """Refuse two deployments of one name."""
        seen: set[str] = set()
        for deployment in deployments or ():
            if deployment.name in seen:
                raise ValueError(f"two deployments are named {deployment.name!r}; each name is used once")
            seen.add(deployment.name)
        return deployments


class _Reader(yaml.SafeLoader):
    """YAML without two traps: a key that stands twice is refused, and a date stays the text that was written."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's own signature
        """Refuse a key that would silently replace an earlier one."""
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands here twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Reader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag != "tag:yaml.org,2002:timestamp"]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


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


def load_settings(*, config: Path | None, environ: Mapping[str, str]) -> Settings:
    """
    Read the configuration file, if there is one, and the environment.

    Args:
        config: the file named on the command line; else `MASKGATE_CONFIG` names it.
        environ: the process's environment.

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
    return settings_from_yaml(text, environ=environ, source=str(named))


def settings_from_yaml(text: str, *, environ: Mapping[str, str], source: str = "configuration") -> Settings:
    """
    Read a configuration from YAML text.

    Raises:
        SettingsError: listing every problem with its line.
    """
    missing: list[tuple[tuple[str | int, ...], str]] = []
    try:
        reader = _Reader(text)
        root = reader.get_single_node()
        document = None if root is None else reader.construct_document(root)
        filled = _fill({} if document is None else document, environ, (), missing)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError([_not_yaml(error)], source=source) from error
    problems = [
        _located(root, path, f"the environment has no {name}; set it, or write the value here")
        for path, name in missing
    ]
    try:
        file = FileSettings.model_validate(filled)
    except ValidationError as error:
        problems += [
            _located(root, detail["loc"], _sentence(dict(detail))) for detail in error.errors(include_url=False)
        ]
        raise SettingsError(problems, source=source) from error
    if problems:
        raise SettingsError(problems, source=source)
    return _with_environment(file, environ)


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


def _not_yaml(error: Exception) -> ConfigProblem:
    """Say where a file is no YAML, if that is known."""
    mark: yaml.Mark | None = getattr(error, "problem_mark", None)
    message = f"not YAML: {getattr(error, 'problem', None) or error}"
    return ConfigProblem("", mark.line + 1 if mark else None, mark.column + 1 if mark else None, message)


def _with_environment(file: FileSettings, environ: Mapping[str, str]) -> Settings:
    """Add what the environment alone says."""
    return Settings(
        **{name: getattr(file, name) for name in FileSettings.model_fields if name != "public_url"},
        public_url=_public_url(file, environ),
        environ=dict(environ) if file.deployments is None else {},
        state_dir=Path(environ.get("MASKGATE_STATE_DIR") or ".maskgate"),
        database_url=environ.get("MASKGATE_DATABASE_URL", ""),
        redis_url=environ.get("MASKGATE_REDIS_URL", ""),
    )


def _fill(
    value: Any,
    environ: Mapping[str, str],
    path: tuple[str | int, ...],
    missing: list[tuple[tuple[str | int, ...], str]],
) -> Any:
    """Put the environment's values where `${NAME}` stands; note the names it does not have."""
    if isinstance(value, dict):
        return {key: _fill(item, environ, (*path, key), missing) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, environ, (*path, index), missing) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environ:
            missing.append((path, name))
        return environ.get(name, "")

    return REFERENCE.sub(replaced, value)


def _sentence(detail: dict[str, Any]) -> str:
    """Say what pydantic found in words that name the remedy."""
    if detail["type"] == "extra_forbidden":
        return "unknown field; is it misspelt?"
    if detail["type"] == "missing":
        return "missing, and required"
    if detail["loc"][-1:] == ("usd",) and detail["type"] == "string_type":
        return f'write the amount as text, so that it stays exact: "{detail["input"]}"'
    return str(detail["msg"]).removeprefix("Value error, ")


def _located(root: yaml.Node | None, loc: tuple[str | int, ...], message: str) -> ConfigProblem:
    """Find the line of a path in the YAML document: the deepest node of it that is there."""
    node, found = root, root
    for step in loc:
        node = _child(node, step)
        if node is None:
            break
        found = node
    mark = found.start_mark if found is not None else None
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc).lstrip(".")
    return ConfigProblem(path, mark.line + 1 if mark else None, mark.column + 1 if mark else None, message)


def _child(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item: yaml.Node = node.value[step]
        return item
    return None
