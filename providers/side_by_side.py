"""
Several pieces of work at the same time, of which one that fails ends the others.

`asyncio.TaskGroup` is not used for this: until Python 3.13 a group whose task fails while the group is left keeps its
request to cancel counted in the task around it, and `asyncio.timeout` then ends as cancelled instead of as too late: up
to 3.11.2 every later one in that task, and since then each one that was entered before the group.
Source: https://github.com/python/cpython/issues/102780 and https://github.com/python/cpython/issues/120284, read on
2026-12-01.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def side_by_side(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """
    Return what each piece of work returns, in their order; all have ended when this ends, however it ends.

    Raises:
        Exception: what the first that failed has raised; the others were cancelled.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
