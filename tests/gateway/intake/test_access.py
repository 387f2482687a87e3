"""What a key's scopes let its caller do."""

from __future__ import annotations

import pytest

from gateway.intake.access import require
from gateway.intake.callers import KEYLESS
from gateway.problems import Forbidden
from gateway.request import Caller, Scope


@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_and_admin_let_through(scope: Scope) -> None:
    """Whoever has the scope may, and an administrator may everything."""
    require(Caller("acme", "key_1", frozenset({scope})), scope)
    require(Caller("acme", "key_1", frozenset({Scope.ADMIN})), scope)


@pytest.mark.parametrize("scope", [Scope.SEGMENT, Scope.USAGE])
def test_another_scope_does_not(scope: Scope) -> None:
    """The refusal names the scope that is needed, the key, and what it has."""
    with pytest.raises(Forbidden, match=f"the scope admin; key_1 has {scope}.*--scope admin"):
        require(Caller("acme", "key_1", frozenset({scope})), Scope.ADMIN)
    (missing,) = {Scope.SEGMENT, Scope.USAGE} - {scope}
    with pytest.raises(Forbidden, match=f"the scope {missing}; key_1 has {scope}"):
        require(Caller("acme", "key_1", frozenset({scope})), missing)


def test_without_a_key_one_may_spend_and_read_but_not_administer() -> None:
    """A program on this machine is no administrator."""
    require(KEYLESS, Scope.SEGMENT)
    require(KEYLESS, Scope.USAGE)
    with pytest.raises(Forbidden):
        require(KEYLESS, Scope.ADMIN)
