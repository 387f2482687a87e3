"""What comes back: instances, and what they took to make."""

from __future__ import annotations

from dataclasses import dataclass

from providers.contract.mask import Mask
from providers.contract.money import Money
from providers.contract.picture import Picture
from providers.contract.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt about one picture: the unit of cache, routing, attempt and charge."""

    picture: Picture
    prompt: Prompt
    max_masks: int
    """The most instances to return, best first. The gateway cuts; a provider that can ask for fewer, should."""
    min_score: float | None = None
    """Leave out instances scored below this, in [0, 1]. Where a provider gives no score nothing is left out."""
    tenant: str = ""
    """Who asks: whose turn it is where decoders are scarce. No provider is told."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One found object. Its box and its area always come from the mask."""

    mask: Mask
    """At the size of the upright picture, `(height, width)`."""
    score: float | None
    """The provider's own confidence in [0, 1]; None where it gives none."""
    label: str | None = None
    """What it was found as: the text of a text prompt; None where there is no word for it."""


@dataclass(frozen=True, slots=True)
class Segmentation:
    """All instances of one answer. Empty is a success: nothing was found."""

    instances: tuple[Instance, ...]
    warnings: tuple[str, ...] = ()
    """What was done to the provider's masks to bring them into our form, one sentence each."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a provider's successful answer consumed; the gateway prices it."""

    seconds: float = 0.0
    """Seconds of work, for deployments priced by the second."""
    reported: Money | None = None
    """The provider's own figure for this call, when it gives one; it settles the attempt."""
    upstream_ref: str | None = None
    """The provider's name for the call (run id, job id): how to find it in its statement."""
