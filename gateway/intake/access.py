"""What a caller may do, by the scopes of its key."""

from __future__ import annotations

from gateway.problems import SEND_A_KEY, Forbidden, Unauthenticated
from gateway.request import Caller, Scope


def require(caller: Caller, scope: Scope) -> None:
    """
    Refuse a caller whose key does not reach that far; the scope `admin` reaches everywhere.

    Raises:
        Unauthenticated: there is no key, and it takes one.
        Forbidden: naming the scope that is needed.
    """
    if scope in caller.scopes or Scope.ADMIN in caller.scopes:
        return
    if caller.keyless:
        raise Unauthenticated(f"this needs a key with the scope {scope.value}: {SEND_A_KEY}", field="Authorization")
    has = " and ".join(each.value for each in Scope if each in caller.scopes)
    raise Forbidden(
        f"this needs a key with the scope {scope.value}; {caller.key_id} has {has or 'none'}. Ask whoever administers "
        f"this gateway for one: maskgate keys create --scope {scope.value}",
        field="Authorization",
    )
