"""Models on this machine, behind the same contract as everybody else's."""

from providers.local.adapter import Local
from providers.local.classic import ClassicEngine
from providers.local.engine import Engine

__all__ = ["ClassicEngine", "Engine", "Local"]
