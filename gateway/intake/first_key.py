"""The first API key: made at the first start on a new database, so that somebody can ask and make further keys."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from gateway.intake.callers import new_key
from gateway.request import Scope
from gateway.store import KeyExists, Keys, fingerprint
from gateway.store.keys import SHOWN_CHARACTERS, Grant

FIRST_TENANT = "default"
FIRST_KEY_ID = "key_first"


async def issue_first_key(keys: Keys, show: Callable[[str], None]) -> None:
    """
    Make the first key where there is none, and show it this once.

    Of several processes that start at once, one makes it, and that one shows it.

    Args:
        keys: the store.
        show: shows the key to the operator.

    Raises:
        LedgerUnavailable: there is no key, or nobody knows.
    """
    if await keys.any_key():
        return
    key = new_key()
    with suppress(KeyExists):
        await keys.add_key(
            FIRST_KEY_ID,
            tenant=FIRST_TENANT,
            sha256=fingerprint(key),
            prefix=key[:SHOWN_CHARACTERS],
            name="made at the first start",
            grant=Grant(frozenset(Scope)),
        )
        show(key)
