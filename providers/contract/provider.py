"""What every provider's code does, and what it is given to do it with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from providers.contract.deadline import Clock, Deadline
from providers.contract.decoders import Decoders
from providers.contract.deployment import Deployment, Model
from providers.contract.finding import Found
from providers.contract.segmentation import Question, Segmentation, Usage
from providers.contract.workers import Workers


class Provider(Protocol):
    """
    One provider.

    An adapter sends no request that its model's capabilities exclude, since the router filters by them; it does not
    check them again. It raises nothing but `ProviderError`, and `asyncio.CancelledError` when it is cancelled.
    """

    @property
    def name(self) -> str:
        """The provider's name in configuration, JSON and metrics."""
        ...

    @property
    def models(self) -> Mapping[str, Model]:
        """Its products, by the provider's own name for them."""
        ...

    def check(self, deployment: Deployment) -> None:
        """
        Refuse a deployment that cannot work, before any traffic.

        Raises:
            ValueError: naming the field, its value and the remedy.
        """
        ...

    async def segment(
        self, question: Question, deployment: Deployment, *, attempt_id: str, deadline: Deadline
    ) -> tuple[Segmentation, Usage]:
        """
        Make one call, and wait for its masks until *deadline*.

        Args:
            question: within the capabilities of the deployment's model.
            deployment: where to ask.
            attempt_id: our name for this attempt, at most 64 characters of `[A-Za-z0-9_]`: sent upstream wherever the
                provider has a place for it, so that a lost answer can be found again.
            deadline: when it passes the adapter raises `ProviderUnanswered` (or `ProviderUnreachable` when nothing
                left), and is not cancelled from outside.

        Returns:
            Instances with masks at the picture's size, all-black ones left out, unsorted and uncut; and the usage.

        Raises:
            ProviderError: there is no segmentation; `elsewhere` and `may_have_charged` say what follows.
        """
        ...

    async def look_up(
        self, deployment: Deployment, *, attempt_id: str, upstream_ref: str | None, deadline: Deadline
    ) -> Found:
        """
        Say what became of an attempt that ended in doubt. Costs nothing, and may be asked any number of times.

        Args:
            deployment: where the attempt was made.
            attempt_id: our name for it, as `segment` was given it.
            upstream_ref: the provider's name for it, where one came back before the answer was lost.
            deadline: when to give up.

        Raises:
            ProviderError: no word of it now; ask again later.
        """
        ...

    def defaults(self, environ: Mapping[str, str]) -> Sequence[Deployment]:
        """Return the deployments that there are without a configuration file: none where *environ* holds no key."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file brought from somebody else's address."""

    data: bytes
    media_type: str | None
    """What the server called it; not to be believed."""


Room = Callable[[int], Awaitable[None]]
"""Waits until there is room in memory for so many bytes more; raises where there is none in time."""


class Fetcher(Protocol):
    """
    Brings files from addresses that other people name: pictures of callers, masks of providers.

    It carries no credential, goes to no private address, follows a bounded number of redirects and checks each hop,
    and stops at a number of bytes and at a moment.
    """

    async def fetch(self, url: str, *, deadline: Deadline, max_bytes: int, room: Room | None = None) -> Fetched:
        """
        Return the file behind *url*.

        Args:
            url: as somebody else has given it.
            deadline: when to give up.
            max_bytes: the most that is read.
            room: awaited before bytes are read, with how many.

        Raises:
            FetchForbidden: the address is one that nobody may send us to.
            FetchTooLarge: more than *max_bytes*.
            FetchFailed: no file came: unreachable, an error status, too slow.
            OwnShortage: this machine has run out of something, or all connections are in use until *deadline*.
        """
        ...


class FetchError(Exception):
    """A file that was not brought. The message is for the caller; it holds no query string."""


class FetchForbidden(FetchError):
    """The address (or one it redirects to) is private, reserved, of another scheme or port."""


class FetchTooLarge(FetchError):
    """The file is larger than allowed."""


class FetchFailed(FetchError):
    """No file came."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        """Say what happened; *status* is the server's, if it answered."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Reply:
    """What an upstream answered, read to its end."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


class Upstream(Protocol):
    """Calls configured endpoints, never an address that somebody else named; follows no redirect."""

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        deadline: Deadline,
        max_bytes: int,
    ) -> Reply:
        """
        Send one request and read its whole answer, whatever its status.

        Raises:
            ProviderUnreachable: nothing of the request left.
            ProviderUnanswered: it left (or may have) and no whole answer came until *deadline*.
            ProviderFailed: the answer is larger than *max_bytes*, or compressed in a way that is not read;
                `may_have_charged` is set, since the upstream did answer.
            OwnShortage: this machine has run out of something, or all connections are in use until *deadline*;
                `may_have_charged` is set where it had left.
        """
        ...


class Sleep(Protocol):
    """`asyncio.sleep` in service; a hand-wound one in tests."""

    async def __call__(self, seconds: float, /) -> None:
        """Wait."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What a provider is built with: everything that touches the world outside."""

    upstream: Upstream
    fetcher: Fetcher
    workers: Workers
    decoders: Decoders
    clock: Clock
    sleep: Sleep
