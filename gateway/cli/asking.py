"""Run one call of the client to its end, from a command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.cli.connection import gateway_at
from gateway.cli.failures import FAILED, NO_GATEWAY, CommandFailed
from gateway.client import Client, ClientError, GatewayUnreachable

T = TypeVar("T")


def ask(url: str | None, key: str | None, call: Callable[[Client], Awaitable[T]]) -> T:
    """
    Return what *call* gives, asked of the gateway at *url* (see `gateway_at`).

    Raises:
        CommandFailed: the gateway refused, or there is none.
    """

    async def asked(base_url: str) -> T:
        async with Client(base_url, key) as gateway:
            return await call(gateway)

    with gateway_at(url) as base_url:
        try:
            return asyncio.run(asked(base_url))
        except GatewayUnreachable as error:
            raise CommandFailed(str(error), exit_code=NO_GATEWAY) from error
        except ClientError as error:
            raise CommandFailed(str(error), exit_code=FAILED) from error
