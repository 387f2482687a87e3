"""What a local model has to be: the line between the provider `local` and the models that run in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from providers.contract import Instance, Model, Question
from providers.local.scaling import Pixels


class Engine(Protocol):
    """
    One local model. It is called in decoder processes, never in the gateway's own.

    Law: it can be pickled and is small, since it is sent with every question; what has weights is a server of its own.
    """

    @property
    def name(self) -> str:
        """Its model's name in the configuration."""
        ...

    @property
    def model(self) -> Model:
        """What can be asked of it."""
        ...

    def segment(self, rgb: Pixels, question: Question) -> Sequence[Instance]:
        """
        Answer a question.

        Args:
            rgb: the question's picture, `(height, width, 3)`.
            question: within the capabilities of `model`.

        Returns:
            Instances with masks at the picture's size, all-black ones left out.
        """
        ...
