"""Answers that gateways share through a real Redis: the same answer or none, whatever happens to the bytes between."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from redis.asyncio import Redis as Raw

from gateway.app import create_app
from gateway.cache import shared
from gateway.cache.key import NORMALIZATION_VERSION
from gateway.cache.shared import LARGEST_BYTES, from_bytes, to_bytes
from gateway.cache.sharing import PREFIX, WRITES_WAITING, SharedAnswers, SharedResult
from gateway.cache.store import AnswerCache, Kept
from gateway.client import Client, Options
from gateway.request import Origin
from gateway.serving import running
from gateway.settings import Settings, SettingsError, load_settings
from gateway.store.key_file import read_key_file
from gateway.store.redis_cache import RedisCache
from gateway.telemetry.logs import make_logger
from providers.contract import Box, Instance, Mask, Money, ObjectPrompt, Segmentation
from providers.workers import ThreadWorkers
from tests.servers import Redis

ORIGIN = Origin("runflow-eu", "runflow", "meta/sam-3/image", "sam3", "eu", Money(5000), 0.5)
SIZE = (30, 40)
NOTHING_FOUND = Kept(Segmentation((), ("nothing was cut",)), ORIGIN)
COFFEE = Path(__file__).parents[3] / "gateway" / "demo" / "coffee.jpg"
CUP = ObjectPrompt(box=Box(74, 14, 484, 390))


def answer(instances: int, *, size: tuple[int, int] = SIZE, seed: int = 7) -> Kept:
    """Return an answer with that many speckled masks, every third without a score and every second without a label."""
    random = np.random.default_rng(seed)
    made = tuple(
        Instance(
            Mask.from_bitmap(random.random(size) < 0.3),
            None if index % 3 == 0 else float(random.random()),
            None if index % 2 else f"left shoe {index % 5}",
        )
        for index in range(instances)
    )
    return Kept(Segmentation(made, ("a mask was brought to size",)), ORIGIN)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Kept, tuple[int, int]]:
    """Any answer, and the size of its picture."""
    size = (draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    instance = st.builds(
        Instance,
        arrays(np.uint8, size, elements=st.integers(0, 1)).map(Mask.from_bitmap),
        st.none() | st.floats(0, 1),
        st.none() | text,
    )
    found = draw(st.lists(instance, max_size=6).map(tuple))
    charge = draw(st.integers(0, 2**53))
    origin = Origin(*draw(st.tuples(text, text, text, text, text)), Money(charge), draw(st.floats(0, 1e9)))
    return Kept(Segmentation(found, draw(st.lists(text, max_size=3).map(tuple))), origin), size


WRITTEN = to_bytes("key", answer(2)) or b""


@given(answers())
def test_what_is_written_is_read(made: tuple[Kept, tuple[int, int]]) -> None:
    """Masks, scores, labels, warnings and origin come back equal, the empty answer included."""
    kept, size = made
    data = to_bytes("key", kept)
    assert data is not None
    assert kept == from_bytes("key", data, size=size)


def test_a_hundred_instances() -> None:
    """A hundred masks come back equal, their labels written once each."""
    kept = answer(100)
    data = to_bytes("key", kept)
    assert data is not None
    assert kept == from_bytes("key", data, size=SIZE)
    assert 1 == data.count(b"left shoe 2")


@given(st.integers(0, len(WRITTEN) - 1), st.integers(1, 255))
@settings(max_examples=300)
def test_no_changed_byte_goes_unnoticed(place: int, change: int) -> None:
    """An answer with any one byte changed is none."""
    data = bytearray(WRITTEN)
    data[place] ^= change
    with pytest.raises(ValueError, match=r"no kept answer|normalization version|checksum"):
        from_bytes("key", bytes(data), size=SIZE)


@given(st.integers(0, len(WRITTEN) - 1))
def test_no_cut_goes_unnoticed(end: int) -> None:
    """An answer that is cut anywhere is none, and so is one with anything behind it."""
    with pytest.raises(ValueError, match=r"no kept answer|checksum"):
        from_bytes("key", WRITTEN[:end], size=SIZE)
    with pytest.raises(ValueError, match="checksum"):
        from_bytes("key", WRITTEN + WRITTEN[: end + 1], size=SIZE)


@given(st.binary(max_size=200))
def test_other_bytes_are_no_answer(data: bytes) -> None:
    """Whatever else is there is refused as a value, and breaks nothing."""
    with pytest.raises(ValueError, match=r"no kept answer|normalization version|checksum"):
        from_bytes("key", data, size=SIZE)


def test_an_answer_belongs_to_its_key() -> None:
    """Bytes that are found under another key are no answer: two tenants' keys differ."""
    with pytest.raises(ValueError, match="under another key"):
        from_bytes("kez", WRITTEN, size=SIZE)


def test_an_answer_belongs_to_its_version() -> None:
    """What another normalization version wrote is no answer, however whole it is."""
    other = WRITTEN[:4] + (NORMALIZATION_VERSION + 1).to_bytes(2, "big") + WRITTEN[6:]
    with pytest.raises(ValueError, match="another normalization version"):
        from_bytes("key", other, size=SIZE)


def test_an_answer_belongs_to_its_picture() -> None:
    """Masks of another size than the picture's are no answer."""
    with pytest.raises(ValueError, match=r"masks of the size \(30, 40\), the picture is \(40, 30\)"):
        from_bytes("key", WRITTEN, size=(40, 30))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"instances": [["12", 0.5, 0]]}, "add up to"),
        ({"instances": [["\u00e9", 0.5, 0]]}, "ascii"),
        ({"instances": [["", 0.5, 9]]}, "label 9 of 1"),
        ({"instances": [["", 0.5]]}, "Field required"),
        ({"instances": 3}, "valid array"),
        ({"size": None}, "masks of the size None"),
        ({"origin": ["a", "b", "c", "d", "e", 0.5, 0.5]}, "valid integer"),
        ({"more": 1}, "Extra inputs"),
    ],
)
def test_a_whole_answer_may_still_be_none(change: dict[str, Any], reason: str) -> None:
    """Even with the right checksum, what has another shape, or counts that fill no picture, is refused as a value."""
    document = {
        "size": SIZE,
        "instances": [(answer(1).segmentation.instances[0].mask.counts, None, 0)],
        "labels": ["shoe"],
        "warnings": [],
        "origin": ["a", "b", "c", "d", "e", 1, 0.5],
    }
    whole = _sealed(document)
    assert 1 == len(from_bytes("key", whole, size=SIZE).segmentation.instances)
    with pytest.raises(ValueError, match=reason):
        from_bytes("key", _sealed({**document, **change}), size=SIZE)


def _sealed(document: dict[str, Any]) -> bytes:
    """Write a payload with its right checksum."""
    payload = orjson.dumps(document)
    return shared.MAGIC + shared._version() + shared._checksum("key", payload) + payload


@pytest.mark.parametrize("label", ["x" * LARGEST_BYTES, "\ud800"], ids=["too large", "a lone surrogate"])
def test_what_cannot_be_shared_is_not_written(label: str) -> None:
    """More than eight mebibytes, or a word that has no bytes, stays in the process that bought it."""
    (instance,) = answer(1).segmentation.instances
    kept = Kept(Segmentation((Instance(instance.mask, None, label),)), ORIGIN)
    assert to_bytes("key", kept) is None


@dataclass
class HandClock:
    """Seconds that pass when the test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@dataclass
class Gateway:
    """One gateway's cache."""

    cache: AnswerCache
    sharing: SharedAnswers
    redis: RedisCache
    clock: HandClock
    results: Counter[SharedResult]

    async def written(self) -> None:
        """Wait until nothing is being written."""
        while self.sharing._writes:
            await asyncio.wait(set(self.sharing._writes))


@asynccontextmanager
async def gateway(url: str, **limits: Any) -> AsyncIterator[Gateway]:
    """Open a cache on that Redis; a busy test machine is given more time than a question is."""
    clock = HandClock()
    results: Counter[SharedResult] = Counter()
    workers = ThreadWorkers(threads=1, queue=100)
    redis = RedisCache(url, clock=clock, log=make_logger(io.StringIO()), read_seconds=0.5)
    await redis.open()
    sharing = SharedAnswers(redis, workers=workers, count=lambda result: results.update([result]))
    bounds = {"max_bytes": 10**8, "ttl_seconds": 1000, "empty_ttl_seconds": 10, **limits}
    try:
        yield Gateway(AnswerCache(**bounds, clock=clock, shared=sharing), sharing, redis, clock, results)
    finally:
        await sharing.close()
        await redis.close()
        workers.close()


@pytest.fixture
def key() -> str:
    """A name that no other test uses."""
    return uuid.uuid4().hex


@asynccontextmanager
async def raw(redis: Redis) -> AsyncIterator[Raw]:
    """Reach the server beside the caches."""
    async with Raw.from_url(redis.url) as client:
        yield client


@pytest.mark.needs("redis")
@pytest.mark.parametrize("instances", [1, 100])
async def test_two_gateways_share_an_answer(redis_server: Redis, key: str, instances: int) -> None:
    """What one has kept the other recalls, and has it for itself from then on."""
    kept = answer(instances, size=(120, 160))
    async with gateway(redis_server.url) as one, gateway(redis_server.url) as two:
        one.cache.keep(key, kept, ttl_seconds=None)
        await one.written()
        assert two.cache.recall(key) is None
        assert [kept] == await two.cache.recall_shared(["absent", key], size=(120, 160))
        assert kept == two.cache.recall(key)
        assert {SharedResult.WRITTEN: 1} == one.results
        assert {SharedResult.HIT: 1} == two.results
        assert [] == await two.cache.recall_shared(["absent"], size=SIZE)
        assert 1 == two.results[SharedResult.MISS]


@pytest.mark.needs("redis")
async def test_the_time_of_an_answer_goes_with_it(redis_server: Redis, key: str) -> None:
    """An answer recalled from another gateway lives for the rest of its time, and is not given a new one."""
    async with gateway(redis_server.url) as one, gateway(redis_server.url) as two, raw(redis_server) as client:
        one.cache.keep(key, answer(1), ttl_seconds=100)
        one.cache.keep(key + "nothing", NOTHING_FOUND, ttl_seconds=None)
        await one.written()
        keys = [key, key + "nothing"]
        assert 2 == len(await two.cache.recall_shared(keys, size=SIZE))
        two.clock.now = 10
        assert two.cache.recall(keys[1]) is None
        assert two.cache.recall(keys[0]) is not None
        two.clock.now = 100
        assert two.cache.recall(keys[0]) is None
        await client.pexpire(PREFIX + keys[0], 50_000)
        assert 1 == len(await two.cache.recall_shared(keys[:1], size=SIZE))
        two.clock.now = 150
        assert two.cache.recall(keys[0]) is None


@pytest.mark.needs("redis")
async def test_an_answer_that_stays_in_redis_does_not_stay_here(redis_server: Redis, key: str) -> None:
    """Where somebody has taken its end away, an answer is kept for our own time; an empty one for less."""
    async with gateway(redis_server.url) as one, gateway(redis_server.url) as two, raw(redis_server) as client:
        one.cache.keep(key, answer(1), ttl_seconds=None)
        one.cache.keep(key + "nothing", NOTHING_FOUND, ttl_seconds=None)
        await one.written()
        keys = [key, key + "nothing"]
        for each in keys:
            await client.persist(PREFIX + each)
        assert 2 == len(await two.cache.recall_shared(keys, size=SIZE))
        assert [1000, 10] == [two.cache._entries[each][1] for each in keys]


@pytest.mark.needs("redis")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"no answer at all",
        lambda whole: whole[:-1],
        lambda whole: whole[:40] + b"?" + whole[41:],
        lambda _: to_bytes("another key", answer(1)),
    ],
    ids=["empty", "foreign", "cut", "changed", "of another key"],
)
async def test_a_bad_entry_is_a_miss(redis_server: Redis, key: str, spoil: Callable[[bytes], bytes]) -> None:
    """Wrong bytes under a key are counted and recalled as nothing; the next answer that is bought replaces them."""
    async with gateway(redis_server.url) as one, gateway(redis_server.url) as two, raw(redis_server) as client:
        one.cache.keep(key, answer(1), ttl_seconds=None)
        await one.written()
        whole = await client.get(PREFIX + key)
        assert isinstance(whole, bytes)
        await client.set(PREFIX + key, spoil(whole))
        assert [] == await two.cache.recall_shared([key], size=SIZE)
        assert {SharedResult.CORRUPT: 1} == two.results
        assert two.redis.in_use
        two.cache.keep(key, answer(2), ttl_seconds=None)
        await two.written()
        assert [answer(2)] == await one.cache.recall_shared([key], size=SIZE)


@pytest.mark.needs("redis")
async def test_everything_forgotten(own_redis: Redis, key: str) -> None:
    """After FLUSHALL there is nothing to share, and what each gateway has for itself is still there."""
    async with gateway(own_redis.url) as one, gateway(own_redis.url) as two, raw(own_redis) as client:
        one.cache.keep(key, answer(1), ttl_seconds=None)
        await one.written()
        await client.flushall()
        assert [] == await two.cache.recall_shared([key], size=SIZE)
        assert answer(1) == one.cache.recall(key)
        assert {SharedResult.MISS: 1} == two.results


@pytest.mark.needs("redis")
async def test_neither_room_nor_redis(own_redis: Redis, key: str) -> None:
    """A gateway without room of its own shares all the same; without Redis keeping and recalling raise nothing."""
    async with gateway(own_redis.url, max_bytes=0) as one, gateway(own_redis.url) as two:
        one.cache.keep(key, answer(1), ttl_seconds=None)
        await one.written()
        assert [answer(1)] == await two.cache.recall_shared([key], size=SIZE)
        own_redis.stop()
        for _ in range(4):
            assert [] == await one.cache.recall_shared([key], size=SIZE)
            two.cache.keep(key, answer(1), ttl_seconds=None)
            await two.written()
        assert {SharedResult.WRITTEN: 1, SharedResult.FAILED: 3, SharedResult.LEFT_ALONE: 1} == one.results
        assert 4 == two.results[SharedResult.DROPPED]
        assert answer(1) == two.cache.recall(key)


@pytest.mark.needs("redis")
async def test_writes_behind_are_bounded(own_redis: Redis) -> None:
    """While Redis hangs so many writes wait and no more; closing gives them up, and each of them is counted once."""
    before = asyncio.all_tasks()
    async with gateway(own_redis.url) as one:
        own_redis.send(signal.SIGSTOP)
        for number in range(WRITES_WAITING + 36):
            one.cache.keep(str(number), answer(1), ttl_seconds=None)
        assert WRITES_WAITING == len(one.sharing._writes)
        assert {SharedResult.DROPPED: 36} == one.results
    assert {SharedResult.DROPPED: WRITES_WAITING + 36} == one.results
    assert 0 == one.sharing._bytes_waiting
    assert before == asyncio.all_tasks()


@pytest.mark.needs("redis")
async def test_writes_behind_are_bounded_in_bytes(redis_server: Redis, key: str) -> None:
    """Answers that are estimated at more than may wait together are dropped although few are waiting."""
    large = Mask((1, 2**22), np.ones(2**22, np.int64))
    kept = Kept(Segmentation((Instance(large, None),)), ORIGIN)
    async with gateway(redis_server.url) as one:
        one.cache.keep(key, kept, ttl_seconds=None)
        assert {SharedResult.DROPPED: 1} == one.results
        assert not one.sharing._writes


@pytest.mark.needs("redis")
async def test_closing_writes_what_is_waiting(redis_server: Redis, key: str) -> None:
    """What was kept right before the end is shared."""
    async with gateway(redis_server.url) as one:
        one.cache.keep(key, answer(50), ttl_seconds=None)
    async with gateway(redis_server.url) as two:
        assert [answer(50)] == await two.cache.recall_shared([key], size=SIZE)


def house(state: Path, redis: Redis, log: io.StringIO) -> Any:
    """Return a gateway with a ledger of its own, the local engine and that Redis."""
    environ = {"MASKGATE_STATE_DIR": str(state), "MASKGATE_REDIS_URL": redis.url}
    return create_app(load_settings(config=None, environ=environ), log_to=log, show=lambda _key: None)


def ready(url: str) -> tuple[int, Any]:
    """Return what `/readyz` says."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def series(url: str, state: Path, result: SharedResult) -> float:
    """Return how often the shared cache of the gateway with that state folder did that."""
    shown = {"Authorization": f"Bearer {read_key_file(state)}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/metrics", headers=shown), timeout=60) as response:
        lines = response.read().decode().splitlines()
    name = f'maskgate_shared_cache_total{{result="{result.value}"}} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


async def ask(url: str, **options: Any) -> tuple[Any, Any]:
    """Ask for the cup; return the answer, and what a quote says of the same request."""
    async with Client(url) as client:
        wish = Options(**options)
        quote = await client.quote(COFFEE.read_bytes(), [CUP], options=wish)
        return await client.segment(COFFEE.read_bytes(), [CUP], options=wish), quote


@pytest.mark.needs("redis")
async def test_houses_share(own_redis: Redis, tmp_path: Path) -> None:
    """One gateway buys; others answer from Redis, by one look for all who ask at once, and their quotes say so."""
    (tmp_path / "a").mkdir()
    log = io.StringIO()
    with running(lambda: house(tmp_path / "a", own_redis, log)) as url:
        bought, quoted = await ask(url)
        assert ("miss",) == bought.caches
        assert ["miss"] == [question.cache for question in quoted.prompts]
        assert (200, True) == (ready(url)[0], ready(url)[1]["shared_cache"])
    with running(lambda: house(tmp_path / "b", own_redis, log)) as url:
        async with Client(url) as client:
            recalled = await asyncio.gather(*(client.segment(COFFEE.read_bytes(), [CUP]) for _ in range(5)))
        assert {("hit",), ("joined",)} >= {each.caches for each in recalled}
        assert all(bought.document["instances"] == each.document["instances"] for each in recalled)
        assert 1 == series(url, tmp_path / "b", SharedResult.HIT)
    with running(lambda: house(tmp_path / "c", own_redis, log)) as url:
        recalled_later, quoted = await ask(url)
        assert ["hit"] == [question.cache for question in quoted.prompts]
        assert ("hit",) == recalled_later.caches
        assert Money(0) == recalled_later.cost.charged
        again, _ = await ask(url, cache="refresh")
        assert ("refresh",) == again.caches
    async with raw(own_redis) as client:
        (name,) = await client.keys("*")
        value = await client.get(name)
    assert isinstance(name, bytes)
    assert isinstance(value, bytes)
    assert name.startswith(PREFIX.encode())
    for word in (b"default", b"keyless", b"loopback", b"74", b"coffee"):
        assert word not in name
    assert b"coffee" not in value


@pytest.mark.needs("redis")
@pytest.mark.parametrize("end", [signal.SIGSTOP, signal.SIGKILL], ids=["hangs", "killed"])
async def test_houses_answer_without_redis(own_redis: Redis, tmp_path: Path, end: signal.Signals) -> None:
    """With Redis hanging or gone every request is answered, and the gateway is ready and says what it lacks."""
    log = io.StringIO()
    with running(lambda: house(tmp_path, own_redis, log)) as url:
        if end is signal.SIGKILL:
            own_redis.stop(end)
        else:
            own_redis.send(end)
        told = []
        for pixel in range(4):
            async with Client(url) as client:
                box = ObjectPrompt(box=Box(74 + pixel, 14, 484, 390))
                assert ("miss",) == (await client.segment(COFFEE.read_bytes(), [box])).caches
            told.append(ready(url))  # each time: on a busy machine the last question may come when a pause is over
        assert {(200, "ready")} == {(status, body["status"]) for status, body in told}
        assert False in {body["shared_cache"] for _, body in told}
        assert (
            series(url, tmp_path, SharedResult.FAILED) >= 1
        )  # what is shared about deployments counts towards the pause, too
    assert "redis_left_alone" in log.getvalue()


@pytest.mark.needs("redis")
async def test_a_house_starts_without_redis(own_redis: Redis, tmp_path: Path) -> None:
    """A Redis that is not there at the start keeps no gateway from starting, being ready and answering."""
    own_redis.stop()
    with running(lambda: house(tmp_path, own_redis, io.StringIO())) as url:
        status, body = ready(url)
        assert (200, "ready", False) == (status, body["status"], body["shared_cache"])
        bought, _ = await ask(url)
        assert ("miss",) == bought.caches
        assert 2 == series(url, tmp_path, SharedResult.LEFT_ALONE)


def test_a_house_without_a_shared_cache(tmp_path: Path) -> None:
    """Where no Redis is named there is none, and `/readyz` says null."""
    app = create_app(Settings(state_dir=tmp_path), log_to=io.StringIO(), show=lambda _key: None)
    with running(lambda: app) as url:
        assert ready(url)[1]["shared_cache"] is None


async def test_a_wrong_address_is_told_without_its_password(tmp_path: Path) -> None:
    """What is no address of Redis stops the start, with a remedy and without the secret that may stand in it."""
    app = create_app(
        Settings(state_dir=tmp_path, redis_url="reddis://:secret@cache:6379/0"), log_to=io.StringIO(), show=print
    )
    with pytest.raises(SettingsError, match="MASKGATE_REDIS_URL: no address of Redis; write redis://") as refused:
        async with app.router.lifespan_context(app):
            pass
    assert "secret" not in str(refused.value)
