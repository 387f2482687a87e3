"""Reading JSON bodies field by field, so that an answer can name everything that is wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class InvalidInput(Exception):
    """The body breaks the documented schema."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        """Hold one `{field, message}` for each fault (item shape invented)."""
        super().__init__("; ".join(f"{error['field']}: {error['message']}" for error in errors))
        self.errors = errors


class Reader:
    """Reads the fields of one object and gathers what is wrong with them."""

    def __init__(self, value: Any, path: str) -> None:
        """Read *value*, whose fields are named under *path* in messages."""
        self.errors: list[dict[str, str]] = []
        self._path = path
        self._taken: set[str] = set()
        self._value: Mapping[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            self.wrong("", "must be an object")

    def wrong(self, name: str, message: str) -> None:
        """Note a fault."""
        self.errors.append({"field": f"{self._path}{name}".rstrip("."), "message": message})

    def take(self, name: str, read: Callable[[Any], T], default: T, *, required: bool = False) -> T:
        """Return a field's value, or *default* where it is absent, null or wrong."""
        self._taken.add(name)
        value = self._value.get(name)
        if value is None:
            if required:
                self.wrong(name, "field required")
            return default
        try:
            return read(value)
        except ValueError as error:
            self.wrong(name, str(error))
            return default

    def finish(self, *, strict: bool = True) -> list[dict[str, str]]:
        """Return all faults; where *strict*, unknown fields are among them."""
        for name in self._value if strict else ():
            if name not in self._taken:
                self.wrong(name, "unknown field")
        return self.errors


def read_text(least: int, most: int) -> Callable[[Any], str]:
    """Read a string of so many characters."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise ValueError(f"must be a string of {least} to {most} characters")
        return value

    return read


def read_whole(least: int, most: int) -> Callable[[Any], int]:
    """Read an integer within bounds."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"must be an integer from {least} to {most}")
        return value

    return read


def read_flag(value: Any) -> bool:
    """Read a boolean."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - a value's fault to its writer
    return value


def read_object(value: Any) -> Mapping[str, Any]:
    """Read an object."""
    if not isinstance(value, dict):
        raise ValueError("must be an object")  # noqa: TRY004 - a value's fault to its writer
    return value


def or_none(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """Let a reader's value be absent."""
    return read
