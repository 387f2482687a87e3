"""PostgreSQL stopped, cut off, killed, or refusing to write, under load: nothing is spent unseen or counted twice."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg  # type: ignore[import-untyped]  # ships no types
import pytest

from gateway.sandboxed import RunningSandbox
from tests.end_to_end.asking import Caller
from tests.end_to_end.audit import audit, query, read_accounts
from tests.end_to_end.ledger import Account
from tests.end_to_end.money_house import Office, gateways_beside
from tests.end_to_end.siege import Siege, keepsake, purchase, until_so
from tests.end_to_end.upstreams import Upstreams
from tests.gateway.store.cutting_proxy import Cut, CuttingProxy
from tests.servers import Postgres, start_postgres

#: How long the database stands still.
STOPPED_SECONDS = 8
#: Callers who want to buy, and callers whose answer is in the cache.
BUYERS, READERS = 8, 4
#: In the time that the database stands still, that many buyers would get no further than this if each of them waited
#: for it as long as one transaction may take (2 s, in two tries).
WAITED = BUYERS * STOPPED_SECONDS // 4
ROUNDS = 6

pytestmark = pytest.mark.needs("postgres")

_names = itertools.count()


@pytest.fixture(scope="module")
def fragile_postgres(server_folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL server for this module, which every test leaves running."""
    folder = server_folder / "fragile"
    folder.mkdir()
    postgres = start_postgres(folder)
    yield postgres
    postgres.stop()


@pytest.fixture
def ledger_url(fragile_postgres: Postgres) -> str:
    """The address of an empty database on it."""
    return fragile_postgres.create(f"outage_{next(_names)}")


@asynccontextmanager
async def besieged(
    sandbox: RunningSandbox, folder: Path, session: aiohttp.ClientSession, url: str
) -> AsyncIterator[Siege]:
    """Run a gateway whose caller has a key with a hard budget, and a tenant with a soft one."""
    async with gateways_beside(sandbox, folder, database_url=url, count=1, broken=True) as (gateway,):
        office = Office(gateway, session)
        _, headers = await office.key(scopes=["segment", "usage", "metrics"], hard_budget={"usd": "1000"})
        await office.budget("0.01", hard=False, period="day")
        yield Siege(gateway.url, session, headers)


async def settled(siege: Siege, url: str, upstreams: Upstreams) -> list[Account]:
    """Wait until a purchase works and all that was parked is written, and demand that the ledger is whole."""
    await siege.until_told(200, purchase(upstreams))
    caller = Caller(siege.url, siege.session, siege.headers["Authorization"].removeprefix("Bearer "))

    async def all_written() -> bool:
        return not (await caller.metrics())['maskgate_ledger{count="parked"}']

    await until_so(all_written)
    return await audit(url, upstreams.books())


@pytest.mark.slow
async def test_a_stopped_database(
    fragile_postgres: Postgres,
    ledger_url: str,
    upstreams: Upstreams,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """
    While PostgreSQL stands still, nothing is bought.

    Buyers are refused without waiting for it, cached answers are served, and what was under way is answered, and booked
    afterwards.
    """
    async with besieged(upstreams.sandbox, tmp_path, session, ledger_url) as siege:
        await siege.ask(keepsake(upstreams))
        upstreams.strike("runflow-us", {"kind": "latency", "seconds": 1.5})
        under_way = [asyncio.create_task(siege.ask(purchase(upstreams, "runflow-us"))) for _ in range(5)]

        async def reserved() -> bool:
            return 5 == sum(each.ended == "open" for each in await read_accounts(ledger_url))

        await until_so(reserved)
        buyers, readers = (Siege(siege.url, session, siege.headers) for _ in range(2))
        fragile_postgres.freeze()
        try:
            async with (
                buyers.under_way(purchase(upstreams), callers=BUYERS),
                readers.under_way(keepsake(upstreams), callers=READERS),
            ):
                await asyncio.sleep(STOPPED_SECONDS)
            landed = await asyncio.gather(*under_way)
            bought = Counter(call.upstream for call in upstreams.books())
        finally:
            fragile_postgres.thaw()
        assert Counter({"runflow-eu": 1, "runflow-us": 5}) == bought
        assert {200} == {each.status for each in landed}
        assert {(503, "ledger_unavailable")} == {(each.status, each.word) for each in buyers.told}
        assert {(200, "hit")} == {(each.status, each.word) for each in readers.told}
        assert len(buyers.told) > 5 * WAITED, "refusals waited for the database"
        assert len(readers.told) > 5 * WAITED, "cached answers waited for the database"
        # The first requests find out for the others that the ledger and the keys are out of reach: they wait for that.
        for name, told in (("refusals", buyers.told[2 * BUYERS :]), ("hits", readers.told[2 * READERS :])):
            waits = sorted(round(1000 * each.seconds) for each in told)
            percentiles = {share: waits[len(waits) * share // 100] for share in (50, 95, 99)}
            record_property(name, f"{len(waits)} in {STOPPED_SECONDS} s, ms by percentile {percentiles}: {waits[-1]}")
        accounts = await settled(siege, ledger_url, upstreams)
    assert {"settle", "release"} >= {each.ended for each in accounts}


@pytest.mark.slow
@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
async def test_a_connection_cut_around_commit(
    fragile_postgres: Postgres,
    ledger_url: str,
    upstreams: Upstreams,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    cut: Cut,
) -> None:
    """Where the connection ends just before or just after a COMMIT was done, all are answered and counted once."""
    proxy = CuttingProxy(fragile_postgres.port)
    await proxy.start()
    through = ledger_url.replace(str(fragile_postgres.port), str(proxy.port))
    try:
        async with besieged(upstreams.sandbox, tmp_path, session, through) as siege:
            for round_ in range(ROUNDS):
                proxy.cut = cut
                told = await asyncio.gather(*(siege.ask(purchase(upstreams)) for _ in range(4)))
                assert {200} == {each.status for each in told}
                assert round_ + 1 == proxy.cuts
            accounts = await settled(siege, ledger_url, upstreams)
    finally:
        await proxy.stop()
    assert ["settle"] * (4 * ROUNDS + 1) == [each.ended for each in accounts]


@pytest.mark.slow
async def test_a_killed_database(
    fragile_postgres: Postgres,
    ledger_url: str,
    upstreams: Upstreams,
    session: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:
    """When PostgreSQL is killed under load and comes back, buyers are refused meanwhile, and nothing is lost."""
    async with besieged(upstreams.sandbox, tmp_path, session, ledger_url) as siege:
        async with siege.under_way(purchase(upstreams), callers=BUYERS):
            for _ in range(2):
                await siege.until_heard(200)
                fragile_postgres.crash()
                try:
                    await siege.until_heard(503)
                finally:
                    await asyncio.to_thread(fragile_postgres.start)
                await siege.until_heard(200)
        assert {200, 503} == {each.status for each in siege.told}
        await settled(siege, ledger_url, upstreams)


async def test_a_database_that_only_reads(
    fragile_postgres: Postgres,
    ledger_url: str,
    upstreams: Upstreams,
    session: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:
    """A PostgreSQL that refuses to write, as a standby does, lets nothing be bought; cached answers are served."""
    async with besieged(upstreams.sandbox, tmp_path, session, ledger_url) as siege:
        await siege.ask(keepsake(upstreams))
        await order(ledger_url, "ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            await siege.until_told(503, purchase(upstreams))
            bought = len(upstreams.books())
            told = [await siege.ask(purchase(upstreams)) for _ in range(20)]
            assert {(503, "ledger_unavailable")} == {(each.status, each.word) for each in told}
            assert (200, "hit") == ((hit := await siege.ask(keepsake(upstreams))).status, hit.word)
            assert bought == len(upstreams.books())
        finally:
            await order(ledger_url, "ALTER SYSTEM RESET default_transaction_read_only")
        await settled(siege, ledger_url, upstreams)


@pytest.mark.slow
async def test_connections_that_are_all_cut(
    ledger_url: str, upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """When the database ends every connection of the gateway under load, again and again, nothing is lost."""
    ending = (
        "SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity"
        " WHERE application_name LIKE 'maskgate%' AND datname = current_database()"
    )

    async def cut() -> bool:
        ((ended,),) = [row.values() for row in await query(ledger_url, ending)]
        return ended > 0

    async with besieged(upstreams.sandbox, tmp_path, session, ledger_url) as siege:
        async with siege.under_way(purchase(upstreams), callers=BUYERS):
            for _ in range(ROUNDS):
                await siege.until_heard(200)
                await until_so(cut)  # it may just be connecting again
            await siege.until_heard(200)
        assert {200, 503} >= {each.status for each in siege.told}
        await settled(siege, ledger_url, upstreams)


async def order(url: str, statement: str) -> None:
    """Change a setting of the server, for every connection at once."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()
