"""
Reading the configuration again while the gateway runs: when its file changes, on SIGHUP, or when somebody asks for it.

A reload is all or nothing. What cannot be used is refused with its line, and what holds goes on holding. A file is read
once it has been the same for two looks, so that one that is just being written is not read in the middle.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from gateway.settings import ConfigProblem, Settings, SettingsError, locate, needs_restart
from providers.contract import Resource, shortage_of

POLL_SECONDS = 1.0
#: Problems of one file that are logged; a file with more of them is no configuration at all.
MOST_LOGGED = 20

Stamp = tuple[int, int, int]
"""What changes when a file does: its inode, its size, and when it was written, in nanoseconds since 1970."""


class Result(StrEnum):
    """What came of a reload: a closed set, for metrics."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    """It says what holds already."""
    REFUSED = "refused"
    """It cannot be used, and what was before holds."""
    DEFERRED = "deferred"
    """It can be used, but not at the moment; the watch tries again."""
    BROKEN = "broken"
    """A defect of our own; what was before holds."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A reload that has ended."""

    result: Result
    changed: tuple[str, ...] = ()
    """Which parts of the configuration are new."""
    problems: tuple[ConfigProblem, ...] = ()
    """Why it was refused or deferred."""
    shortage: Resource | None = None
    """What this machine had run out of, where it was deferred for that."""


class NotNow(Exception):
    """A configuration that could be used at another moment. The message says when."""


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Where the settings come from."""

    path: Path
    read: Callable[[], Settings]
    """Reads the file and the environment; raises `SettingsError`. Called in a thread."""


class Reloader:
    """Reads the configuration again, one time after another. Belongs to one event loop."""

    def __init__(
        self,
        source: ConfigSource,
        settings: Settings,
        *,
        swap: Callable[[Settings], Awaitable[None]],
        count: Callable[[str], None],
        log: Any,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """
        Begin with what holds.

        Args:
            source: where the settings come from.
            settings: what the gateway was built from.
            swap: has the gateway go on with other settings; raises `SettingsError` or `NotNow` where it cannot.
            count: counts a result.
            log: gets a line for each reload that changes something or was refused.
            poll_seconds: between two looks at the file.
        """
        self._source = source
        self._settings = settings
        self._swap = swap
        self._count = count
        self._log = log
        self._poll_seconds = poll_seconds
        self._turn = asyncio.Lock()
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have the watch reload at once. For signals."""
        self._asked.set()

    async def watch(self) -> None:
        """Reload when the file has changed, and when it is asked to; until cancelled."""
        seen: Stamp | None = None
        settled: list[Stamp | None] = []  # the file as it was when it was read last
        while True:
            asked = await self._next_look()
            try:
                before, seen = seen, await asyncio.to_thread(_stamp, self._source.path)
            except RuntimeError as error:  # no thread to look with
                if shortage_of(error) is None:
                    raise
                continue
            if asked or (before == seen and settled != [seen]):
                reloaded = await self.reload("signal" if asked else "change")
                settled = [] if reloaded.result is Result.DEFERRED else [seen]

    async def reload(self, why: str) -> Reloaded:
        """
        Read the configuration, and have the gateway go on with it if it can be used.

        Args:
            why: for the log: `change`, `signal` or `request`.
        """
        async with self._turn:
            reloaded = await self._reloaded()
        self._count(reloaded.result.value)
        self._tell(reloaded, why)
        return reloaded

    async def _reloaded(self) -> Reloaded:
        try:
            wanted = await asyncio.to_thread(self._read)
            changed = _changed(self._settings, wanted)
            if not changed:
                return Reloaded(Result.UNCHANGED)
            kept = needs_restart(self._settings, wanted)
            if kept:
                raise SettingsError(kept, source=str(self._source.path))  # noqa: TRY301 - refused as any other
            await self._swap(wanted)
        except SettingsError as error:
            if (shortage := shortage_of(error)) is not None:  # the file may be well
                return _put_off(shortage)
            return Reloaded(Result.REFUSED, problems=await asyncio.to_thread(self._located, error.problems))
        except NotNow as error:
            return Reloaded(Result.DEFERRED, problems=(ConfigProblem("", None, None, str(error)),))
        except Exception as error:  # noqa: BLE001 - the gateway goes on with what it has, whatever is wrong with this
            if (shortage := shortage_of(error)) is not None:
                return _put_off(shortage)
            self._log.exception("config_reload_broke", file=str(self._source.path))
            return Reloaded(Result.BROKEN)
        self._settings = wanted
        return Reloaded(Result.APPLIED, changed=changed)

    async def _next_look(self) -> bool:
        """Wait for the next look at the file; whether somebody has asked for it."""
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    def _read(self) -> Settings:
        """Read the settings; not those of an empty file, which is what a full disk leaves of one."""
        stamp = _stamp(self._source.path)
        if stamp is not None and not stamp[1]:
            problem = ConfigProblem("", None, None, "the file is empty; to go on without one, restart without it")
            raise SettingsError([problem], source=str(self._source.path))
        return self._source.read()

    def _located(self, problems: list[ConfigProblem]) -> tuple[ConfigProblem, ...]:
        try:
            text = self._source.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):  # that is among the problems already
            return tuple(problems)
        return tuple(locate(problems, text))

    def _tell(self, reloaded: Reloaded, why: str) -> None:
        file = str(self._source.path)
        if reloaded.result is Result.APPLIED:
            self._log.info("config_applied", file=file, why=why, changed=list(reloaded.changed))
        event = "config_deferred" if reloaded.result is Result.DEFERRED else "config_refused"
        for problem in reloaded.problems[:MOST_LOGGED]:
            self._log.warning(
                event,
                file=file,
                why=why,
                path=problem.path,
                line=problem.line,
                column=problem.column,
                message=problem.message,
                problems=len(reloaded.problems),
            )


def _changed(running: Settings, wanted: Settings) -> tuple[str, ...]:
    """Return the parts that differ; an environment that the providers' deployments are made from counts as those."""
    differ = [name for name in Settings.model_fields if getattr(running, name) != getattr(wanted, name)]
    return tuple(dict.fromkeys("deployments" if name == "environ" else name for name in differ))


def _put_off(shortage: Resource) -> Reloaded:
    """Say why a file was not read that may be well."""
    message = f"this machine has no {shortage.value} left to read it with; the next look tries again"
    return Reloaded(Result.DEFERRED, problems=(ConfigProblem("", None, None, message),), shortage=shortage)


def _stamp(path: Path) -> Stamp | None:
    """Return what changes when the file does; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - follows the links that orchestrators swap
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
