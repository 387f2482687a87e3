"""What W5 asks the gateway: numbered questions, when a breaker opened, and a fresh pair of deployments."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.benchmarks import question
from tests.benchmarks.contender import WrongAnswer
from tests.benchmarks.maskgate import Gateway

ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer, as its caller sees it."""

    outcome: str
    """`answered` for the right mask; the problem's code, or what broke, for everything else."""
    attempted: tuple[str, ...] = ()
    """The deployments that were called, in order."""


class Asking:
    """A caller of the gateway."""

    def __init__(self, gateway: Gateway, configuration: Path, session: aiohttp.ClientSession) -> None:
        """Ask *gateway*, which was started with the *configuration* file."""
        self._gateway = gateway
        self._configuration = configuration
        self._session = session
        self._headers = {"Authorization": gateway.authorization, "Content-Type": "application/json"}
        asked = json.loads(gateway.body.read_bytes())
        asked["route"] = {"strategy": "priority"}
        asked["prompts"] = [{"kind": "text", "text": f"{question.PROMPT} #"}]
        self._before_number, _, self._after_number = json.dumps(asked).encode().partition(b"#")

    async def ask(self, number: int) -> Seen:
        """Ask the question of that number; its prompt holds the number, which upstream is all that is left of it."""
        body = b"%b%d%b" % (self._before_number, number, self._after_number)
        try:
            async with self._session.post(
                f"{self._gateway.base_url}/v1/segmentations", data=body, headers=self._headers
            ) as answer:
                return seen(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as broken:
            return Seen(type(broken).__name__)

    async def opened(self) -> dict[str, float]:
        """Return when each breaker that is open now had opened, in monotonic seconds, by deployment."""
        asked = await self._json("GET", "/v1/deployments")
        now = time.monotonic()
        health = {each["name"]: each["health"] for each in asked["deployments"]}
        return {name: now - each["open_seconds"] for name, each in health.items() if each["state"] != "closed"}

    async def usage(self) -> dict[str, Any]:
        """Return the ledger's sums."""
        total: dict[str, Any] = (await self._json("GET", "/v1/usage"))["total"]
        return total

    async def take_on(self, endpoints: Mapping[str, str]) -> None:
        """
        Have the gateway know these deployments and no others, with breakers that have seen nothing.

        Args:
            endpoints: by name, in the order in which they are asked.
        """
        settings = yaml.safe_load(self._configuration.read_text(encoding="utf-8"))
        like = settings["deployments"][0]
        settings["deployments"] = [
            {**like, "name": name, "endpoint": endpoint, "priority": place}
            for place, (name, endpoint) in enumerate(endpoints.items(), start=1)
        ]
        self._configuration.write_text(yaml.safe_dump(settings), encoding="utf-8")
        await self._json("POST", "/admin/v1/reload")
        listed = (await self._json("GET", "/v1/deployments"))["deployments"]
        if {each["name"] for each in listed} != set(endpoints):
            raise WrongAnswer(f"after a reload maskgate has {[each['name'] for each in listed]}, not {[*endpoints]}")

    async def _json(self, method: str, path: str) -> dict[str, Any]:
        async with self._session.request(method, self._gateway.base_url + path, headers=self._headers) as answer:
            if answer.status != 200:
                raise WrongAnswer(f"{path} answers {answer.status}: {(await answer.text())[:400]}")
            told: dict[str, Any] = await answer.json()
            return told


def seen(status: int, body: bytes) -> Seen:
    """Return what an answer says."""
    told = json.loads(body)
    attempted = tuple(each["deployment"] for each in told.get("attempts", ()))
    if status != 200:
        return Seen(told["code"], attempted)
    right = [instance["area"] for instance in told["instances"]] == [question.area()]
    return Seen(ANSWERED if right else "wrong mask", attempted)


@asynccontextmanager
async def asking(gateway: Gateway, configuration: Path) -> AsyncIterator[Asking]:
    """Open connections to the gateway, as many as are needed, until the block ends."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=120)
    ) as session:
        yield Asking(gateway, configuration, session)
