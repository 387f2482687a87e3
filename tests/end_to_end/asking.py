"""A program that asks the gateway over HTTP, and holds every answer against the published shapes."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from pydantic import BaseModel

from gateway.api.schema import (
    DeploymentsShape,
    ProblemShape,
    QuoteShape,
    ReadyShape,
    SegmentationShape,
    UsageShape,
)

SHAPES: Mapping[str, type[BaseModel]] = {
    "/v1/segmentations": SegmentationShape,
    "/v1/quotes": QuoteShape,
    "/v1/deployments": DeploymentsShape,
    "/v1/usage": UsageShape,
    "/readyz": ReadyShape,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose form has been checked."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def attempts(self) -> list[tuple[str, str]]:
        """Whom the gateway asked, in order, and how each call ended."""
        return [(each["deployment"], each["outcome"]) for each in self.body.get("attempts", [])]

    @property
    def caches(self) -> list[str]:
        """What the cache did for each prompt."""
        return [each["cache"] for each in self.body["answers"]]

    @property
    def charged(self) -> int:
        """What it cost, in micro-dollars."""
        return self.body["cost"]["charged_microusd"]


class Caller:
    """A program with connections to one gateway."""

    def __init__(self, url: str, session: aiohttp.ClientSession, key: str | None = None) -> None:
        """Ask the gateway at *url*, with that key where a request shows none of its own."""
        self.url = url
        self._session = session
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    async def segment(self, body: Any, *, status: int | None = 200, headers: Mapping[str, str] | None = None) -> Reply:
        """Post a segmentation, and demand that status, if one is given."""
        return await self.send("POST", "/v1/segmentations", json=body, status=status, headers=headers)

    async def quote(self, body: Any, *, status: int = 200) -> Reply:
        """Ask for a quote, and demand that status."""
        return await self.send("POST", "/v1/quotes", json=body, status=status)

    async def get(self, path: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        """Read JSON, and demand that status."""
        return await self.send("GET", path, status=status, headers=headers)

    async def text(self, path: str, *, headers: Mapping[str, str] | None = None) -> str:
        """Read what is no JSON."""
        async with self._session.get(self.url + path, headers={**self._headers, **(headers or {})}) as answer:
            assert answer.status == 200
            return await answer.text()

    async def send(self, method: str, path: str, *, status: int | None, **options: Any) -> Reply:
        """Send a request, demand that status, and check the form of what comes."""
        headers = {**self._headers, **(options.pop("headers", None) or {})}
        async with self._session.request(method, self.url + path, headers=headers, **options) as answer:
            assert status in {answer.status, None}, await answer.text()
            reply = Reply(answer.status, answer.headers, await answer.json(content_type=None))
        assert reply.headers["X-Request-Id"]
        problem = reply.headers["Content-Type"] == "application/problem+json"
        assert problem == (reply.status >= 400 and path != "/readyz")
        if problem:
            check_problem(reply.body, reply.headers["X-Request-Id"])
            assert reply.status == reply.body["status"]
        elif (shape := SHAPES.get(path.partition("?")[0])) is not None:
            shape.model_validate(reply.body)
            for part in [*reply.body.get("answers", ()), *reply.body.get("questions", ())]:
                if "error" in part:
                    check_problem(part["error"], reply.headers["X-Request-Id"])
        if path == "/v1/segmentations" and not problem:
            check_cost(reply)
        return reply

    async def metrics(self) -> dict[str, float]:
        """Return every series of /metrics with its value."""
        lines = [
            line.rpartition(" ") for line in (await self.text("/metrics")).splitlines() if not line.startswith("#")
        ]
        return {series: float(value) for series, _, value in lines}

    async def until_in_flight(self, deployment: str, calls: int) -> None:
        """Return as soon as *calls* calls to a deployment are under way."""
        async with asyncio.timeout(60):
            while True:
                listed = (await self.get("/v1/deployments")).body["deployments"]
                if calls == next(each["in_flight"] for each in listed if each["name"] == deployment):
                    return


def check_problem(body: dict[str, Any], request_id: str) -> None:
    """Hold a problem against RFC 9457 and our own members: known ones only, and the id that header and log have."""
    problem = ProblemShape.model_validate(body)
    assert problem.model_extra == {}
    assert request_id == problem.request_id
    assert f"urn:maskgate:problem:{problem.code}" == problem.type
    assert len(problem.detail) > 10


def check_cost(reply: Reply) -> None:
    """Demand that headers and body tell the same about cost, origin and cache."""
    body = reply.body
    good = [each for each in body["answers"] if "error" not in each]
    assert reply.headers["Maskgate-Charge-Microusd"] == str(body["cost"]["charged_microusd"])
    assert reply.headers["Maskgate-Deployment"] == ", ".join(each["deployment"] for each in good)
    assert reply.headers["Maskgate-Cache"] == ", ".join(each["cache"] for each in good)
    timing = ", ".join(f"{name};dur={value}" for name, value in body["timing_ms"].items())
    assert reply.headers["Server-Timing"] == timing
    charges = [each["charge_microusd"] for each in body["attempts"]]
    assert body["cost"]["charged_microusd"] == sum(charges)
    assert body["cost"]["held_microusd"] == sum(each.get("held_microusd", 0) for each in body["attempts"])
    dollars, _, micros = body["cost"]["charged_usd"].partition(".")
    assert int(dollars) * 1_000_000 + int(micros) == body["cost"]["charged_microusd"]


def text(phrase: str) -> dict[str, Any]:
    """Return a text prompt."""
    return {"kind": "text", "text": phrase}


def on(*deployments: str, **wishes: Any) -> dict[str, Any]:
    """Return a route that names deployments, asked in the operator's order."""
    return {"strategy": "priority", "deployments": list(deployments), **wishes}
