"""What has to be right about a deployment that is called over HTTP, found at start and not at the first call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from providers.contract import Deployment

Option = str | int | float | bool


@dataclass(frozen=True, slots=True)
class OptionRule:
    """What an option may be."""

    accepts: Callable[[Option], bool]
    wants: str
    """The rule in words: `a number of seconds from 0.02 to 60`."""


def check_http_deployment(
    deployment: Deployment, *, models: Collection[str], options: Mapping[str, OptionRule]
) -> None:
    """
    Refuse a deployment that cannot work.

    Raises:
        ValueError: naming the deployment, the field, its value (never the credential's) and the remedy.
    """
    where = f"deployment {deployment.name!r}"
    if deployment.model not in models:
        raise ValueError(f"{where}: model {deployment.model!r} is unknown; use one of {', '.join(sorted(models))}")
    _check_endpoint(where, deployment.endpoint)
    _check_credential(where, deployment.credential.reveal())
    for name, value in deployment.options.items():
        rule = options.get(name)
        if rule is None:
            known = ", ".join(sorted(options)) or "none"
            raise ValueError(f"{where}: options.{name} is unknown; known options: {known}")
        if not rule.accepts(value):
            raise ValueError(f"{where}: options.{name} is {value!r}; it has to be {rule.wants}")


def number_between(low: float, high: float) -> Callable[[Option], bool]:
    """Return a test for a number from *low* to *high*, both included."""
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _check_endpoint(where: str, endpoint: str) -> None:
    """Refuse an endpoint to which no path can be appended."""
    shown = "(not shown, it holds a user name)" if "@" in endpoint else repr(endpoint)
    remedy = "write it as https://host or https://host/path, without a trailing slash, query or user name"
    try:
        parts = urlsplit(endpoint)
        port_is_wrong = parts.port == 0
    except ValueError:
        raise ValueError(f"{where}: endpoint {shown} is not a URL; {remedy}") from None
    blemishes = (
        parts.scheme not in {"http", "https"},
        not parts.hostname,
        port_is_wrong,
        endpoint.endswith("/"),
        any(sign in endpoint for sign in "?#@"),
        not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint,
    )
    if any(blemishes):
        raise ValueError(f"{where}: endpoint {shown} cannot be called; {remedy}")


def _check_credential(where: str, credential: str) -> None:
    """Refuse a credential that no header can carry. Its value stays out of the message."""
    if not credential:
        raise ValueError(f"{where}: credential is empty; name the environment variable that holds the provider's key")
    if not credential.isascii() or not credential.isprintable() or " " in credential:
        raise ValueError(f"{where}: credential holds a space, a line break or a letter that no HTTP header can carry")
