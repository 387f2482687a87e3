"""Where and as whom a deployment's calls are made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from providers.contract import Capabilities, Deployment, Model, Secret, upstream_account

MODEL = Model("sam", "sam", Capabilities(frozenset()), account_options=frozenset({"organization_id"}))
HERE = Deployment("eu", "runflow", "sam", "eu", "https://a.example", Secret("key"), {"organization_id": "o", "poll": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "prodia"},
        {"endpoint": "https://b.example"},
        {"credential": Secret("another")},
        {"options": {"organization_id": "p", "poll": 1}},
        {"options": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_account(change: dict[str, object]) -> None:
    """Provider, endpoint, credential and the options that a model names tell accounts apart."""
    assert upstream_account(HERE, MODEL) != upstream_account(replace(HERE, **change), MODEL)  # type: ignore[arg-type]


def test_the_same_account() -> None:
    """Name, region and other options do not, and the credential cannot be read from it."""
    renamed = replace(HERE, name="us", region="us", options={"organization_id": "o", "poll": 2})
    account = upstream_account(HERE, MODEL)
    assert account == upstream_account(renamed, MODEL)
    assert 16 == len(account)
    assert "key" not in account
