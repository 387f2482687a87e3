"""
A configuration as it holds, written so that it can be shown to anybody: defaults filled in, secrets masked. Pure.

What a field hides from `repr` is masked here. What a secret has been copied into, as a label or a part of an address,
is masked as well, whatever the field; so is what stands before the `@` of an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from gateway.settings.file import FileSettings
from gateway.settings.loading import Settings
from gateway.settings.section import Section

MASK = "********"

#: A shorter one would be found in words that have nothing to do with it.
_SHORTEST_SECRET = 4
_USER = re.compile(r"(?<=://)[^/@\s]*@")
_PASSWORD = re.compile(r"://[^/@\s]*?:([^/@\s]*)@|[?&][a-z_]*(?:password|secret|token|key)=([^&\s]+)", re.IGNORECASE)
_SECRET_OPTION = re.compile(r"key|token|secret|password|credential|auth", re.IGNORECASE)


def shown(settings: Settings) -> dict[str, Any]:
    """Return the configuration file that says what holds, as plain values that YAML and JSON have."""
    secrets = sorted(_secrets(settings), key=len, reverse=True)
    file = {name: _plain(getattr(settings, name)) for name in FileSettings.model_fields}
    for name, (policy, limit) in settings.tenant_rules.items():
        file["tenants"][name] |= {
            "strategy": policy.strategy.value,
            "hedge_after_seconds": _plain(policy.hedge_after),
            "requests_per_second": _plain(limit.requests_per_second),
            "burst": None if limit.requests_per_second is None else limit.burst,
            "concurrency": limit.concurrency,
        }
    for deployment in file["deployments"] or ():
        options = deployment["options"]
        deployment["options"] = {name: MASK if _SECRET_OPTION.search(name) else options[name] for name in options}
    scrubbed: dict[str, Any] = _scrubbed(file, secrets)
    return scrubbed


def shown_environment(settings: Settings) -> dict[str, str]:
    """Return what the environment says beside the file: where things are kept, masked where it may hold a password."""
    return {
        "MASKGATE_STATE_DIR": str(settings.state_dir),
        "MASKGATE_DATABASE_URL": MASK if settings.database_url else "",
        "MASKGATE_REDIS_URL": MASK if settings.redis_url else "",
    }


def _plain(value: Any) -> Any:
    """Return a value as YAML and JSON have it; what its field hides is masked."""
    if isinstance(value, Section):
        fields = type(value).model_fields
        return {
            name: _plain(getattr(value, name)) if fields[name].repr else _masked(getattr(value, name))
            for name in fields
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Fraction):
        return _decimal(value)
    return value


def _masked(value: Any) -> Any:
    """Return stars for every secret there is, and what is empty as it is."""
    if isinstance(value, tuple | list):
        return [MASK for _ in value]
    return MASK if value else value


def _decimal(value: Fraction) -> str:
    """Return a figure of six decimals at most as text, exactly."""
    micros = value * 1_000_000
    whole, part = divmod(micros.numerator // micros.denominator, 1_000_000)
    return f"{whole}.{part:06}".rstrip("0").rstrip(".")


def _scrubbed(value: Any, secrets: list[str]) -> Any:
    """Return a value without the secrets that were copied into it."""
    if isinstance(value, dict):
        return {_scrubbed(key, secrets): _scrubbed(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item, secrets) for item in value]
    if not isinstance(value, str):
        return value
    for secret in secrets:
        value = value.replace(secret, MASK)
    return _USER.sub(f"{MASK}@", value)


def _secrets(settings: Settings) -> Iterator[str]:
    """Find every secret of the configuration, as it is written and as an address would have it."""
    budgets = settings.budgets
    found = [budgets.webhook_url, budgets.webhook_secret, budgets.webhook_secret.removeprefix("whsec_")]
    for deployment in settings.deployments or ():
        found += [deployment.credential, *deployment.callback_secrets]
    for url in (settings.database_url, settings.redis_url):
        found.append(url)
        found += [part for match in _PASSWORD.finditer(url) for part in match.groups() if part]
    for secret in found:
        for form in {secret, unquote(secret)}:
            if len(form) >= _SHORTEST_SECRET:
                yield form
