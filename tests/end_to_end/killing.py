"""A gateway that is killed and followed by another one, again and again: one ledger, one address, and gates between."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg  # type: ignore[import-untyped]  # ships no types

from gateway.serving import listen, url_of
from tests.end_to_end.asking import on, text
from tests.end_to_end.audit import ATTEMPTS
from tests.end_to_end.gates import HOST, CommitGate, Door, HttpGate, read_message
from tests.end_to_end.masks import bitmap_of
from tests.end_to_end.money_house import bearing, configured, deployment
from tests.end_to_end.upstreams import PATIENCE_SECONDS, Thing, Upstreams
from tests.end_to_end.zygote import Forked, Order, Zygote

PATH = "/v1/segmentations"
TENANT = "acme"
BUDGET_USD = "0.2"
#: How much further ahead the calendar of each next gateway is: all deadlines and leases of the one before are over.
AHEAD_SECONDS = 120.0
WEBHOOK_SECRET = "whsec_Zm9ydHktZm91ciBieXRlcyBvZiBhIHNlY3JldCB0aGF0IGlzIG5vbmU="
GATED = ("runflow-eu", "prodia")
#: What our own connections to PostgreSQL are called there.
WATCHING = "watching"


class Disk:
    """The ledger as it lies there, read behind the gateway's back over a connection that outlives it."""

    def __init__(self, connection: asyncpg.Connection | sqlite3.Connection) -> None:
        """Read over a connection."""
        self._connection = connection

    @classmethod
    async def open(cls, url: str) -> Disk:
        """Connect to a database."""
        if not url.startswith("sqlite:///"):
            return cls(await asyncpg.connect(url, server_settings={"application_name": WATCHING}))
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.row_factory = sqlite3.Row
        return cls(connection)

    async def rows(self, statement: str) -> list[dict[str, Any]]:
        """Return what a statement finds, or changes."""
        if isinstance(self._connection, sqlite3.Connection):
            return [dict(row) for row in self._connection.execute(statement)]
        return [dict(row) for row in await self._connection.fetch(statement)]

    async def attempts(self) -> list[dict[str, Any]]:
        """Return every attempt and how it has ended: `open` where it has not."""
        return [row | {"ended": row["ended"] or "open"} for row in await self.rows(ATTEMPTS)]

    async def until_alone(self) -> None:
        """Return as soon as PostgreSQL has noticed that whoever was killed is gone; SQLite notices at once."""
        if isinstance(self._connection, sqlite3.Connection):
            return
        others = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            f" AND application_name <> '{WATCHING}' AND backend_type = 'client backend'"
        )

        async def alone() -> bool:
            return not await self.rows(others)

        await until(alone)

    async def close(self) -> None:
        """Disconnect."""
        closing = self._connection.close()
        if closing is not None:
            await closing


@dataclass(frozen=True, slots=True)
class Asked:
    """A request under an Idempotency-Key, with the truth about its picture."""

    name: str
    """A tag of its attempts."""
    key: str
    deployment: str
    things: tuple[Thing, ...]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Got:
    """An answer as it came."""

    status: int
    replayed: bool
    body: bytes


class Receiver(Door):
    """Takes webhooks, and remembers them."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.ids: list[str] = []
        """Of what came, in its order."""
        self._kept_waiting: asyncio.Event | None = None

    def keep_waiting(self) -> asyncio.Event:
        """Have the next one without an answer; return what is set when it has come."""
        self._kept_waiting = asyncio.Event()
        return self._kept_waiting

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            lines = (await read_message(reader)).decode().splitlines()
            self.ids += [line.partition(":")[2].strip() for line in lines if line.lower().startswith("webhook-id:")]
            waiting, self._kept_waiting = self._kept_waiting, None
            if waiting is not None:
                waiting.set()
                await asyncio.Event().wait()  # until the connection is ended
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()


@dataclass(slots=True)
class Household:
    """One ledger, one address, and a gateway that is replaced whenever it is killed."""

    zygote: Zygote
    upstreams: Upstreams
    folder: Path
    url: str
    """Of the database, without a gate before it."""
    disk: Disk
    listener: socket.socket
    gates: Mapping[str, HttpGate]
    """Before the upstreams, by their names, before the `pictures`, and before the gateway's `callbacks`."""
    receiver: Receiver
    commits: CommitGate | None
    """Before PostgreSQL; None with SQLite."""
    configuration: str
    session: aiohttp.ClientSession
    gateway: Forked | None = None
    admin: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """That show the key of the tenant."""
    starts: int = 0
    kills: int = 0
    cut: set[str] = field(default_factory=set)
    """Attempts at Prodia that were open when a gateway was killed: nobody can ever tell what became of them."""
    locked: sqlite3.Connection | None = None

    @property
    def address(self) -> str:
        """The base URL of the gateway."""
        return url_of(self.listener)

    async def start(self) -> None:
        """Start a gateway, whose calendar is ahead of that of the one before."""
        url = self.url
        if self.commits is not None:
            server, _, database = self.url.rpartition("/")
            url = f"{server.rpartition(':')[0]}:{self.commits.port}/{database}"
        order = Order(self.configuration, url, str(self.folder), self.starts * AHEAD_SECONDS)
        self.starts += 1
        self.gateway = await self.zygote.gateway(order, self.listener)
        for key in self.gateway.shown_keys:
            self.admin = bearing(key)

    async def kill(self) -> None:
        """Kill the gateway, and make room for the next one."""
        self.strike()
        await self.clear()

    def strike(self) -> None:
        """Kill the gateway."""
        assert self.gateway is not None
        self.gateway.kill()
        self.gateway = None
        self.kills += 1

    async def clear(self) -> None:
        """
        Have all gates open again, once everybody who used the ledger is dead, and note what they have left open.

        Their leases are over for the next one, whose calendar is ahead. With PostgreSQL the server's clock decides,
        which is nobody's to set here; so they are made as old there as they would be by then.
        """
        for gate in self.gates.values():
            await gate.reset()
        if self.commits is not None:
            await self.commits.reset()
        await self.receiver.drop()
        if self.locked is not None:
            self.locked.close()
            self.locked = None
        await self.disk.until_alone()
        if self.commits is not None:
            await self.disk.rows("UPDATE leases SET expires_at = 0")
        left = [row for row in await self.disk.attempts() if row["ended"] == "open"]
        self.cut |= {row["attempt_id"] for row in left if row["provider"] == "prodia"}

    async def until_quiet(self) -> None:
        """Return as soon as nothing is open, and nothing on hold that a provider could be asked about."""

        async def quiet() -> bool:
            attempts = await self.disk.attempts()
            return not any(
                row["ended"] == "open" or (row["ended"] == "hold" and row["provider"] != "prodia") for row in attempts
            )

        await until(quiet)

    async def post(self, asked: Asked) -> Got:
        """Send a request."""
        headers = {**self.headers, "Idempotency-Key": asked.key}
        async with self.session.post(self.address + PATH, json=asked.body, headers=headers) as answer:
            return Got(answer.status, answer.headers.get("Idempotent-Replayed") == "true", await answer.read())

    async def administer(self, method: str, path: str, body: Any) -> dict[str, Any]:
        """Look after keys and budgets."""
        async with self.session.request(method, self.address + path, json=body, headers=self.admin) as answer:
            assert answer.status in {200, 201}, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    def asked(self, name: str, deployment_name: str, chance: random.Random, *, gated: bool = False) -> Asked:
        """Make a request about one thing of one of the smaller scenes, whose picture may lie behind its gate."""
        scene = self.upstreams.scene(chance.choice(["shapes", "shoes"]))
        phrase = chance.choice(sorted({each.name for each in scene.things if len(scene.named(each.name)) == 1}))
        port, gate = self.upstreams.sandbox.port, self.gates["pictures"].port
        body = {
            "image": {"url": scene.url.replace(f":{port}/", f":{gate}/") if gated else scene.url},
            "prompts": [text(phrase)],
            "route": on(deployment_name, deadline_seconds=60),
            "cache": {"mode": "skip"},
            "tags": {"of": name},
        }
        key = str(uuid.UUID(int=chance.getrandbits(128)))
        return Asked(name, key, deployment_name, tuple(scene.named(phrase)), body)

    async def remembered(self, asked: Asked) -> dict[str, Any] | None:
        """Return what is on disk under a request's key."""
        rows = await self.disk.rows(f"SELECT * FROM remembered_answers WHERE idempotency_key = '{asked.key}'")
        return rows[0] if rows else None

    async def attempts_of(self, asked: Asked) -> list[dict[str, Any]]:
        """Return the attempts made for a request, under whatever id."""
        return [row for row in await self.disk.attempts() if json.loads(row["tags"]).get("of") == asked.name]

    async def check_again(self, asked: Asked, before: Got | None, *, may_lack_money: bool = False) -> Got:
        """
        Send a request again, now that all is quiet, and hold the answer against what is on disk and was told before.

        An answer that is stored comes to the byte; a request that may have been billed is not made again; any other is
        made now, where there is money for it. In the end one chain of attempts at most is billed, and every mask is the
        true one.
        """
        row = await self.remembered(asked)
        ends = [
            each["ended"]
            for each in await self.attempts_of(asked)
            if row is not None and each["request_id"] == row["request_id"]
        ]
        again = await self.post(asked)
        if row is not None and row["status"] is not None:
            assert (row["status"], True, bytes(row["body"])) == (again.status, again.replayed, again.body)
        elif set(ends) - {"release"}:
            assert (409, "idempotency_conflict") == (again.status, json.loads(again.body)["code"]), again.body
            assert b"interrupted" in again.body
            assert before is None, "what was answered had been stored before"
        elif not (may_lack_money and again.status == 402):
            assert (200, False) == (again.status, again.replayed), again.body
        if before is not None:
            assert before.body == again.body
        if again.status == 200:
            assert_true(again.body, asked)
            twice = await self.post(asked)
            assert (200, True, again.body) == (twice.status, twice.replayed, twice.body)
        billed = [each for each in await self.attempts_of(asked) if each["ended"] != "release"]
        assert len(billed) <= 1, billed
        return again


@dataclass(slots=True)
class Play:
    """One request on its way to where its gateway is killed."""

    house: Household
    question: Asked
    seed: int
    asking: asyncio.Task[Got] | None = None

    @property
    def deployment(self) -> str:
        """The deployment that nobody but the question asks."""
        return self.question.deployment

    @property
    def gate(self) -> HttpGate:
        """The gate before it."""
        return self.house.gates[self.deployment]

    @property
    def pictures(self) -> HttpGate:
        """The gate before the question's picture."""
        return self.house.gates["pictures"]

    @property
    def callbacks(self) -> HttpGate:
        """The gate before the gateway, for callbacks."""
        return self.house.gates["callbacks"]

    @property
    def commits(self) -> CommitGate | None:
        """The gate before PostgreSQL."""
        return self.house.commits

    @property
    def receiver(self) -> Receiver:
        """Who takes webhooks."""
        return self.house.receiver

    def ask(self) -> None:
        """Send the question."""
        self.asking = asyncio.create_task(self.house.post(self.question))

    async def send_half(self) -> None:
        """Send half of the question, and return when the gateway waits for the rest."""
        body = json.dumps(self.question.body).encode()
        headers = {
            **self.house.headers,
            "Host": "gateway",
            "Idempotency-Key": self.question.key,
            "Content-Type": "application/json",
            "Content-Length": len(body),
            "Expect": "100-continue",
        }
        reader, writer = await asyncio.open_connection(*self.house.listener.getsockname())
        lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body[: len(body) // 2])
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")

        async def hear_the_end() -> Got:
            try:
                raise ConnectionError(f"cut after {await reader.read()!r}")
            finally:
                writer.transport.abort()

        self.asking = asyncio.create_task(hear_the_end())

    async def attempt(self) -> str:
        """Return the id of the question's open attempt, as soon as that is on disk."""
        found: list[str] = []

        async def reserved() -> bool:
            found[:] = [row["attempt_id"] for row in await self.house.attempts_of(self.question)]
            return bool(found)

        await until(reserved)
        assert len(found) == 1
        return found[0]

    async def until_ended(self, attempt_id: str, kind: str) -> None:
        """Return as soon as it can be read that an attempt has ended so."""
        ended = f"SELECT 1 FROM entries WHERE attempt_id = '{attempt_id}' AND kind = '{kind}'"
        await until(lambda: self._finds(ended), pause=0)

    async def until_stored(self) -> None:
        """Return as soon as it can be read that the answer is stored."""
        kept = f"SELECT 1 FROM remembered_answers WHERE idempotency_key = '{self.question.key}' AND status IS NOT NULL"
        await until(lambda: self._finds(kept), pause=0)

    async def is_claimed(self) -> bool:
        """Whether the question's key is taken, and nothing is stored under it."""
        row = await self.house.remembered(self.question)
        return row is not None and row["status"] is None

    def lock_file(self) -> None:
        """Have nobody else write to the ledger's file, until the gateway is dead."""
        locked = sqlite3.connect(self.house.url.removeprefix("sqlite:///"), isolation_level=None)
        locked.execute("BEGIN IMMEDIATE")
        self.house.locked = locked

    async def have_it_look(self) -> None:
        """Return when the gateway's loop has been round a few times, so that it has read what was sent to it before."""
        for _ in range(3):
            async with self.house.session.get(self.house.address + "/healthz") as answer:
                assert answer.status == 200

    async def set_soft_budget(self) -> None:
        """Set a budget that the question passes; whoever passes it is told of."""
        await self.house.administer(
            "PUT",
            "/admin/v1/budgets",
            {
                "tenant": TENANT,
                "tag": f"of={self.question.name}",
                "limit_usd": "0.000001",
                "period": "total",
                "hard": False,
            },
        )

    async def pass_soft_budget_again(self) -> None:
        """Ask something else under the same tag, and demand that the receiver is told under the id of before."""
        told = len(self.receiver.ids)
        another = Asked(
            self.question.name, str(uuid.uuid4()), self.deployment, self.question.things, self.question.body
        )
        assert (await self.house.post(another)).status == 200

        async def delivered() -> bool:
            return len(self.receiver.ids) > told

        await until(delivered)
        assert 1 == len(set(self.receiver.ids)), self.receiver.ids
        self.receiver.ids.clear()

    async def kill(self) -> None:
        """Kill the gateway before the kill that the stage is about."""
        await self.house.kill()

    async def start(self) -> None:
        """Start the next one."""
        await self.house.start()

    async def _finds(self, statement: str) -> bool:
        return bool(await self.house.disk.rows(statement))


@asynccontextmanager
async def household(
    zygote: Zygote,
    upstreams: Upstreams,
    folder: Path,
    url: str,
    *,
    called_back: bool = False,
    beside: Household | None = None,
) -> AsyncIterator[Household]:
    """
    Have everything but the first gateway, and end it all.

    A household *beside* another one goes through the same gates: an account is known by its endpoint, and a gateway
    believes nobody who knows nothing of an attempt that was made at another endpoint.
    """
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(HOST, 0))
        port = upstreams.sandbox.port
        ports = {"pictures": port, "runflow-eu": port + 1, "prodia": port + 3, "callbacks": listener.getsockname()[1]}
        gates = {name: HttpGate(upstream_port) for name, upstream_port in ports.items()} if beside is None else {}
        commits = None if url.startswith("sqlite") else CommitGate(int(url.rpartition("/")[0].rpartition(":")[2]))
        receiver = Receiver()
        for door in [*gates.values(), receiver, *([commits] if commits is not None else [])]:
            await door.open()
            stack.push_async_callback(door.close)
        if beside is not None:
            gates = dict(beside.gates)
        connections = aiohttp.TCPConnector(limit=0, force_close=True)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connections, timeout=aiohttp.ClientTimeout(total=110))
        )

        def amend(document: dict[str, Any]) -> None:
            for name in GATED:
                given = deployment(document, name)
                given["endpoint"] = given["endpoint"].replace(f":{ports[name]}", f":{gates[name].port}")
            document["fetch"]["allow"] += [f"{HOST}:{each.port}" for each in [*gates.values(), receiver]]
            document["limits"] = {"grace_seconds": 0}
            document["reconcile"] = {"every_seconds": 0.02, "first_seconds": 0, "absent_seconds": 0.05}
            document["budgets"] = {
                "webhook_url": f"http://{HOST}:{receiver.port}/told",
                "webhook_secret": WEBHOOK_SECRET,
            }
            if called_back:
                document["public_url"] = f"http://{HOST}:{gates['callbacks'].port}"
                for name in ("runflow-eu", "runflow-us"):
                    deployment(document, name)["options"] = {"poll_seconds": 60}

        disk = await Disk.open(url)
        stack.push_async_callback(disk.close)
        house = Household(
            zygote=zygote,
            upstreams=upstreams,
            folder=folder,
            url=url,
            disk=disk,
            listener=listener,
            gates=gates,
            receiver=receiver,
            commits=commits,
            configuration=configured(upstreams.sandbox, amend),
            session=session,
        )
        yield house
        if house.gateway is not None:
            house.strike()


async def open_house(house: Household, *, budget_usd: str = BUDGET_USD) -> None:
    """Start the first gateway, and make a key with a hard budget."""
    await house.start()
    wanted = {"tenant": TENANT, "scopes": ["segment", "usage"], "hard_budget": {"usd": budget_usd}}
    house.headers = bearing((await house.administer("POST", "/admin/v1/keys", wanted))["key"])


async def until(holds: Callable[[], Awaitable[bool]], *, pause: float = 0.005) -> None:
    """Return as soon as *holds* does; for what another process does, and tells nobody."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(pause)


def assert_true(answer: bytes, asked: Asked) -> None:
    """Demand the scene's own pixels for what was asked, each thing once."""
    found = sorted(bitmap_of(each["mask"]).tobytes() for each in json.loads(answer)["instances"])
    assert sorted(thing.bitmap.tobytes() for thing in asked.things) == found
