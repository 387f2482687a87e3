"""
How a provider's call can fail.

    ProviderError            .elsewhere (could another cure it?)   .may_have_charged
      + ProviderRefused        the request is at fault               no        no
      + ProviderDenied         our account with it is at fault       yes       no
      + ProviderOverloaded     come back later, or elsewhere         yes       no     .retry_after_seconds
      + ProviderUnreachable    the request never left                yes       no
      + ProviderUnanswered     it left, and no answer came           yes       YES
      + ProviderFailed         their error, or an unreadable answer  yes       no
      + OwnShortage            this machine's own (`shortage.py`)    yes       no

Failover and ledger ask the two attributes and never the type. An instance may say otherwise than its class: an
unreadable answer to a call that the provider bills has `may_have_charged=True`. Where the provider has said what the
call costs all the same, `usage` holds its figure, and that settles it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from providers.contract.segmentation import Usage


class Outcome(StrEnum):
    """How an attempt ended: the closed set behind JSON and metric labels."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    DENIED = "denied"
    OVERLOADED = "overloaded"
    UNREACHABLE = "unreachable"
    UNANSWERED = "unanswered"
    FAILED = "failed"
    OWN_SHORTAGE = "own_shortage"
    """This machine had no descriptor, memory, thread or room on disk for the call: the provider did nothing wrong."""


class ProviderError(Exception):
    """A provider's call that brought no segmentation."""

    outcome: ClassVar[Outcome] = Outcome.FAILED
    elsewhere: bool = True
    """Whether another deployment could cure it."""
    may_have_charged: bool = False
    """Whether the provider may bill the call although no segmentation came of it."""
    invalid_picture: bool = False
    """Whether it is the picture's file that cannot be used: the caller is told so, if nobody else can use it."""

    def __init__(
        self,
        message: str,
        *,
        elsewhere: bool | None = None,
        may_have_charged: bool | None = None,
        invalid_picture: bool = False,
        status: int | None = None,
        upstream_ref: str | None = None,
        retry_after_seconds: float | None = None,
        of_storage: bool = False,
    ) -> None:
        """
        Say what happened.

        Args:
            message: for the operator's log, and without its addresses for whoever made the call where the request was
                at fault or the provider failed; holds no secret, no signed URL, at most a few hundred characters.
            elsewhere: where this instance differs from its class.
            may_have_charged: where this instance differs from its class.
            invalid_picture: whether the picture's file is at fault.
            status: the HTTP status that the provider answered with, if it answered.
            upstream_ref: the provider's name for the call, if it had given one before it failed.
            retry_after_seconds: how long the provider asks to be left alone.
            of_storage: whether a store beside the provider has answered so, which says nothing about the provider.
        """
        super().__init__(message)
        self.message = message
        self.status = status
        self.upstream_ref = upstream_ref
        self.retry_after_seconds = retry_after_seconds
        self.invalid_picture = invalid_picture
        self.of_storage = of_storage
        self.usage: Usage | None = None
        """What the call consumed, where the provider has named its price although no segmentation came of it."""
        if elsewhere is not None:
            self.elsewhere = elsewhere
        if may_have_charged is not None:
            self.may_have_charged = may_have_charged


class ProviderRefused(ProviderError):
    """The request is at fault: no other deployment of this kind would take it either."""

    outcome = Outcome.REFUSED
    elsewhere = False


class ProviderDenied(ProviderError):
    """Our account is at fault (key, permission, credit): the owner's problem, not the caller's."""

    outcome = Outcome.DENIED


class ProviderOverloaded(ProviderError):
    """Too many requests or no capacity: come back later, or go elsewhere."""

    outcome = Outcome.OVERLOADED


class ProviderUnreachable(ProviderError):
    """The request never left: no connection, no name, no TLS."""

    outcome = Outcome.UNREACHABLE


class ProviderUnanswered(ProviderError):
    """The request left and no answer came: the work may have been done and billed."""

    outcome = Outcome.UNANSWERED
    may_have_charged = True


class ProviderFailed(ProviderError):
    """The provider's own error, or an answer that cannot be read."""

    outcome = Outcome.FAILED
