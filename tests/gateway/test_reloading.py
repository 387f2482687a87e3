"""Reading a configuration again: what is taken over, what is refused, and what the log says."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.reloading import ConfigSource, NotNow, Reloader, Result
from gateway.settings import ConfigProblem, Settings, SettingsError, load_settings
from gateway.telemetry.logs import make_logger

LONG = 3600.0
SHORT = 0.01


@dataclass
class Gateway:
    """Where a reloader puts what it reads."""

    file: Path
    environ: dict[str, str]
    counts: Counter[str] = field(default_factory=Counter)
    log: io.StringIO = field(default_factory=io.StringIO)
    settings: list[Settings] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)
    """Raised instead of taking settings over, one after another."""
    counted: asyncio.Event = field(default_factory=asyncio.Event)

    async def swap(self, settings: Settings) -> None:
        """Take settings over."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.settings.append(settings)

    def count(self, result: str) -> None:
        """Count a result."""
        self.counts[result] += 1
        self.counted.set()

    async def until(self, result: str, times: int) -> None:
        """Return as soon as it has come to that result so many times."""
        async with asyncio.timeout(20):
            while self.counts[result] < times:
                self.counted.clear()
                await self.counted.wait()

    def lines(self) -> list[dict[str, Any]]:
        """Return what was logged."""
        return [orjson.loads(line) for line in self.log.getvalue().splitlines()]

    def reloader(self, poll_seconds: float = LONG) -> Reloader:
        """Return a reloader that begins with what stands in the file."""
        source = ConfigSource(self.file, self.read)
        return Reloader(
            source,
            self.read(),
            swap=self.swap,
            count=self.count,
            log=make_logger(self.log),
            poll_seconds=poll_seconds,
        )

    def read(self) -> Settings:
        """Read the file."""
        return load_settings(config=self.file, environ=self.environ)

    def write(self, text: str) -> None:
        """Replace the file in one step."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.file)


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    """Return a gateway with a file."""
    file = tmp_path / "maskgate.yaml"
    file.write_text("quotes: {ttl_seconds: 60}\n")
    return Gateway(file, {"MASKGATE_DATABASE_URL": "postgresql://maskgate:canary-1@db/maskgate"})


@asynccontextmanager
async def watching(reloader: Reloader) -> AsyncIterator[None]:
    """Watch while the block lasts."""
    task = asyncio.create_task(reloader.watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_changed_file_is_taken_over(gateway: Gateway) -> None:
    """What is new is named in the answer and in the log, and the next reading is compared with it."""
    reloader = gateway.reloader()
    gateway.write("quotes: {ttl_seconds: 90}\nrouting: {strategy: fastest}\n")
    reloaded = await reloader.reload("request")
    assert (Result.APPLIED, ("routing", "quotes")) == (reloaded.result, reloaded.changed)
    assert [90.0] == [each.quotes.ttl_seconds for each in gateway.settings]
    assert Result.UNCHANGED is (await reloader.reload("request")).result
    assert {"applied": 1, "unchanged": 1} == gateway.counts
    (line,) = gateway.lines()
    assert ("config_applied", "request", ["routing", "quotes"]) == (line["event"], line["why"], line["changed"])


async def test_references_to_the_environment_are_read_again(gateway: Gateway) -> None:
    """A variable that has changed is a change of the configuration, and one that is gone a problem with a line."""
    gateway.environ["QUOTED"] = "60"
    reloader = gateway.reloader()
    gateway.write("public_url: https://${HOST_NAME}\ndeployments: []\n")
    assert {(1, 13)} == {(each.line, each.column) for each in (await reloader.reload("request")).problems}
    gateway.environ["HOST_NAME"] = "a.example"
    assert Result.APPLIED is (await reloader.reload("request")).result
    gateway.environ["HOST_NAME"] = "b.example"
    assert ("public_url",) == (await reloader.reload("request")).changed
    assert ["https://a.example", "https://b.example"] == [each.public_url for each in gateway.settings]


@pytest.mark.parametrize(
    ("text", "line", "column", "word"),
    [
        ("quotes: {", 1, 10, "not YAML"),
        ("quotes:\n  ttl: 5\n", 2, 8, "misspelt"),
        ("cache: {max_bytes: 5}\n", 1, 20, "needs a restart"),
        ("", None, None, "empty"),
    ],
)
async def test_what_cannot_be_used_is_refused_with_its_place(
    gateway: Gateway, text: str, line: int | None, column: int | None, word: str
) -> None:
    """One line of the log says file, place and what is wrong, and nothing is taken over."""
    reloader = gateway.reloader()
    gateway.write(text)
    reloaded = await reloader.reload("signal")
    assert ([], Result.REFUSED, {"refused": 1}) == (gateway.settings, reloaded.result, gateway.counts)
    (logged,) = gateway.lines()
    assert ("config_refused", str(gateway.file), line, column) == (
        logged["event"],
        logged["file"],
        logged["line"],
        logged["column"],
    )
    assert word in logged["message"]
    gateway.write("quotes: {ttl_seconds: 90}\n")
    assert Result.APPLIED is (await reloader.reload("signal")).result


async def test_file_that_is_gone_is_refused(gateway: Gateway) -> None:
    """A gateway goes on without its file."""
    reloader = gateway.reloader()
    gateway.file.unlink()
    reloaded = await reloader.reload("change")
    assert Result.REFUSED is reloaded.result
    assert "cannot be read" in reloaded.problems[0].message


async def test_what_needs_a_restart_is_named_and_never_shown(gateway: Gateway) -> None:
    """Another database is refused by the variable's name; neither the old nor the new password is anywhere."""
    reloader = gateway.reloader()
    gateway.environ |= {
        "MASKGATE_DATABASE_URL": "postgresql://maskgate:canary-2@db/maskgate",
        "MASKGATE_REDIS_URL": "redis://:canary-3@cache",
        "MASKGATE_STATE_DIR": "elsewhere",
        "MASKGATE_ADMIN_PORT": "9000",
    }
    reloaded = await reloader.reload("request")
    assert ["MASKGATE_STATE_DIR", "MASKGATE_DATABASE_URL", "MASKGATE_REDIS_URL", "admin.port"] == [
        each.path for each in reloaded.problems
    ]
    assert "canary" not in f"{reloaded}{gateway.log.getvalue()}"


async def test_what_the_house_refuses_has_its_line(gateway: Gateway) -> None:
    """A problem that only the providers find is given the line of the field that it names."""
    reloader = gateway.reloader()
    gateway.refusals = [
        SettingsError([ConfigProblem("deployments[0] (here)", None, None, "model: none")], source="configuration")
    ]
    gateway.write("deployments:\n  - name: here\n    provider: local\n    model: none\n")
    (problem,) = (await reloader.reload("request")).problems
    assert (4, 12) == (problem.line, problem.column)


async def test_defect_leaves_what_holds(gateway: Gateway) -> None:
    """An error that nobody expected is logged with its trace, and the file can be read again."""
    reloader = gateway.reloader()
    gateway.refusals = [RuntimeError("a defect")]
    gateway.write("quotes: {ttl_seconds: 90}\n")
    assert Result.BROKEN is (await reloader.reload("request")).result
    (line,) = gateway.lines()
    assert ("config_reload_broke", True) == (line["event"], "RuntimeError: a defect" in line["exception"])
    assert Result.APPLIED is (await reloader.reload("request")).result


async def test_watch_takes_over_what_has_changed(gateway: Gateway) -> None:
    """A file that was changed is read without being asked for, each version once."""
    async with watching(gateway.reloader(SHORT)):
        await gateway.until("unchanged", 1)  # it may have changed since it was read at the start
        gateway.write("quotes: {ttl_seconds: 90}\n")
        await gateway.until("applied", 1)
        gateway.write("quotes: {ttl_seconds: no}\n")
        await gateway.until("refused", 1)
        gateway.file.unlink()
        await gateway.until("refused", 2)
        gateway.write("quotes: {ttl_seconds: 91}\n")
        await gateway.until("applied", 2)
    assert {"applied": 2, "refused": 2, "unchanged": 1} == gateway.counts
    assert [90.0, 91.0] == [each.quotes.ttl_seconds for each in gateway.settings]


async def test_watch_reloads_at_once_when_it_is_asked(gateway: Gateway) -> None:
    """A signal does not wait for the next look at the file."""
    reloader = gateway.reloader()
    async with watching(reloader):
        gateway.write("quotes: {ttl_seconds: 90}\n")
        reloader.ask()
        await gateway.until("applied", 1)
    assert "signal" == gateway.lines()[0]["why"]


async def test_watch_tries_again_what_could_not_be_done_at_the_moment(gateway: Gateway) -> None:
    """What was put off is taken over later although the file has not changed meanwhile."""
    async with watching(gateway.reloader(SHORT)):
        await gateway.until("unchanged", 1)
        gateway.refusals = [NotNow("the database is gone"), NotNow("the database is gone")]
        gateway.write("quotes: {ttl_seconds: 90}\n")
        await gateway.until("applied", 1)
    assert {"unchanged": 1, "deferred": 2, "applied": 1} == gateway.counts
    assert ["config_deferred", "config_deferred", "config_applied"] == [each["event"] for each in gateway.lines()]


async def test_reloads_at_once_are_done_in_turn(gateway: Gateway) -> None:
    """Of many at one moment the first applies, and the others find it done."""
    reloader = gateway.reloader()
    gateway.write("quotes: {ttl_seconds: 90}\n")
    results = await asyncio.gather(*(reloader.reload("request") for _ in range(20)))
    assert {Result.APPLIED: 1, Result.UNCHANGED: 19} == Counter(each.result for each in results)
