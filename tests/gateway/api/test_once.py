"""One key, one execution: in one process, in two, after a crash, and while the database is gone."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from fastapi import FastAPI
from sqlalchemy import func, insert, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.admission.idempotency import idempotency_key
from gateway.api.once import Keyed, Once, fingerprint_of
from gateway.api.reading import parse_json
from gateway.api.trace import Trace, problem_message
from gateway.ids import new_ids
from gateway.intake.body import SegmentationBody
from gateway.intake.picture import PictureSource
from gateway.problems import (
    GatewayError,
    IdempotencyConflict,
    IdempotencyMismatch,
    ImageUnreachable,
    InternalError,
    LedgerDown,
    Overloaded,
    ProviderFailure,
)
from gateway.serving import running
from gateway.store import BoundedDatabase, Database, LedgerUnavailable, Work, entries, open_database
from gateway.store.remembered import PART_BYTES, Remembered
from gateway.store.tables import remembered_answers
from gateway.telemetry.logs import make_logger
from providers.contract import Deadline, WorkersBusy
from providers.workers import ThreadWorkers

TTL = 3600.0
HEADERS = {
    "Cache-Control": "private, no-store",
    "Maskgate-Charge-Microusd": "5000",
    "RateLimit": '"default";r=5;t=1',
    "X-Request-Id": "req_first",
}


class Fallible:
    """A real database that can be taken away."""

    def __init__(self, database: Database) -> None:
        """Stand before a database."""
        self._database = database
        self.gone = False

    async def write(self, work: Work[Any]) -> Any:
        """Write, unless the database is gone."""
        self._check()
        return await self._database.write(work)

    async def read(self, work: Work[Any]) -> Any:
        """Read, unless the database is gone."""
        self._check()
        return await self._database.read(work)

    async def close(self) -> None:
        """Close the database."""
        await self._database.close()

    def _check(self) -> None:
        if self.gone:
            raise LedgerUnavailable("the connection is refused", certain=True)


@dataclass
class Replica:
    """One gateway process' part in it."""

    once: Once
    database: Fallible
    up: bool = True
    log: io.StringIO = field(default_factory=io.StringIO)


class HeldWork:
    """The work behind the key: it says when it was begun, waits until it may end, and counts."""

    def __init__(self, body: bytes = b'{"id":"seg_1"}', failure: Exception | None = None) -> None:
        """Answer with a body, or fail."""
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.times = 0
        self._body = body
        self._failure = failure

    async def __call__(self) -> Response:
        """Work."""
        self.times += 1
        self.begun.set()
        await self.may_end.wait()
        if self._failure is not None:
            raise self._failure
        return Response(self._body, media_type="application/json", headers=HEADERS)


def at_once(body: bytes = b'{"id":"seg_1"}', failure: Exception | None = None) -> HeldWork:
    """Return work that ends at once."""
    work = HeldWork(body, failure)
    work.may_end.set()
    return work


new_id = new_ids(time.time)


def asked(*, tenant: str = "acme", key: str = "k", fingerprint: str = "print", seconds: float = 30) -> Keyed:
    """Return a request with a key, as a new call brings it."""
    return Keyed(tenant, key, fingerprint, new_id("seg"), Deadline.after(seconds, time.monotonic))


Opened = Callable[..., Any]

#: Most of this is no matter of the database; `tests/gateway/store/test_remembered.py` has what is.
both = pytest.mark.parametrize(
    "url", ["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))], indirect=True
)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database: SQLite, where a test does not ask for `both`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    served: str = request.getfixturevalue("postgres_url")
    return served


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Opened]:
    """Open replicas on one database; `wall` may be wound on."""
    async with AsyncExitStack() as stack:

        async def open_replica(*, later: float = 0.0, sleep: Any = asyncio.sleep) -> Replica:
            database = Fallible(BoundedDatabase(await open_database(url), seconds=10))
            stack.push_async_callback(database.close)
            remembered = Remembered(database, lambda: time.time() + later, ttl_seconds=TTL)
            log = io.StringIO()
            once = Once(remembered, ledger_up=lambda: replica.up, new_id=new_id, sleep=sleep, log=make_logger(log))
            stack.push_async_callback(once.land, lambda: 5)
            replica = Replica(once, database, log=log)
            return replica

        yield open_replica


@pytest.fixture
async def here(opened: Opened) -> Replica:
    """One replica."""
    replica: Replica = await opened()
    return replica


@pytest.fixture
async def there(opened: Opened) -> Replica:
    """Another replica on the same database."""
    replica: Replica = await opened()
    return replica


async def attempt_made(replica: Replica, request_id: str, tenant: str = "acme") -> None:
    """Put a reservation of the request into the ledger: a provider is being asked."""
    at = round(time.time() * 1e6)
    row = {
        "attempt_id": new_id("att"),
        "phase": 0,
        "kind": "reserve",
        "amount_microusd": 50,
        "cost_microusd": 0,
        "at": at,
        "available_microusd": -50,
        "reserved_microusd": 50,
        "held_microusd": 0,
        "payable_microusd": 0,
        "margin_microusd": 0,
        "request_id": request_id,
        "prompt_index": 0,
        "tenant": tenant,
        "key_id": "key",
        "deployment": "eu",
        "provider": "runflow",
        "model": "sam-3",
        "region": "eu",
        "price_id": "eu@2026",
        "expires_at": at,
        "tags": "{}",
        "writer": "test",
        "sequence": at,
        "chain": "-",
    }
    await replica.database.write(lambda connection: connection.execute(insert(entries).values(row)))


async def rows(replica: Replica) -> int:
    """Count what is remembered."""
    count: int = await replica.database.read(
        lambda connection: connection.scalar(select(func.count()).select_from(remembered_answers))
    )
    return count


@both
async def test_a_replay_is_equal_to_the_byte(here: Replica, there: Replica) -> None:
    """The second answer has the first one's body, status and own headers, says so, and is made by nobody."""
    first = await here.once.answer(asked(), Trace("req_1"), at_once(b'{"id":"seg_1", "x": 1.50}'))
    assert "idempotent-replayed" not in first.headers
    for replica in (here, there):
        again = at_once(b"other")
        replay = await replica.once.answer(asked(), Trace("req_2"), again)
        assert (200, first.body, 0) == (replay.status_code, replay.body, again.times)
        expected = {
            "cache-control": "private, no-store",
            "content-length": "25",
            "content-type": "application/json",
            "idempotent-replayed": "true",
            "maskgate-charge-microusd": "5000",
        }
        assert expected == dict(replay.headers)


@both
async def test_fifty_twins_on_two_replicas_are_one_execution(here: Replica, there: Replica) -> None:
    """Fifty concurrent requests with one key are worked on once, and get fifty equal answers."""
    work = HeldWork()
    twins = [
        asyncio.create_task((here, there)[number % 2].once.answer(asked(), Trace(f"req_{number}"), work))
        for number in range(50)
    ]
    await work.begun.wait()
    work.may_end.set()
    answers = await asyncio.gather(*twins)
    assert 1 == work.times
    assert {b'{"id":"seg_1"}'} == {bytes(answer.body) for answer in answers}
    assert 49 == sum("idempotent-replayed" in answer.headers for answer in answers)


async def test_another_tenants_key_is_another_key(here: Replica) -> None:
    """What one tenant was answered is shown to no other one."""
    await here.once.answer(asked(), Trace("req_1"), at_once(b'{"secret":1}'))
    theirs = await here.once.answer(asked(tenant="globex"), Trace("req_2"), at_once(b'{"theirs":1}'))
    assert b'{"theirs":1}' == theirs.body


async def test_another_request_under_the_key_is_refused(here: Replica, there: Replica) -> None:
    """While the first is worked on and after it, on every replica, another request is a mismatch and is not made."""
    first, other = HeldWork(), at_once()
    begun = asyncio.create_task(here.once.answer(asked(), Trace("req_1"), first))
    await first.begun.wait()
    for replica in (here, there):
        with pytest.raises(IdempotencyMismatch) as refused:
            await replica.once.answer(asked(fingerprint="another"), Trace("req_2"), other)
        assert "Idempotency-Key" == refused.value.field
    first.may_end.set()
    await begun
    with pytest.raises(IdempotencyMismatch):
        await there.once.answer(asked(fingerprint="another"), Trace("req_2"), other)
    assert 0 == other.times


async def test_a_caller_who_hangs_up_finds_the_answer(here: Replica) -> None:
    """The work goes on without its caller, once, and the same request gets what came of it."""
    work = HeldWork()
    caller = asyncio.create_task(here.once.answer(asked(), Trace("req_1"), work))
    await work.begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    second = asyncio.create_task(here.once.answer(asked(), Trace("req_2"), work))
    work.may_end.set()
    answer = await second
    assert (b'{"id":"seg_1"}', "true", 1) == (answer.body, answer.headers["idempotent-replayed"], work.times)


async def test_a_problem_before_any_attempt_leaves_the_key_free(here: Replica, there: Replica) -> None:
    """Each of those who waited is told, nothing is kept, and the next one is worked on."""
    failing = HeldWork(failure=ImageUnreachable("no file came", field="image.url"))
    twins = [asyncio.create_task(here.once.answer(asked(), Trace("req"), failing)) for _ in range(2)]
    await failing.begun.wait()
    failing.may_end.set()
    outcomes = await asyncio.gather(*twins, return_exceptions=True)
    assert [ImageUnreachable, ImageUnreachable] == [type(outcome) for outcome in outcomes]
    assert (1, 0) == (failing.times, await rows(here))
    answer = await there.once.answer(asked(), Trace("req_2"), at_once())
    assert "idempotent-replayed" not in answer.headers


async def test_a_problem_after_an_attempt_is_kept(here: Replica, there: Replica) -> None:
    """Once a provider was asked its failure is the key's answer, and the log line has its code."""
    request, trace = asked(), Trace("req_1")
    problem = ProviderFailure("eu: 500", retry_after_seconds=7)

    async def fail() -> Response:
        await attempt_made(here, request.answer_id)
        raise problem

    with pytest.raises(ProviderFailure) as raised:
        await here.once.answer(request, trace, fail)
    assert raised.value is problem
    _, _, body = problem_message(problem, "req_1")
    again, later = at_once(), Trace("req_2")
    replay = await there.once.answer(asked(), later, again)
    assert (502, body, 0) == (replay.status_code, replay.body, again.times)
    assert ("application/problem+json", "true") == (
        replay.headers["content-type"],
        replay.headers["idempotent-replayed"],
    )
    assert "retry-after" not in replay.headers, "the same key will never be answered otherwise"
    assert ("provider_failed", request.answer_id, 0) == (later.outcome, later.answer_id, later.charged_microusd)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (WorkersBusy("full"), Overloaded),
        (LedgerUnavailable("gone", certain=True), LedgerDown),
        (KeyError("x"), InternalError),
    ],
)
async def test_whatever_breaks_after_an_attempt_is_not_made_again(
    here: Replica, broken: Exception, told: type[GatewayError]
) -> None:
    """A fault between the provider's answer and ours is kept like any other: the call may have been billed."""
    request = asked()

    async def break_down() -> Response:
        await attempt_made(here, request.answer_id)
        raise broken

    with pytest.raises(told):
        await here.once.answer(request, Trace("req_1"), break_down)
    again = at_once()
    replay = await here.once.answer(asked(), Trace("req_2"), again)
    assert (told.code, 0) == (orjson.loads(replay.body)["code"], again.times)


async def test_a_fault_that_nobody_foresaw_is_logged(here: Replica) -> None:
    """Its trace is in the log under the request's id, and the key is free where no attempt was made."""
    with pytest.raises(InternalError):
        await here.once.answer(asked(), Trace("req_1"), at_once(failure=KeyError("lost")))
    (line,) = [orjson.loads(line) for line in here.log.getvalue().splitlines()]
    assert ("request_broke", "req_1") == (line["event"], line["request_id"])
    assert "KeyError: 'lost'" in line["exception"]
    assert 0 == await rows(here)


@both
async def test_an_interrupted_request_is_not_made_again(here: Replica, opened: Opened) -> None:
    """When the first died after a call was made, the key is used up, and the problem says what is on hold."""
    request = asked()
    work = HeldWork()
    caller = asyncio.create_task(here.once.answer(request, Trace("req_1"), work))
    await work.begun.wait()
    await attempt_made(here, request.answer_id)
    await here.once.land(lambda: 0)  # the process ends with the work half done
    with pytest.raises(asyncio.CancelledError):
        await caller
    later: Replica = await opened(later=60)
    again = at_once()
    with pytest.raises(IdempotencyConflict, match=rf"\({request.answer_id}\).*0 are charged and 1 on hold"):
        await later.once.answer(asked(), Trace("req_2"), again)
    assert 0 == again.times


async def test_a_request_that_died_before_any_call_is_made(here: Replica, opened: Opened) -> None:
    """When the first died without a call, the next one after its lease is worked on."""
    work = HeldWork()
    caller = asyncio.create_task(here.once.answer(asked(), Trace("req_1"), work))
    await work.begun.wait()
    await here.once.land(lambda: 0)
    with pytest.raises(asyncio.CancelledError):
        await caller
    later: Replica = await opened(later=60)
    again = at_once()
    await later.once.answer(asked(), Trace("req_2"), again)
    assert 1 == again.times


async def test_who_waits_elsewhere_gives_up_at_its_deadline(here: Replica, opened: Opened) -> None:
    """Another replica looks ever more rarely, and then says that the first goes on, and when to come back."""
    pauses: list[float] = []
    past = time.monotonic

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    there: Replica = await opened(sleep=sleep)
    work = HeldWork()
    first = asyncio.create_task(here.once.answer(asked(), Trace("req_1"), work))
    await work.begun.wait()
    waiting = Keyed("acme", "k", "print", "seg_2", Deadline.after(3, lambda: past() + sum(pauses)))
    with pytest.raises(IdempotencyConflict, match="still being worked on") as told:
        await there.once.answer(waiting, Trace("req_2"), work)
    assert 1.0 == told.value.retry_after_seconds
    assert [0.05, 0.1, 0.2, 0.4, 0.5] == pauses[:5]
    work.may_end.set()
    await first


async def test_who_waits_here_gives_up_after_its_deadline(here: Replica) -> None:
    """A twin with less time than the first is told that it goes on, and costs it nothing."""
    work = HeldWork()
    first = asyncio.create_task(here.once.answer(asked(), Trace("req_1"), work))
    await work.begun.wait()
    passed = Keyed("acme", "k", "print", "seg_2", Deadline(time.monotonic(), time.monotonic))
    with pytest.raises(IdempotencyConflict, match="still being worked on"):
        await here.once.answer(passed, Trace("req_2"), work)
    work.may_end.set()
    assert (200, 1) == ((await first).status_code, work.times)


async def test_without_the_database_nothing_is_begun(here: Replica) -> None:
    """Where the key cannot be remembered the request is refused, also where that is only known from the journal."""
    work = at_once()
    here.database.gone = True
    with pytest.raises(LedgerDown, match="nothing was spent"):
        await here.once.answer(asked(), Trace("req_1"), work)
    here.database.gone, here.up = False, False
    with pytest.raises(LedgerDown, match="nothing was spent"):
        await here.once.answer(asked(), Trace("req_1"), work)
    assert (0, 0) == (work.times, await rows(here))


async def test_an_answer_is_kept_as_soon_as_the_database_is_back(opened: Opened, there: Replica) -> None:
    """The first caller has its answer although the database went away meanwhile; the others have it afterwards."""
    slept = asyncio.Event()
    back = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        slept.set()
        await back.wait()

    here: Replica = await opened(sleep=sleep)
    work = HeldWork()
    first = asyncio.create_task(here.once.answer(asked(), Trace("req_1"), work))
    await work.begun.wait()
    here.database.gone = True
    work.may_end.set()
    assert b'{"id":"seg_1"}' == (await first).body
    await slept.wait()
    here.database.gone = False
    back.set()
    await here.once.land(lambda: 5)
    replay = await there.once.answer(asked(), Trace("req_2"), work)
    assert (b'{"id":"seg_1"}', 1) == (replay.body, work.times)
    assert "idempotency_kept_late" in here.log.getvalue()


async def test_an_answer_of_any_size_is_replayed(here: Replica, there: Replica) -> None:
    """Whoever comes later has a large answer as whole as the first caller, and it is made once."""
    whole = b'"' + b"x" * (3 * PART_BYTES) + b'"'
    assert whole == (await here.once.answer(asked(), Trace("req_1"), at_once(whole))).body
    again = at_once()
    assert (whole, 0) == ((await there.once.answer(asked(), Trace("req_2"), again)).body, again.times)


async def test_expired_answers_are_pruned(here: Replica, opened: Opened) -> None:
    """Whoever prunes removes what has expired, in steps with short pauses, and then rests for a minute."""
    for number in range(60):
        await here.once.answer(asked(key=f"k{number}"), Trace("req"), at_once())
    pauses: list[float] = []
    rested = asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            rested.set()
            await asyncio.Event().wait()

    later: Replica = await opened(later=TTL + 60, sleep=sleep)
    pruning = asyncio.create_task(later.once.prune_forever())
    await rested.wait()
    pruning.cancel()
    assert ([0.05, 60.0], 0) == (pauses, await rows(here))


async def test_pruning_outlives_the_database(here: Replica, opened: Opened) -> None:
    """A database that is gone is logged, and tried again."""
    tried = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        tried.set()
        await asyncio.Event().wait()

    replica: Replica = await opened(sleep=sleep)
    replica.database.gone = True
    pruning = asyncio.create_task(replica.once.prune_forever())
    await tried.wait()
    pruning.cancel()
    assert "idempotency_not_pruned" in replica.log.getvalue()


async def test_a_request_is_known_again_however_it_is_spelt() -> None:
    """Order and white space say nothing; each field, each default that is spelt out, and the picture do."""
    workers = ThreadWorkers(threads=1, queue=8)
    try:

        async def known(text: bytes, part: bytes | None = None) -> str:
            source = PictureSource(part=part)
            return await fingerprint_of(
                "POST", "/v1/segmentations", parse_json(SegmentationBody, text), source, workers
            )

        plain = b'{"image":{"url":"http://a/b.png"},"prompt":"shoe","metadata":{"a":1,"b":2}}'
        first = await known(plain)
        assert first == await known(
            b'{ "prompt": "shoe", "metadata": {"b":2, "a":1}, "image": {"url":"http://a/b.png"} }'
        )
        others = [
            await known(b'{"image":{"url":"http://a/c.png"},"prompt":"shoe","metadata":{"a":1,"b":2}}'),
            await known(b'{"image":{"url":"http://a/b.png"},"prompt":"shoes","metadata":{"a":1,"b":2}}'),
            await known(b'{"image":{"url":"http://a/b.png"},"prompt":"shoe","metadata":{"a":1,"b":3}}'),
            await known(plain[:-1] + b',"fit":"auto"}'),
            await known(b'{"prompt":"shoe"}', b"\x89PNG one" * 100_000),
            await known(b'{"prompt":"shoe"}', b"\x89PNG two" * 100_000),
        ]
        assert 6 == len({*others} - {first})
    finally:
        workers.close()


async def test_a_hang_up_on_a_real_socket_changes_nothing(tmp_path: Path) -> None:
    """A caller whose connection breaks in the middle gets, with the same key, what was made for it: once."""
    work = HeldWork()
    begun: asyncio.Future[asyncio.AbstractEventLoop] = asyncio.get_running_loop().create_future()
    outside = asyncio.get_running_loop()

    def app() -> FastAPI:
        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            database = await open_database(f"sqlite:///{tmp_path}/ledger.db")
            remembered = Remembered(database, time.time, ttl_seconds=TTL)
            log = make_logger(io.StringIO())
            app.state.once = Once(remembered, ledger_up=lambda: True, new_id=new_id, sleep=asyncio.sleep, log=log)
            yield
            await app.state.once.land(lambda: 5)
            await database.close()

        async def endpoint(request: Request) -> Response:
            key = idempotency_key(request.headers.getlist("idempotency-key"))
            assert key is not None

            async def told() -> Response:
                outside.call_soon_threadsafe(begun.set_result, asyncio.get_running_loop())
                return await work()

            once: Once = request.app.state.once
            return await once.answer(asked(key=key), Trace("req"), told)

        return FastAPI(routes=[Route("/", endpoint, methods=["POST"])], lifespan=lifespan)

    with running(app) as url:
        async with aiohttp.ClientSession() as session:
            hanging = asyncio.create_task(session.post(url, headers={"Idempotency-Key": '"k"'}))
            inside = await begun
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            inside.call_soon_threadsafe(work.may_end.set)
            async with session.post(url, headers={"Idempotency-Key": "k"}) as answer:
                assert (200, b'{"id":"seg_1"}') == (answer.status, await answer.read())
                assert "true" == answer.headers["Idempotent-Replayed"]
    assert 1 == work.times
