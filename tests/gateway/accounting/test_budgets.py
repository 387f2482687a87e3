"""Budgets are set, listed and removed; in both databases."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert, select

from gateway.accounting.budgets import Budget, BudgetPeriod, Budgets, BudgetScope, wanted_budget
from gateway.problems import InvalidRequest
from gateway.store import Database, LedgerUnavailable, open_database
from gateway.store.tables import api_keys, budget_windows, budgets, usage_lines
from providers.contract import Money

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = 86_400_000_000


def micros(moment: datetime) -> int:
    """Return microseconds since 1970."""
    return int(moment.timestamp()) * 1_000_000


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database of each kind."""
    opened = await open_database(database_url, connect_seconds=10)
    yield opened
    await opened.close()


@pytest.fixture
def kept(database: Database) -> Budgets:
    """The budgets in it, at noon of a day, with ids that count."""
    numbers = itertools.count(1)
    return Budgets(database, wall=NOON.timestamp, new_id=lambda prefix: f"{prefix}_{next(numbers)}")


async def use(
    database: Database,
    line: str,
    *,
    at: datetime = NOON,
    tags: str = "{}",
    key_id: str = "key_1",
    tenant: str = "acme",
    spent: int = 0,
    held: int = 0,
    open_: int = 0,
    writer: str = "w_1",
) -> None:
    """Put a line of usage where the journal keeps them."""
    values = {
        "writer": writer,
        "line": line,
        "day": micros(at) // DAY,
        "tenant": tenant,
        "key_id": key_id,
        "deployment": "eu",
        "provider": "runflow",
        "model": "sam-3",
        "region": "eu",
        "tags": tags,
        **dict.fromkeys(("attempts", "settled", "released", "held", "open", "cost_microusd"), 0),
        "charged_microusd": spent,
        "held_microusd": held,
        "open_microusd": open_,
    }
    await database.write(lambda connection: connection.execute(insert(usage_lines).values(values)))


async def add_key(database: Database, key_id: str, tenant: str, *, replaces: str | None = None) -> None:
    """Put a key where keys are kept."""
    key: dict[str, Any] = {
        "id": key_id,
        "tenant": tenant,
        "name": "",
        "prefix": "mg_",
        "sha256": key_id,
        "scopes": "segment",
    }
    key |= {"created_at": 0, "replaces": replaces}
    await database.write(lambda connection: connection.execute(insert(api_keys).values(key)))


async def windows(database: Database, budget_id: str) -> dict[int, tuple[int, int, int, int]]:
    """Return limit, allowed, spent and reserved by the first moment of each period."""
    query = select(budget_windows).where(budget_windows.c.budget_id == budget_id)
    rows = await database.read(lambda connection: connection.execute(query).all())
    return {
        row.starts_at: (row.limit_microusd, row.allowed_microusd, row.spent_microusd, row.reserved_microusd)
        for row in rows
    }


async def test_a_budget_that_is_set_is_listed(kept: Budgets) -> None:
    """What is set comes back as it was set, with nothing used and the moment at which it resets."""
    budget = await kept.set(wanted_budget(tenant="acme", limit_usd="100.00"))
    assert budget == Budget(
        id="bud_1",
        tenant="acme",
        scope=BudgetScope.TENANT,
        subject="acme",
        period=BudgetPeriod.MONTH,
        hard=True,
        limit=Money(100_000_000),
        created_at=micros(NOON),
        spent=Money(0),
        reserved=Money(0),
        resets_at=micros(datetime(2026, 12, 1, tzinfo=UTC)),
    )
    assert [budget] == await kept.page()
    assert Money(100_000_000) == budget.left


async def test_a_period_ends_at_midnight_utc(kept: Budgets) -> None:
    """A day ends at the next midnight, a month at the first of the next one, and a total never."""
    ends = {
        period: (await kept.set(wanted_budget(tenant="acme", period=period, limit_usd="1"))).resets_at
        for period in ("day", "month", "total")
    }
    tomorrow, december = datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    assert {"day": micros(tomorrow), "month": micros(december), "total": None} == ends


async def test_setting_it_again_changes_the_limit(kept: Budgets, database: Database) -> None:
    """The same subject, period and hardness is the same budget; its running window has the new limit, too."""
    first = await kept.set(wanted_budget(tenant="acme", limit_usd="1"))
    second = await kept.set(wanted_budget(tenant="acme", limit_usd="2.5"))
    assert (first.id, Money(2_500_000)) == (second.id, second.limit)
    assert [second] == await kept.page()
    start = micros(datetime(2026, 11, 1, tzinfo=UTC))
    assert {start: (2_500_000, 2_500_000, 0, 0)} == await windows(database, first.id)


async def test_budgets_that_differ_stand_side_by_side(kept: Budgets) -> None:
    """Periods, hardness and subjects make budgets of their own."""
    made = [
        await kept.set(wanted_budget(tenant="acme", limit_usd="9", period=period, hard=hard, tag=tag))
        for period, hard, tag in itertools.product(("day", "total"), (True, False), (None, "team=search", "team=ads"))
    ]
    assert 12 == len({budget.id for budget in made})
    assert {budget.id for budget in made} == {budget.id for budget in await kept.page()}


async def test_what_was_spent_before_counts(kept: Budgets, database: Database) -> None:
    """A new budget holds what its tenant has spent and reserved in the running period, over all writers."""
    await use(database, "a", spent=700, held=20, open_=50)
    await use(database, "a", spent=-100, open_=-30, writer="w_2")
    await use(database, "b", spent=11, key_id="key_2", at=datetime(2026, 11, 1, tzinfo=UTC))
    await use(database, "c", spent=5000, at=datetime(2026, 10, 31, 23, tzinfo=UTC))
    await use(database, "d", spent=9000, tenant="other")
    found = {
        period: await kept.set(wanted_budget(tenant="acme", period=period, limit_usd="1"))
        for period in ("day", "month", "total")
    }
    assert {"day": (600, 40), "month": (611, 40), "total": (5611, 40)} == {
        period: (budget.spent.microusd, budget.reserved.microusd) for period, budget in found.items()
    }
    assert Money(1_000_000 - 651) == found["month"].left


async def test_earlier_periods_have_their_windows(kept: Budgets, database: Database) -> None:
    """Every period that was spent in has a window, for what was reserved in it and ends later."""
    await use(database, "a", spent=5, open_=7, at=datetime(2026, 10, 31, tzinfo=UTC))
    await use(database, "b", spent=0, at=datetime(2026, 9, 1, tzinfo=UTC))
    await use(database, "c", spent=2_000_000, at=datetime(2026, 2, 3, tzinfo=UTC))
    budget = await kept.set(wanted_budget(tenant="acme", limit_usd="1"))
    assert {
        micros(datetime(2026, 2, 1, tzinfo=UTC)): (1_000_000, 2_000_000, 2_000_000, 0),
        micros(datetime(2026, 10, 1, tzinfo=UTC)): (1_000_000, 1_000_000, 5, 7),
        micros(datetime(2026, 11, 1, tzinfo=UTC)): (1_000_000, 1_000_000, 0, 0),
    } == await windows(database, budget.id)


async def test_a_keys_budget_counts_that_key(kept: Budgets, database: Database) -> None:
    """A key's budget counts what was spent with it alone."""
    await add_key(database, "key_1", "acme")
    await use(database, "a", spent=3)
    await use(database, "b", spent=4, key_id="key_2")
    budget = await kept.set(wanted_budget(tenant="acme", key_id="key_1", limit_usd="1"))
    assert (BudgetScope.KEY, "key_1", Money(3)) == (budget.scope, budget.subject, budget.spent)


async def test_a_tags_budget_counts_that_tag(kept: Budgets, database: Database) -> None:
    """A tag's budget counts what carries exactly it, whatever else it carries, and nothing of other tenants."""
    await use(database, "a", spent=1, tags='{"team":"a \\"b\\" = ü%_"}')
    await use(database, "b", spent=2, tags='{"env":"x","team":"a \\"b\\" = ü%_"}')
    await use(database, "c", spent=4, tags='{"team":"a \\"b\\" = ü%_","env":"y"}')
    await use(database, "d", spent=8, tags='{"xteam":"a \\"b\\" = ü%_"}')
    await use(database, "e", spent=16, tags='{"team":"A \\"B\\" = ü%_"}')
    await use(database, "f", spent=32, tags='{"team":"c"}')
    await use(database, "g", spent=64, tags='{"team":"a \\"b\\" = ü%_"}', tenant="other")
    budget = await kept.set(wanted_budget(tenant="acme", tag='team=a "b" = ü%_', limit_usd="1"))
    assert (BudgetScope.TAG, 'team=a "b" = ü%_', Money(7)) == (budget.scope, budget.subject, budget.spent)


async def test_a_limit_below_what_is_used_leaves_nothing(kept: Budgets, database: Database) -> None:
    """Lowered below what is used, a budget allows what is used and has nothing left; raised, it has room again."""
    await use(database, "a", spent=600_000, open_=100_000)
    start = micros(datetime(2026, 11, 20, tzinfo=UTC))
    budget = await kept.set(wanted_budget(tenant="acme", period="day", limit_usd="1"))
    assert {start: (1_000_000, 1_000_000, 600_000, 100_000)} == await windows(database, budget.id)
    lowered = await kept.set(wanted_budget(tenant="acme", period="day", limit_usd="0.5"))
    assert (Money(500_000), Money(0)) == (lowered.limit, lowered.left)
    assert {start: (500_000, 700_000, 600_000, 100_000)} == await windows(database, budget.id)
    raised = await kept.set(wanted_budget(tenant="acme", period="day", limit_usd="0.8"))
    assert Money(100_000) == raised.left
    assert {start: (800_000, 800_000, 600_000, 100_000)} == await windows(database, budget.id)


async def test_a_new_limit_leaves_past_periods_alone(kept: Budgets, database: Database) -> None:
    """A changed limit holds from the running period on, that of a clock which is ahead included."""
    days = [datetime(2026, 11, day, tzinfo=UTC) for day in (19, 20, 21)]
    for day in days:
        await use(database, f"{day}", spent=1, at=day)
    budget = await kept.set(wanted_budget(tenant="acme", period="day", limit_usd="1"))
    await kept.set(wanted_budget(tenant="acme", period="day", limit_usd="2"))
    assert [1_000_000, 2_000_000, 2_000_000] == [(await windows(database, budget.id))[micros(day)][0] for day in days]


async def test_a_removed_budget_is_gone_with_its_windows(kept: Budgets, database: Database) -> None:
    """After its removal nothing of a budget is left, and it cannot be removed twice."""
    budget = await kept.set(wanted_budget(tenant="acme", limit_usd="1"))
    stays = await kept.set(wanted_budget(tenant="other", limit_usd="1"))
    assert budget == await kept.remove(budget.id)
    assert await kept.remove(budget.id) is None
    assert [stays] == await kept.page()
    assert {} == await windows(database, budget.id)


async def test_budgets_are_listed_in_pages(kept: Budgets) -> None:
    """Pages follow one another by id, of all tenants or of one."""
    made = [
        await kept.set(wanted_budget(tenant=f"t{number % 2}", tag=f"n={number}", limit_usd="1")) for number in range(5)
    ]
    assert made[:2] == await kept.page(most=2)
    assert made[2:4] == await kept.page(most=2, after=made[1].id)
    assert made[4:] == await kept.page(most=2, after=made[3].id)
    assert made[1::2] == await kept.page(tenant="t1")


async def test_a_caller_has_the_budgets_that_bound_it(kept: Budgets, database: Database) -> None:
    """A caller's budgets are those of its tenant, of its key and of the tags it sends."""
    await add_key(database, "key_1", "acme")
    await add_key(database, "key_2", "acme")
    dollar = partial(wanted_budget, limit_usd="1")
    wanted = [
        dollar(tenant="acme"),
        dollar(tenant="acme", key_id="key_1"),
        dollar(tenant="acme", key_id="key_2"),
        dollar(tenant="acme", tag="team=search"),
        dollar(tenant="acme", tag="team=ads"),
        dollar(tenant="other"),
    ]
    made = [await kept.set(each) for each in wanted]
    assert [made[0], made[1], made[3]] == await kept.of_caller("acme", "key_1", [("team", "search")])


async def test_a_key_that_is_not_the_tenants_is_refused(kept: Budgets, database: Database) -> None:
    """A budget of a key that is unknown, or another tenant's, names the field and is not set."""
    await add_key(database, "key_7", "other")
    for key_id in ("key_7", "key_9"):
        with pytest.raises(InvalidRequest, match=f"has no key '{key_id}'") as refused:
            await kept.set(wanted_budget(tenant="acme", key_id=key_id, limit_usd="1"))
        assert "key_id" == refused.value.field
    assert [] == await kept.page()


async def test_an_earlier_secret_has_no_budget_of_its_own(kept: Budgets, database: Database) -> None:
    """What is spent with an earlier secret of a key counts against the key's budget, so that one has to be set."""
    await add_key(database, "key_8", "acme", replaces="key_7")
    with pytest.raises(InvalidRequest, match="earlier secret of the key 'key_7'") as refused:
        await kept.set(wanted_budget(tenant="acme", key_id="key_8", limit_usd="1"))
    assert "key_id" == refused.value.field


@pytest.mark.parametrize(
    ("usd", "told"),
    [
        ("0", "revoke the key instead"),
        ("0.000000", "revoke the key instead"),
        ("-1", "above zero"),
        ("1e30", "too large"),
        ("9223372.036855", "too large"),
        ("1.0000001", "six decimals at most"),
        ("NaN", "finite"),
        ("Infinity", "finite"),
        ("ten", "not a decimal number"),
        ("", "not a decimal number"),
    ],
)
def test_a_limit_that_is_none_is_refused(usd: str, told: str) -> None:
    """Nothing, less than nothing, too much, too fine and no number at all are refused by the field's name."""
    with pytest.raises(InvalidRequest, match=told) as refused:
        wanted_budget(tenant="acme", limit_usd=usd)
    assert "limit_usd" == refused.value.field


@pytest.mark.parametrize("usd", ["0.000001", "9223372.036854", "1e2", "100"])
def test_a_limit_within_the_ledgers_range_is_taken(usd: str) -> None:
    """From one micro-dollar to the largest amount of the ledger, a limit is exact."""
    assert Money.from_usd(usd) == wanted_budget(tenant="acme", limit_usd=usd).limit


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("tenant", {"tenant": ""}),
        ("tenant", {"tenant": "a\nb"}),
        ("tenant", {"tenant": "a:b"}),
        ("tenant", {"tenant": "x" * 101}),
        ("key_id", {"tenant": "a", "key_id": ""}),
        ("tag", {"tenant": "a", "key_id": "k", "tag": "a=b"}),
        ("tag", {"tenant": "a", "tag": "team"}),
        ("tag", {"tenant": "a", "tag": "=search"}),
        ("tag", {"tenant": "a", "tag": "a=\x00"}),
        ("tag", {"tenant": "a", "tag": "n" * 65 + "=v"}),
        ("tag", {"tenant": "a", "tag": "n=" + "v" * 257}),
        ("period", {"tenant": "a", "period": "week"}),
    ],
)
def test_a_budget_of_nothing_known_is_refused(field: str, given: dict[str, Any]) -> None:
    """A subject or a period that cannot be is refused by the field's name."""
    with pytest.raises(InvalidRequest) as refused:
        wanted_budget(**given, limit_usd="1")
    assert field == refused.value.field


@pytest.mark.needs("postgres")
async def test_spending_does_not_wait_long_for_a_budget(postgres_url: str) -> None:
    """A budget that cannot be counted within a second and a half is not set, and says so."""
    import asyncpg  # type: ignore[import-untyped]  # ships no types

    database = await open_database(postgres_url, connect_seconds=10)
    other = await asyncpg.connect(postgres_url)
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE entries IN ROW EXCLUSIVE MODE")
            with pytest.raises(LedgerUnavailable, match="lock timeout") as failed:
                await Budgets(database, wall=NOON.timestamp, new_id=str).set(wanted_budget(tenant="a", limit_usd="1"))
        assert failed.value.certain
        assert 0 == len(await other.fetch(str(select(budgets.c.id))))
    finally:
        await other.close()
        await database.close()
