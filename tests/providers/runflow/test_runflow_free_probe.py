"""The question that costs nothing: whether the key is good."""

from __future__ import annotations

import time
from typing import Any

import pytest

from providers.contract import (
    Deadline,
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
)
from tests.providers.runflow.fake_runflow import KEY, Scene

ORGANIZATION = "5f6c1c1e-0000-4000-8000-000000000001"


async def probe(scene: Scene) -> None:
    """Ask."""
    await scene.runflow.probe(scene.deployment, deadline=Deadline.after(20, time.monotonic))


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("meta/sam-3/image", {}),
        ("meta/sam-3/image", {"generation": 2}),
        ("meta/sam-3/image", {"generation": 1}),
        ("runflow/smart-segmentation", {}),
    ],
)
async def test_one_question_for_every_model(scene: Scene, model: str, options: dict[str, Any]) -> None:
    """Every model and generation is asked for in the same place, with the credential and nothing else."""
    scene.use(model, organization_id=ORGANIZATION, **options)
    await probe(scene)
    [(method, path, headers, body)] = scene.fake.requests
    assert ("GET", "/v1/auth/me", b"") == (method, path, body)
    assert (f"Bearer {KEY}", ORGANIZATION) == (headers["authorization"], headers["x-organization-id"])


@pytest.mark.parametrize("account", [{}, None, [], "no account", {"id": 7}])
async def test_the_account_is_not_read(scene: Scene, account: Any) -> None:
    """What is told of the account is documented nowhere, so nothing depends on it."""
    scene.fake.me = account
    await probe(scene)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, ProviderDenied),
        (401, ProviderDenied),
        (402, ProviderDenied),
        (403, ProviderDenied),
        (404, ProviderRefused),
        (405, ProviderRefused),
        (429, ProviderOverloaded),
        (500, ProviderFailed),
        (502, ProviderFailed),
        (504, ProviderFailed),
    ],
)
async def test_what_a_status_comes_to(scene: Scene, status: int, kind: type[ProviderError]) -> None:
    """As in a real call, but that nothing is ever charged, and that a question nobody knows is no verdict."""
    scene.fake.me_status = status
    with pytest.raises(kind) as caught:
        await probe(scene)
    assert (kind, status, False) == (type(caught.value), caught.value.status, caught.value.may_have_charged)
