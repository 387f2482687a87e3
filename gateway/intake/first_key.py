"""
The first API key: made at the first start on a new database, so that somebody can ask and make further keys.

It may do everything, belongs to the tenant `default`, and is kept in the state folder (`store/key_file.py`), where the
commands on the same machine find it. It is written nowhere else: what stands on standard error ends up in collectors of
logs, so it is shown there only to a terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gateway.intake.callers import new_key
from gateway.request import Scope
from gateway.store import KeyExists, Keys, fingerprint
from gateway.store.key_file import KeyFile, key_file_prepared
from gateway.store.keys import SHOWN_CHARACTERS, Grant

FIRST_TENANT = "default"
FIRST_KEY_ID = "key_first"

REMEDY = "let the folder be written, or make a key: maskgate keys create --tenant T --scope admin"


async def issue_first_key(keys: Keys, folder: Path, show: Callable[[str], None], log: Any) -> None:
    """
    Make the first key where there is none, keep it in the state folder, and show it this once.

    Of several processes that start at once, one makes it, and that one keeps and shows it. Where the folder cannot be
    written no key is made: `maskgate keys create` makes one on the database.

    Args:
        keys: the store.
        folder: the state folder.
        show: shows the key to whoever has started the gateway.
        log: is told where the key is kept, or that there is none.

    Raises:
        LedgerUnavailable: there is no key, or nobody knows.
    """
    if await keys.any_key():
        return
    key = new_key()
    with ExitStack() as stack:
        try:
            file = stack.enter_context(key_file_prepared(folder, key))
        except OSError as error:
            log.warning("no_first_key", folder=str(folder), reason=str(error), remedy=REMEDY)
            return
        if not await _added(keys, key, file):
            return
    log.info("first_key_made", key_id=FIRST_KEY_ID, tenant=FIRST_TENANT, file=str(file.place))
    show(key)


async def _added(keys: Keys, key: str, file: KeyFile) -> bool:
    """Make the key good, and keep it; False where another process has been first."""
    try:
        await keys.add_key(
            FIRST_KEY_ID,
            tenant=FIRST_TENANT,
            sha256=fingerprint(key),
            prefix=key[:SHOWN_CHARACTERS],
            name="made at the first start",
            grant=Grant(frozenset(Scope)),
        )
    except KeyExists:
        return False
    file.keep()
    return True
