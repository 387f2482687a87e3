"""A configuration as it is shown: complete, usable, and without a secret in any form."""

import base64
from typing import Any
from urllib.parse import quote

import orjson
import yaml

from gateway.settings import MASK, settings_from_yaml, shown, shown_environment

SECRET = base64.b64encode(b"canary-webhook-secret-of-32-byte").decode()

CANARIES = {
    "RUNFLOW": "canary-runflow-credential",
    "CALLBACK": "canary-callback-secret",
    "WEBHOOK": f"whsec_{SECRET}",
    "OPTION": "canary-option-token",
    "MASKGATE_DATABASE_URL": "postgresql://maskgate:canary%2Fdatabase@db:5432/maskgate?password=canary-query",
    "MASKGATE_REDIS_URL": "redis://:canary-redis@cache:6379/0",
}

FULL = """\
deployments:
  - name: eu
    provider: runflow
    model: meta/sam-3/image
    region: eu
    endpoint: https://user:canary-user@eu.example/${RUNFLOW}
    credential: ${RUNFLOW}
    callback_secrets: ["${CALLBACK}", "another-canary-secret"]
    labels: {note: "copied canary-runflow-credential here"}
    options: {poll_seconds: 0.5, api_token: "${OPTION}"}
    markup: "1.15"
  - name: us
    provider: runflow
    model: meta/sam-3/image
    prices:
      - {usd: "0.005", valid_from: "2026-01-01", source: "the list, read with ${CALLBACK}"}
routing: {strategy: balanced, hedge_after_seconds: p95}
limits: {requests_per_second: 12.5, burst: 20, concurrency: 8}
tenants:
  shop: {strategy: fastest, hedge_after_seconds: null, requests_per_second: null}
  lab: {hedge_after_seconds: 2, burst: 3}
budgets: {webhook_url: "https://hooks.example/canary-address", webhook_secret: "${WEBHOOK}"}
"""


def plain(text: str, environ: dict[str, str] | None = None) -> dict[str, Any]:
    """Return what is shown of a configuration."""
    return shown(settings_from_yaml(text, environ=environ or {}))


def test_no_secret_is_shown_in_any_form() -> None:
    """Credentials, callback secrets, webhook, passwords: nowhere, nor quoted, nor where they were copied to."""
    settings = settings_from_yaml(FULL, environ=CANARIES)
    for written in (
        yaml.safe_dump([shown(settings), shown_environment(settings)]),
        orjson.dumps([shown(settings), shown_environment(settings)]).decode(),
    ):
        assert "canary" not in written
        assert SECRET not in written
        assert quote(SECRET, safe="") not in written
        assert MASK in written


def test_what_is_no_secret_is_shown() -> None:
    """Names, prices, limits and options are there as they hold."""
    settings = shown(settings_from_yaml(FULL, environ=CANARIES))
    eu, us = settings["deployments"]
    assert (MASK, [MASK, MASK], f"https://{MASK}@eu.example/{MASK}") == (
        eu["credential"],
        eu["callback_secrets"],
        eu["endpoint"],
    )
    assert ({"poll_seconds": 0.5, "api_token": MASK}, "1.15") == (eu["options"], eu["markup"])
    assert ("", [], 1, "0.005") == (us["credential"], us["callback_secrets"], us["weight"], us["prices"][0]["usd"])
    assert ("12.5", 20, 8) == tuple(
        settings["limits"][name] for name in ("requests_per_second", "burst", "concurrency")
    )


def test_what_a_tenant_takes_over_is_filled_in() -> None:
    """A tenant is shown with what holds for it, whoever says so."""
    tenants = shown(settings_from_yaml(FULL, environ=CANARIES))["tenants"]
    names = ("strategy", "hedge_after_seconds", "requests_per_second", "burst", "concurrency")
    assert ("fastest", None, None, None, 8) == tuple(tenants["shop"][name] for name in names)
    assert ("balanced", 2.0, "12.5", 3, 8) == tuple(tenants["lab"][name] for name in names)


def test_what_is_shown_is_a_configuration_that_says_the_same() -> None:
    """Written as YAML and read again, it makes the same rules, and is shown the same."""
    text = FULL[: FULL.index("budgets")].replace("requests_per_second: null", "concurrency: null")
    settings = settings_from_yaml(text, environ=CANARIES)
    again = settings_from_yaml(yaml.safe_dump(shown(settings)), environ={})
    assert settings.tenant_rules == again.tenant_rules
    assert settings.default_rules == again.default_rules
    assert settings.pricing == again.pricing
    assert shown(settings) == shown(again)


def test_empty_configuration_is_shown_with_every_default() -> None:
    """Each part of the file is there."""
    settings = plain("{}")
    assert ("cheapest", None, 5, 20, 3) == tuple(
        settings["routing"][name]
        for name in ("strategy", "hedge_after_seconds", "hedge_percent", "retry_percent", "retry_at_least")
    )
    assert ("1", "5") == (settings["pricing"]["markup"], settings["pricing"]["drift_alarm_percent"])
    assert {"MASKGATE_STATE_DIR": ".maskgate", "MASKGATE_DATABASE_URL": "", "MASKGATE_REDIS_URL": ""} == (
        shown_environment(settings_from_yaml("{}", environ={}))
    )
