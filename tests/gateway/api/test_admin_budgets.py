"""`/admin/v1/budgets`, on a real socket."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.accounting.budgets import Budgets
from gateway.api.admin_budgets import router
from gateway.api.budget_json import BudgetShape, BudgetsShape
from gateway.ids import new_ids
from gateway.intake.callers import Callers
from tests.gateway.api.admin_door import PLAIN, Ask, asking, two_keys


@dataclass(frozen=True, slots=True)
class Wing:
    """What these routes use of the house."""

    callers: Callers
    budgets: Budgets


@asynccontextmanager
async def wing(database_url: str) -> AsyncIterator[Wing]:
    """Open a ledger, and budgets in it."""
    async with two_keys(database_url, time.time) as ledger:
        yield Wing(
            Callers(ledger.keys, keyless=True, clock=time.monotonic),
            Budgets(ledger.database, wall=time.time, new_id=new_ids(time.time)),
        )


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Return what asks the admin routes of a running gateway, as its administrator."""
    file = Path(tmp_path_factory.mktemp("ledger")) / "ledger.db"
    with asking(router, lambda: wing(f"sqlite:///{file}"), "/admin/v1/budgets") as asked:
        yield asked


def test_a_budget_is_set_listed_changed_and_removed(ask: Ask) -> None:
    """A budget goes through its life by PUT, GET and DELETE, and each answer shows how it stands."""
    wanted = {"tenant": "t1", "tag": "team=search", "period": "total", "limit_usd": "2.5", "hard": False}
    status, budget = ask("PUT", "", wanted)
    assert 200 == status
    BudgetShape.model_validate(budget)
    assert {
        "tenant": "t1",
        "scope": "tag",
        "subject": "team=search",
        "period": "total",
        "hard": False,
        "limit_microusd": 2_500_000,
        "limit_usd": "2.500000",
        "left_usd": "2.500000",
        "spent_microusd": 0,
        "reserved_microusd": 0,
        "resets_at": None,
    }.items() <= budget.items()
    assert (200, "3.000000") == (200, ask("PUT", "", wanted | {"limit_usd": "3"})[1]["limit_usd"])
    status, listed = ask("GET", "?tenant=t1")
    BudgetsShape.model_validate(listed)
    assert [(budget["id"], "3.000000")] == [(found["id"], found["limit_usd"]) for found in listed["budgets"]]
    assert budget["id"] == ask("DELETE", f"/{budget['id']}")[1]["id"]
    assert [] == ask("GET", "?tenant=t1")[1]["budgets"]
    status, problem = ask("DELETE", f"/{budget['id']}")
    assert (404, "not_found") == (status, problem["code"])


def test_a_budget_is_by_default_a_tenants_hard_one_for_a_month(ask: Ask) -> None:
    """Only the tenant and the limit have to be given."""
    _, budget = ask("PUT", "", {"tenant": "t2", "limit_usd": "1"})
    assert ("tenant", "t2", "month", True) == tuple(budget[name] for name in ("scope", "subject", "period", "hard"))
    assert budget["resets_at"].endswith("-01T00:00:00Z")


def test_a_keys_budget_names_a_key_of_the_tenant(ask: Ask) -> None:
    """A key of the tenant's may have a budget, another's may not."""
    assert 200 == ask("PUT", "", {"tenant": "acme", "key_id": "key_plain", "limit_usd": "1"})[0]
    status, problem = ask("PUT", "", {"tenant": "t2", "key_id": "key_plain", "limit_usd": "1"})
    assert (422, "key_id") == (status, problem["field"])


def test_pages_lead_to_each_other(ask: Ask) -> None:
    """Following the cursor lists every budget once, in order."""
    for number in range(5):
        ask("PUT", "", {"tenant": "t3", "tag": f"n={number}", "limit_usd": "1"})
    subjects, path = [], "?tenant=t3&limit=2"
    while True:
        _, page = ask("GET", path)
        subjects += [budget["subject"] for budget in page["budgets"]]
        if page["next_cursor"] is None:
            break
        path = f"?tenant=t3&limit=2&cursor={page['next_cursor']}"
    assert [f"n={number}" for number in range(5)] == subjects


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("limit_usd", {"limit_usd": "0"}),
        ("limit_usd", {"limit_usd": "-1"}),
        ("limit_usd", {"limit_usd": "1e30"}),
        ("limit_usd", {"limit_usd": "1.0000001"}),
        ("limit_usd", {"limit_usd": 5}),
        ("limit_usd", {"limit_usd": None}),
        ("period", {"period": "week"}),
        ("hard", {"hard": "yes"}),
        ("tag", {"tag": "team"}),
        ("tag", {"tag": "a=b", "key_id": "key_plain"}),
        ("tenant", {"tenant": ""}),
        ("window", {"window": "day"}),
    ],
)
def test_a_wrong_field_is_named(ask: Ask, field: str, changed: dict[str, Any]) -> None:
    """A body that cannot be is refused with 422 and the field at fault."""
    status, problem = ask("PUT", "", {"tenant": "acme", "limit_usd": "1"} | changed)
    assert (422, "invalid_request", field) == (status, problem["code"], problem["field"])


@pytest.mark.parametrize(
    ("field", "query"),
    [("tenants", "?tenants=x"), ("limit", "?limit=0"), ("cursor", "?cursor=x"), ("cursor", "?cursor=WzFd")],
)
def test_a_wrong_parameter_is_named(ask: Ask, field: str, query: str) -> None:
    """A query that cannot be is refused with 422 and the parameter at fault."""
    status, problem = ask("GET", query)
    assert (422, field) == (status, problem["field"])


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("PUT", ""), ("DELETE", "/bud_1")])
def test_only_an_administrator_is_admitted(ask: Ask, method: str, path: str) -> None:
    """A tenant's key is refused with 403, and a program on loopback that shows none with 401."""
    body = {"tenant": "acme", "limit_usd": "1"} if method == "PUT" else None
    for key, refusal in ((PLAIN, (403, "forbidden")), (None, (401, "unauthenticated"))):
        status, problem = ask(method, path, body, key=key)
        assert refusal == (status, problem["code"])
