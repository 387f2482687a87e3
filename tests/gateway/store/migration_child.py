"""
An upgrade that stops in the middle, to be killed there: it says so on stdout and waits for ever.

Arguments: the database's URL, and which of the statements that carry entries over is the one to stop at.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from sqlalchemy import Engine, event

from gateway.store.opening import upgrade_database


def main(url: str, stop_at: int) -> None:
    """Upgrade, and stop after that many pages."""
    carried = 0

    def stop(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        nonlocal carried
        carried += statement.startswith("INSERT INTO entries")
        if carried == stop_at:
            os.write(1, b"in the middle\n")
            os.read(0, 1)

    event.listen(Engine, "after_cursor_execute", stop)
    asyncio.run(upgrade_database(url))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
