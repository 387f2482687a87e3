"""Word from an upstream that work has ended, for providers whose upstreams send any."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, runtime_checkable

from providers.contract.deployment import Deployment


class Notice(StrEnum):
    """What became of a callback."""

    WOKEN = "woken"
    """Somebody waits for that work, and now looks at once."""
    IDLE = "idle"
    """Nobody waits for it: it came early, late or twice, or its work is another process's."""
    FORGED = "forged"
    """Its signature is missing or wrong."""
    UNREADABLE = "unreadable"
    """It is not what the upstream documents."""


@runtime_checkable
class Notified(Protocol):
    """
    A provider whose upstream calls back; `Deployment.callback_url` is the address for it.

    A callback is never believed beyond this: that it is worth a look. What the work came to is read from the upstream
    itself, so a forged, repeated, early or late one changes nothing.
    """

    def notified(self, deployment: Deployment, *, headers: Mapping[str, str], body: bytes) -> Notice:
        """
        Take a callback that came to the address of *deployment*.

        Args:
            deployment: whose address it was.
            headers: by lower-case name.
            body: as it came, since signatures are made over its bytes.
        """
        ...
