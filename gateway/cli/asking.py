"""Run one call of the client to its end, from a command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.cli.connection import gateway_at, own_key
from gateway.cli.failures import FAILED, NO_GATEWAY, CommandFailed
from gateway.client import Client, ClientError, GatewayUnreachable

T = TypeVar("T")


def ask(url: str | None, key: str | None, call: Callable[[Client], Awaitable[T]]) -> T:
    """
    Return what *call* gives, asked of the gateway at *url* (see `gateway_at`).

    Args:
        url: the gateway's, if one was named.
        key: the API key, if one was named; None for the one in the state folder, where the gateway is on this machine.
        call: made once.

    Raises:
        CommandFailed: the gateway refused, there is none, or the key in the state folder must not be used.
    """

    async def asked(base_url: str) -> T:
        async with Client(base_url, key or own_key(base_url)) as gateway:
            return await call(gateway)

    with gateway_at(url) as base_url:
        try:
            return asyncio.run(asked(base_url))
        except GatewayUnreachable as error:
            raise CommandFailed(str(error), exit_code=NO_GATEWAY) from error
        except ClientError as error:
            raise CommandFailed(str(error), exit_code=FAILED) from error
