"""
The client: one method for each call of the API.

It repeats nothing by itself. A call that was lost may have been charged, so whether to ask again is its caller's
decision; failover between providers is the gateway's work.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import orjson

from gateway.client.answers import Answer, read_answer
from gateway.client.deployments import DeploymentState, read_deployments
from gateway.client.entries import LedgerEntry, LedgerFilter, read_ledger
from gateway.client.errors import GatewayUnreachable, Problem, read_problem
from gateway.client.quotes import Quote, read_quote
from gateway.client.requests import Options, request_json
from gateway.client.usages import Usage, joined, read_usage
from providers.contract import Prompt

T = TypeVar("T")

#: Seconds that an answer may come after the deadline that was sent, for the way there and back.
ROUND_TRIP_SECONDS = 15.0

#: Lines and entries of one page: the most that the gateway gives.
USAGE_LINES = "10000"
LEDGER_ENTRIES = "1000"

#: Seconds that the gateway gives a request which names no deadline.
DEADLINE_SECONDS = 30.0


class Client:
    """
    A gateway, over HTTP. Use it as an asynchronous context manager.

    ```python
    async with Client("http://127.0.0.1:8080") as gateway:
        answer = await gateway.segment(Path("shoes.jpg").read_bytes(), [TextPrompt("left shoe")])
    ```
    """

    def __init__(
        self, base_url: str, key: str | None = None, *, round_trip_seconds: float = ROUND_TRIP_SECONDS
    ) -> None:
        """
        Name the gateway.

        Args:
            base_url: as `http://127.0.0.1:8080`, without a path.
            key: an API key; None where the gateway asks for none, which it does on loopback alone.
            round_trip_seconds: how long after its deadline an answer is waited for.
        """
        self._base_url = base_url.rstrip("/")
        self._round_trip_seconds = round_trip_seconds
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self._session = aiohttp.ClientSession(headers=self._headers, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def segment(self, image: bytes | str, prompts: Sequence[Prompt], *, options: Options | None = None) -> Answer:
        """
        Ask for masks, and wait for them.

        Args:
            image: the encoded file, or the URL from which the gateway fetches it.
            prompts: 1 to 16; coordinates in pixels of the upright picture, origin top-left.
            options: everything else.

        Raises:
            Problem: the gateway says why there is no answer.
            GatewayUnreachable: nothing came back. A provider may have been paid all the same.
        """
        return self._as(read_answer, await self._ask("/v1/segmentations", image, prompts, options or Options()))

    async def quote(self, image: bytes | str, prompts: Sequence[Prompt], *, options: Options | None = None) -> Quote:
        """
        Ask what the same request would cost, and where it would go. Spends nothing.

        Raises:
            ClientError: as `segment` does.
        """
        return self._as(read_quote, await self._ask("/v1/quotes", image, prompts, options or Options()))

    async def deployments(self) -> tuple[DeploymentState, ...]:
        """
        Return every deployment, with its price and its health.

        Raises:
            ClientError: as `segment` does.
        """
        return self._as(read_deployments, await self._call("GET", "/v1/deployments"))

    async def usage(
        self,
        *,
        by: str = "",
        since: str | None = None,
        until: str | None = None,
        deployment: str | None = None,
        tags: Sequence[str] = (),
        tenant: str | None = None,
        key_id: str | None = None,
    ) -> Usage:
        """
        Return what was spent, all lines of it, however many pages they come in.

        Args:
            by: what the report is divided by, with commas, as `deployment,day,tag:team`; empty for the sum alone.
            since: ISO date or moment, inclusive.
            until: ISO date or moment, exclusive.
            deployment: only this one.
            tags: only what carries all of these, each as `NAME:VALUE`.
            tenant: whose; None for the key's own. An administrator may name any, and `*` for all.
            key_id: only what this key has spent.

        Raises:
            ClientError: as `segment` does.
        """
        given = {
            "by": by or None,
            "since": since,
            "until": until,
            "deployment": deployment,
            "tenant": tenant,
            "key_id": key_id,
        }
        params = [(name, value) for name, value in given.items() if value is not None]
        params += [("tag", tag) for tag in tags]
        pages = [await self._usage_page(params)]
        while (cursor := pages[-1].next_cursor) is not None:
            pages.append(await self._usage_page([*params, ("cursor", cursor)]))
        return joined(pages)

    async def _usage_page(self, params: Sequence[tuple[str, str]]) -> Usage:
        return self._as(read_usage, await self._call("GET", "/v1/usage", params=[*params, ("limit", USAGE_LINES)]))

    async def ledger(
        self, wanted: LedgerFilter | None = None, *, oldest_first: bool = False
    ) -> AsyncIterator[LedgerEntry]:
        """
        Bring the ledger's entries, page by page, as many as are asked for.

        Args:
            wanted: which; None for all of the key's tenant.
            oldest_first: by the moment of the reservation; else the newest come first.

        Raises:
            ClientError: as `segment` does.
        """
        params = [*(wanted or LedgerFilter()).parameters(), ("limit", LEDGER_ENTRIES)]
        params.append(("order", "oldest" if oldest_first else "newest"))
        page = self._as(read_ledger, await self._call("GET", "/v1/ledger", params=params))
        while True:
            for entry in page.entries:
                yield entry
            if page.next_cursor is None:
                return
            following = [*params, ("cursor", page.next_cursor)]
            page = self._as(read_ledger, await self._call("GET", "/v1/ledger", params=following))

    async def _ask(
        self, path: str, image: bytes | str, prompts: Sequence[Prompt], options: Options
    ) -> Mapping[str, Any]:
        """Send a question: as JSON where the picture is a URL, else as a form with the picture's bytes in a part."""
        seconds = (options.deadline_seconds or DEADLINE_SECONDS) + self._round_trip_seconds
        if isinstance(image, str):
            body = orjson.dumps(request_json(image, prompts, options))
            return await self._call("POST", path, data=body, content_type="application/json", seconds=seconds)
        form = aiohttp.FormData()
        document = orjson.dumps(request_json(None, prompts, options)).decode()
        form.add_field("request", document, content_type="application/json")
        # A file object, since aiohttp warns of large bytes in one piece.
        form.add_field("image", io.BytesIO(image), filename="image", content_type="application/octet-stream")
        return await self._call("POST", path, data=form, seconds=seconds)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        data: bytes | aiohttp.FormData | None = None,
        content_type: str | None = None,
        params: Sequence[tuple[str, str]] = (),
        seconds: float = 30.0,
    ) -> Mapping[str, Any]:
        """Make one call and return its JSON."""
        if self._session is None:
            raise RuntimeError("use the client as a context manager: async with Client(…) as gateway")
        try:
            async with self._session.request(
                method,
                self._base_url + path,
                data=data,
                params=params,
                headers={"Content-Type": content_type} if content_type else None,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as response:
                body, status = await response.read(), response.status
        except TimeoutError as error:
            raise GatewayUnreachable(f"{self._base_url} has not answered within {seconds:g} seconds") from error
        except aiohttp.ClientError as error:
            raise GatewayUnreachable(f"{self._base_url} cannot be reached: {error}") from error
        return self._read(body, status)

    def _read(self, body: bytes, status: int) -> Mapping[str, Any]:
        """Return the JSON of a good answer, or raise the problem."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise self._unreadable(status, "not JSON") from error
        if not isinstance(document, dict):
            raise self._unreadable(status, "not a JSON object")
        if status >= 400:
            raise read_problem(document, status=status)
        return document

    def _as(self, read: Callable[[Mapping[str, Any]], T], document: Mapping[str, Any]) -> T:
        """Return what *read* makes of a good answer's JSON."""
        try:
            return read(document)
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable(200, f"{type(error).__name__}: {error}") from error

    def _unreadable(self, status: int, reason: str) -> Problem:
        return Problem(
            f"what answers at {self._base_url} does not speak Maskgate's API ({reason}, HTTP status {status})",
            status=status,
            code="unreadable_answer",
        )
