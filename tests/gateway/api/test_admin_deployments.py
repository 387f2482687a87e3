"""`/admin/v1/deployments/{name}`, on a real socket."""

from __future__ import annotations

import io
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.api.admin_deployments import DeploymentHealthShape, router
from gateway.intake.callers import Callers
from gateway.routing.drain import Drains
from gateway.routing.health import HealthTable
from gateway.store.drained import DrainedDeployments
from gateway.telemetry.logs import make_logger
from providers.contract import ProviderDenied, ProviderFailed
from tests.gateway.api.admin_door import PLAIN, Ask, asking, two_keys

NOON = 1_800_014_400


@dataclass(frozen=True, slots=True)
class Router:
    """What these routes use of the services."""

    health: HealthTable
    wall: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Wing:
    """What these routes use of the house."""

    callers: Callers
    services: Router
    drains: Drains


@asynccontextmanager
async def wing(database_url: str, health: HealthTable) -> AsyncIterator[Wing]:
    """Open a ledger, and what is drained in it."""
    async with two_keys(database_url, lambda: NOON) as ledger:
        kept = DrainedDeployments(ledger.database, lambda: NOON)
        yield Wing(
            Callers(ledger.keys, keyless=True, clock=time.monotonic),
            Router(health, lambda: NOON + 60),
            Drains(kept, tell=health.drain, log=make_logger(io.StringIO())),
        )


@pytest.fixture(scope="module")
def health() -> HealthTable:
    """The health of three deployments, by a clock that stands."""
    return HealthTable(["eu", "us", "local"], lambda: 1000.0, random.Random(1))


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory, health: HealthTable) -> Iterator[Ask]:
    """Return what asks the admin routes of a running gateway, as its administrator."""
    file = Path(tmp_path_factory.mktemp("ledger")) / "ledger.db"
    with asking(router, lambda: wing(f"sqlite:///{file}", health), "/admin/v1/deployments/") as door:

        def asked(*question: Any, **how: Any) -> tuple[int, Any]:
            status, found = door(*question, **how)
            if status == 200:
                DeploymentHealthShape.model_validate(found)
            return status, found

        yield asked


def test_a_deployment_is_drained_and_resumed(ask: Ask, health: HealthTable) -> None:
    """Drained, no call goes to it, and who did it, when and why is shown; resumed, all is as before."""
    _, before = ask("GET", "eu")
    assert ("closed", None, None, None) == tuple(
        before[name] for name in ("state", "cause", "not_closed_since", "drained")
    )
    status, drained = ask("POST", "eu/drain", {"reason": " new account "})
    assert (200, "open", "drained", "drained: new account", "2027-01-15T12:00:00Z") == (
        status, drained["state"], drained["cause"], drained["reason"], drained["not_closed_since"]
    )  # fmt: skip
    assert {"reason": "new account", "key_id": "key_admin", "at": "2027-01-15T12:00:00Z"} == drained["drained"]
    assert health["eu"].begin() is None
    assert (200, drained) == ask("GET", "eu")
    assert "closed" == ask("GET", "us")[1]["state"]
    assert (200, before) == ask("POST", "eu/resume")
    assert (200, before) == ask("POST", "eu/resume")


def test_the_figures_are_shown(ask: Ask, health: HealthTable) -> None:
    """Cause, reason, since when, how often, and how the last calls went."""
    for _ in range(3):
        call = health["us"].begin()
        assert call is not None
        call.succeeded(seconds=0.5)
    under_way = health["us"].begin()
    call = health["us"].begin()
    assert under_way is not None
    assert call is not None
    call.failed(ProviderDenied("402: no credit"))
    _, shown = ask("GET", "us")
    assert {
        "object": "deployment_health",
        "name": "us",
        "state": "open",
        "cause": "denied",
        "reason": "it denies access, which its operator has to see to",
        "not_closed_since": "2027-01-15T12:01:00Z",
        "openings": 1,
        "in_flight": 1,
        "calls": 4,
        "error_rate": 0.25,
        "slow_rate": 0.0,
        "hinted": False,
        "drained": None,
    }.items() <= shown.items()
    assert 29 < shown["retry_after_seconds"] <= 33
    under_way.abandoned()


def test_a_drained_one_that_was_open_shows_both(ask: Ask, health: HealthTable) -> None:
    """The operator's reason hides the breaker's while it holds, and the breaker's time goes on."""
    for _ in range(5):
        call = health["local"].begin()
        assert call is not None
        call.failed(ProviderFailed("it broke"))
    _, drained = ask("POST", "local/drain", {"reason": "while at it"})
    assert ("drained", 1, 1.0) == (drained["cause"], drained["openings"], drained["error_rate"])
    _, resumed = ask("POST", "local/resume")
    assert ("open", "failing", "it failed") == (resumed["state"], resumed["cause"], resumed["reason"])


@pytest.mark.parametrize(("method", "path"), [("GET", "mars"), ("POST", "mars/drain"), ("POST", "mars/resume")])
def test_an_unknown_deployment_is_not_found(ask: Ask, method: str, path: str) -> None:
    """The problem lists those that there are."""
    status, problem = ask(method, path, {"reason": "x"} if method == "POST" else None)
    assert (404, "not_found") == (status, problem["code"])
    assert "there are eu, us, local" in problem["detail"]


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("reason", {}),
        ("reason", {"reason": ""}),
        ("reason", {"reason": "   "}),
        ("reason", {"reason": "x" * 201}),
        ("reason", {"reason": "two\nlines"}),
        ("reason", {"reason": None}),
        ("until", {"reason": "x", "until": "noon"}),
    ],
)
def test_a_wrong_field_is_named(ask: Ask, field: str, body: dict[str, Any]) -> None:
    """A body that cannot be is refused with 422 and the field at fault, and nothing is drained."""
    status, problem = ask("POST", "eu/drain", body)
    assert (422, "invalid_request", field) == (status, problem["code"], problem["field"])
    assert ask("GET", "eu")[1]["drained"] is None


@pytest.mark.parametrize(("method", "path"), [("GET", "eu"), ("POST", "eu/drain"), ("POST", "eu/resume")])
def test_only_an_administrator_is_admitted(ask: Ask, method: str, path: str) -> None:
    """A tenant's key is refused with 403, and a program on loopback that shows none with 401."""
    body = {"reason": "x"} if path.endswith("drain") else None
    for key, refusal in ((PLAIN, (403, "forbidden")), (None, (401, "unauthenticated"))):
        status, problem = ask(method, path, body, key=key)
        assert refusal == (status, problem["code"])
