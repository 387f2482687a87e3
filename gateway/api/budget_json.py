"""A budget in JSON: as an administrator sets it, and as it is shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from gateway.accounting.budget_words import moment
from gateway.accounting.budgets import Budget, BudgetPeriod, WantedBudget, wanted_budget
from gateway.api.schema import Shape
from gateway.intake.body import OR_NULL, Body, Name


class BudgetBody(Body):
    """How much may be spent: by a tenant, by one of its keys, or under one of its tags."""

    tenant: Name
    key_id: Name | None = Field(default=None, description="bound this key alone")
    tag: Annotated[str, StringConstraints(max_length=321)] | None = Field(
        default=None, description="bound what carries this tag alone, as NAME=VALUE", examples=["team=search"]
    )
    period: Annotated[BudgetPeriod, OR_NULL] = Field(
        default=BudgetPeriod.MONTH, description="days and months are those of UTC; `total` never resets"
    )
    limit_usd: Annotated[str, StringConstraints(max_length=40)] = Field(
        description="dollars above zero as a decimal string, six decimals at most", examples=["100.00"]
    )
    hard: Annotated[bool, OR_NULL] = Field(default=True, description="refuse what does not fit; a soft budget warns")

    def wanted(self) -> WantedBudget:
        """
        Return what is wanted.

        Raises:
            InvalidRequest: naming the field at fault.
        """
        return wanted_budget(
            tenant=self.tenant,
            key_id=self.key_id,
            tag=self.tag,
            period=self.period,
            limit_usd=self.limit_usd,
            hard=self.hard,
        )


class BudgetShape(Shape):
    """A budget, and how it stands in the running period."""

    object: Literal["budget"]
    id: str
    tenant: str
    scope: Literal["tenant", "key", "tag"]
    subject: str = Field(description="the tenant, the key's id, or the tag as NAME=VALUE")
    period: BudgetPeriod
    hard: bool
    limit_microusd: int
    limit_usd: str
    spent_microusd: int = Field(description="charged for what was reserved in this period")
    spent_usd: str
    reserved_microusd: int = Field(description="what open and held attempts of this period may still cost")
    reserved_usd: str
    left_microusd: int
    left_usd: str
    resets_at: str | None = Field(description="when the next period begins, UTC; null for `total`")
    created_at: str


class BudgetsShape(Shape):
    """A page of budgets."""

    object: Literal["list"]
    budgets: list[BudgetShape]
    next_cursor: str | None = Field(description="leads to the next page; null on the last one")


def budget_json(budget: Budget) -> dict[str, Any]:
    """Return a budget as JSON; see `BudgetShape`."""
    return {
        "object": "budget",
        "id": budget.id,
        "tenant": budget.tenant,
        "scope": budget.scope.value,
        "subject": budget.subject,
        "period": budget.period.value,
        "hard": budget.hard,
        "limit_microusd": budget.limit.microusd,
        "limit_usd": budget.limit.usd,
        "spent_microusd": budget.spent.microusd,
        "spent_usd": budget.spent.usd,
        "reserved_microusd": budget.reserved.microusd,
        "reserved_usd": budget.reserved.usd,
        "left_microusd": budget.left.microusd,
        "left_usd": budget.left.usd,
        "resets_at": None if budget.resets_at is None else moment(budget.resets_at),
        "created_at": moment(budget.created_at),
    }
