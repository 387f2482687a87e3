"""
The models that the fake Runflow runs, and what a succeeded run of each costs.

Source: docs.runflow.io/models/meta/sam-3/image and www.runflow.io/models/runflow/smart-segmentation (names, prices);
read 2026-11-20. The ids by which run records name models are invented.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal

from providers.sandbox.config import RUNFLOW_MICROUSD, RUNFLOW_SMART_MICROUSD


@dataclass(frozen=True, slots=True)
class Product:
    """One model."""

    name: str
    microusd: int
    """What a succeeded run costs, in micro-dollars."""
    unit: str
    """What the price is for, in the service's words."""

    @property
    def id(self) -> str:
        """The uuid by which run records name it."""
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, self.name))


SAM3 = Product("meta/sam-3/image", RUNFLOW_MICROUSD, "image")
SMART = Product("runflow/smart-segmentation", RUNFLOW_SMART_MICROUSD, "run")

PRODUCTS = (SAM3, SMART)


def dollars(microusd: int) -> str:
    """
    Return micro-dollars as the decimal dollars of a run record.

    >>> dollars(5000), dollars(120_000), dollars(2_000_000)
    ('0.005', '0.12', '2')
    """
    return f"{(Decimal(microusd) / 1_000_000).normalize():f}"
