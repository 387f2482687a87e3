"""`maskgate usage` of one key, of one tenant, and of all."""

from __future__ import annotations

import json
from pathlib import Path

from tests.gateway.house import Command


def charged(maskgate: Command, *options: str) -> int:
    """Return the sum of what was charged, in micro-dollars."""
    found = maskgate("usage", "--json", *options)
    assert 0 == found.exit_code, found.stderr
    total: int = json.loads(found.stdout)["total"]["charged_microusd"]
    return total


def test_usage_is_told_of_the_key_and_the_tenant_that_are_named(maskgate: Command, shoes: Path) -> None:
    """On this machine the key in the state folder is used, which is the tenant `default`'s; others spent nothing."""
    bought = maskgate("segment", shoes, "--text", "left shoe", "--deployment", "prodia")
    assert 0 == bought.exit_code, bought.stderr
    spent = charged(maskgate)
    assert spent > 0
    assert [spent, 0] == [charged(maskgate, "--key-id", name) for name in ("key_first", "key_nobody")]
    assert spent == charged(maskgate, "--tenant", "default")


def test_another_tenant_s_usage_is_refused(maskgate: Command) -> None:
    """Without an administrator's key, one's own figures are all there are to see."""
    made = maskgate("keys", "create", "--tenant", "acme", "--json")
    key = json.loads(made.stdout)
    found = maskgate("usage", "--tenant", "globex", "--key", key["key"])
    assert 1 == found.exit_code
    said = f"maskgate: forbidden (tenant): the key {key['id']} reads the figures of its own tenant"
    assert found.stderr.startswith(said)
