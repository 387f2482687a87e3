"""One house after another: who is at work in which, and what is closed when."""

import asyncio
import io
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from gateway.houses import Houses, Part, kept
from gateway.settings import ConfigProblem, Settings, SettingsError, settings_from_yaml
from gateway.telemetry.logs import make_logger
from gateway.uses import Uses


@dataclass(frozen=True)
class Cottage:
    """A house of two rooms, each of which it shares with the one before where its settings are the same."""

    settings: Settings
    parts: tuple[Part[str], Part[str]]
    uses: Uses = field(default_factory=Uses)


@dataclass
class Street:
    """Where cottages are built, and what was done there."""

    done: list[str] = field(default_factory=list)
    entered: list[Cottage] = field(default_factory=list)
    defect: Exception | None = None
    """Raised when a room is closed."""
    log: io.StringIO = field(default_factory=io.StringIO)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def houses(self) -> Houses[Cottage]:
        """Return what swaps them."""
        return Houses(stand=self.stand, enter=self.enter, follow=self.follow, log=make_logger(self.log))

    def stand(self, settings: Settings, before: Cottage | None) -> Cottage:
        """Build one, unless its deadline says that nobody could live there."""
        if settings.fetch.seconds == 1:
            raise SettingsError([ConfigProblem("fetch.seconds", None, None, "too short")], source="configuration")
        same = kept(before, settings, lambda each: each.quotes)
        cellar = self.room(f"cellar {settings.quotes.ttl_seconds:g}") if same is None else same.parts[0]
        attic = self.room(f"attic {settings.fetch.seconds:g}")
        return Cottage(settings, (cellar, attic))

    def enter(self, house: Cottage) -> None:
        """Have new requests come to it."""
        self.entered.append(house)
        self.done.append(f"entered {house.parts[1].value}")

    async def follow(self, house: Cottage, before: Cottage | None) -> None:
        """Note who comes after whom."""
        self.done.append(f"{house.parts[1].value} after {None if before is None else before.parts[1].value}")

    def room(self, name: str) -> Part[str]:
        """Return a room that says when it is closed."""

        async def close() -> None:
            self.done.append(f"closed {name}")
            self.closed.set()
            if self.defect is not None:
                raise self.defect

        return Part(name, close)

    def lines(self) -> list[dict[str, Any]]:
        """Return what was logged."""
        return [orjson.loads(line) for line in self.log.getvalue().splitlines()]

    async def until_closed(self, name: str) -> None:
        """Return as soon as that room is closed."""
        async with asyncio.timeout(20):
            while f"closed {name}" not in self.done:
                self.closed.clear()
                await self.closed.wait()


def settings(quotes: int, fetch: int) -> Settings:
    """Return settings that differ in what the cellar and what the attic is built from."""
    return settings_from_yaml(f"quotes: {{ttl_seconds: {quotes}}}\nfetch: {{seconds: {fetch}}}\n", environ={})


async def test_part_is_closed_by_the_last_that_lets_go() -> None:
    """One that two share is closed once, when both have let go."""
    closed: list[str] = []

    async def close() -> None:
        closed.append("closed")

    part = Part("anything", close)
    assert part.held() is part.held() is part
    await part.let_go()
    assert [] == closed
    await part.let_go()
    assert ["closed"] == closed


def test_what_was_before_is_kept_while_its_settings_are_the_same() -> None:
    """At the start, and where the part of the settings that it hangs on has changed, there is nothing to keep."""
    before = Street().stand(settings(60, 5), None)
    assert before is kept(before, settings(60, 6), lambda each: each.quotes)
    assert kept(before, settings(61, 5), lambda each: each.quotes) is None
    assert kept(None, settings(60, 5), lambda each: each.quotes) is None


async def test_house_is_closed_when_the_last_request_has_left_it() -> None:
    """New requests come to the next one at once, and what both share stays open."""
    street = Street()
    houses = street.houses()
    await houses.renew(settings(60, 5))
    with street.entered[0].uses:
        await houses.renew(settings(60, 6))
        await asyncio.sleep(0)
        assert ["entered attic 5", "attic 5 after None", "entered attic 6", "attic 6 after attic 5"] == street.done
    await street.until_closed("attic 5")
    await houses.close()
    assert ["closed attic 5", "closed attic 6", "closed cellar 60"] == street.done[4:]


async def test_refused_settings_leave_the_house_as_it_is() -> None:
    """Nothing is entered or closed, and the next settings follow on the house that stands."""
    street = Street()
    houses = street.houses()
    await houses.renew(settings(60, 5))
    with pytest.raises(SettingsError, match="too short"):
        await houses.renew(settings(61, 1))
    assert ["entered attic 5", "attic 5 after None"] == street.done
    await houses.renew(settings(61, 6))
    assert "attic 6 after attic 5" == street.done[-1]
    await houses.close()


async def test_closing_waits_for_nobody() -> None:
    """Whoever is still at work when all is closed has had its time: every house is closed, each of its parts once."""
    street = Street()
    houses = street.houses()
    await houses.renew(settings(60, 5))
    with street.entered[0].uses:
        await houses.renew(settings(61, 6))
        async with asyncio.timeout(20):
            await houses.close()
    assert ["closed attic 5", "closed cellar 60", "closed attic 6", "closed cellar 61"] == street.done[4:]


async def test_closing_before_the_first_house_stands_closes_nothing() -> None:
    """A gateway whose first settings are refused has nothing to close."""
    street = Street()
    houses = street.houses()
    with pytest.raises(SettingsError):
        await houses.renew(settings(60, 1))
    await houses.close()
    assert [] == street.done


async def test_house_that_cannot_be_closed_is_logged() -> None:
    """A defect in what is closed harms no other house, and the log has its trace."""
    street = Street(defect=RuntimeError("a defect"))
    houses = street.houses()
    await houses.renew(settings(60, 5))
    await houses.renew(settings(60, 6))
    await street.until_closed("attic 5")
    street.defect = None
    await houses.close()
    (line,) = street.lines()
    assert ("closing_broke", True) == (line["event"], "RuntimeError: a defect" in line["exception"])
    assert ["closed attic 5", "closed attic 6"] == street.done[4:6]
