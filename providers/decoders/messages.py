"""
What goes through the pipe between the gateway and a decoder process.

Jobs are pickled by us and read as they are. Replies come from a process in which a stranger's bytes may have taken over
a codec, and unpickling can call anything; so a reply may name nothing but frozen data: dataclasses, enumerations and
exceptions of modules that are loaded here already, and masks, whose runs are checked.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from enum import Enum
from typing import Any

from providers.contract.mask import mask_of_runs

#: What a decoder process says when it is ready for its first job.
READY = b"ready"

_OURS = frozenset({"gateway", "providers"})


@dataclass(frozen=True, slots=True)
class Returned:
    """What the function returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """What the function raised."""

    error: Exception


@dataclass(frozen=True, slots=True)
class NoMemory:
    """The function needed more memory than the process may have."""


@dataclass(frozen=True, slots=True)
class Broke:
    """The function has a defect: it raised what it should not, or returned what cannot be sent."""

    trace: str
    """For the log."""


Reply = Returned | Raised | NoMemory | Broke


def job_bytes(function: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """Return a job."""
    return pickle.dumps((function, args), pickle.HIGHEST_PROTOCOL)


def read_job(data: bytes) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return what a job asks for; in the decoder process, which believes the gateway."""
    function, args = pickle.loads(data)  # noqa: S301 - from the process that has started this one
    return function, args


def reply_bytes(reply: Reply) -> bytes:
    """Return a reply."""
    return pickle.dumps(reply, pickle.HIGHEST_PROTOCOL)


def read_reply(data: bytes, *, roots: frozenset[str] = _OURS) -> Reply:
    """
    Return a reply, in the gateway.

    Args:
        data: from a decoder process.
        roots: names of top-level packages beside our own whose dataclasses and exceptions it may hold.

    Raises:
        ValueError: it holds what no decoder process may send.
    """
    try:
        reply = _Reader(data, roots | _OURS).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, LookupError, MemoryError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not isinstance(reply, Returned | Raised | NoMemory | Broke):
        raise ValueError(f"a decoder process sent a {type(reply).__name__}")  # noqa: TRY004 - one kind for all
    return reply


class _Reader(pickle.Unpickler):
    """Reads data, and calls nothing but the constructors of frozen data."""

    def __init__(self, data: bytes, roots: frozenset[str]) -> None:
        super().__init__(io.BytesIO(data))
        self._roots = roots

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return a class that a reply may hold."""
        module = sys.modules.get(module_name)  # never imported for a reply's sake
        found = getattr(module, global_name, None)
        if found is mask_of_runs:
            return found
        if isinstance(found, type):
            known = module_name.partition(".")[0] in self._roots
            if known and (is_dataclass(found) or issubclass(found, Enum)):
                return found
            if issubclass(found, Exception) and (known or module_name == "builtins"):
                return found
        raise pickle.UnpicklingError(f"a reply names {module_name}.{global_name}")
