"""Readers of what a fault is told: each returns the value, or raises ValueError with what the value has to be."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from providers.contract import Money


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that a kind of fault is told."""

    read: Callable[[Any], Any]
    """Return the value, or raise ValueError with what it has to be."""
    means: str
    required: bool = True
    default: Any = None


def choice(means: str, *words: str) -> Field:
    """Return a field that takes one of *words*, by default the first."""
    return Field(one_of(*words), f"{means}: {', '.join(words)} (default {words[0]})", required=False, default=words[0])


def measure(means: str, *, least: float, most: float, default: float) -> Field:
    """Return a field that takes a number within bounds."""
    text = f"{means}: {least:g} to {most:g} (default {default:g})"
    return Field(number(least, most), text, required=False, default=default)


def number(least: float, most: float) -> Callable[[Any], float]:
    """Read a number within bounds."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"a number from {least:g} to {most:g}")
        if not least <= value <= most:
            raise ValueError(f"a number from {least:g} to {most:g}")
        return value

    return read


def whole(least: int, most: int) -> Callable[[Any], int]:
    """Read a whole number within bounds."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    return read


def one_of(*words: str) -> Callable[[Any], str]:
    """Read one of some words."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return str(value)

    return read


def text(most: int) -> Callable[[Any], str]:
    """Read a string of at most so many characters."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or len(value) > most:
            raise ValueError(f"a string of at most {most} characters")
        return value

    return read


def flag(value: Any) -> bool:
    """Read a boolean."""
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - a value's fault to its writer
    return value


def dollars(value: Any) -> str:
    """Read a decimal number of dollars, written as a string so that it stays exact."""
    if not isinstance(value, str) or Money.from_usd(value).microusd < 0:
        raise ValueError('dollars as a string, such as "0.12"')
    return value


def retry_after(value: Any) -> float | str | None:
    """Read seconds, an HTTP date or null."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            email.utils.parsedate_to_datetime(value)
        except ValueError:
            raise ValueError("a number of seconds, an HTTP date or null") from None
        return value
    return number(0, 1e9)(value)


def body(value: Any) -> Any:
    """Read the body of an error answer."""
    if not isinstance(value, str | dict | list):
        raise ValueError("a string, or JSON that is sent as such")  # noqa: TRY004 - a value's fault to its writer
    return value


def read_fields(value: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """
    Read an object of optional fields.

    Raises:
        ValueError: naming the field and what it has to be.
    """
    if unknown := set(value) - set(fields):
        raise ValueError(f"{min(unknown)}: there is no such field; there are: {', '.join(fields)}")
    read: dict[str, Any] = {}
    for name, wanted in fields.items():
        try:
            read[name] = wanted.read(value[name]) if name in value else wanted.default
        except ValueError as error:
            raise ValueError(f"{name}: {error}; got {value[name]!r}") from None
    return read
