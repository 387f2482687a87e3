"""What a key's scopes let its caller do."""

from __future__ import annotations

import pytest

from gateway.intake.access import require
from gateway.intake.callers import KEYLESS
from gateway.problems import Forbidden, Unauthenticated
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


def test_without_a_key_one_may_ask_and_nothing_else() -> None:
    """A program on this machine without a key is told to send one where accounts and metrics are read."""
    require(KEYLESS, Scope.SEGMENT)
    for scope in set(Scope) - {Scope.SEGMENT}:
        with pytest.raises(Unauthenticated, match=f"scope {scope.value}: send your key as"):
            require(KEYLESS, scope)
