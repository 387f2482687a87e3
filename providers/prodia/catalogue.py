"""
What Prodia sells here.

Source: Prodia's guide "Segmenting Images" and https://docs.prodia.com/job-types/inference-sam3-segment-v1 (limits; "10
MB" is read as the smaller 10,000,000 bytes), read 2026-11-20.

No price is published; `?price=true` reports each call's, and that settles it. What is reserved until then is the
highest figure that other people's published code names.
"""

from __future__ import annotations

from types import MappingProxyType

from providers.contract import Capabilities, Limits, ListPrice, Model, PriceUnit, PromptKind

ENDPOINT = "https://inference.prodia.com/v2"

SAM3 = "inference.sam3.segment.v1"

MODELS = MappingProxyType(
    {
        SAM3: Model(
            name=SAM3,
            family="sam3",
            capabilities=Capabilities(
                prompt_kinds=frozenset({PromptKind.TEXT}),
                limits=Limits(min_side=256, max_side=4096, max_bytes=10_000_000, max_prompt_characters=500),
            ),
            list_price=ListPrice(
                usd="0.005",
                unit=PriceUnit.SUCCESS,
                valid_from="2026-11-20",
                source="not published: the highest figure in others' code; each call settles on what Prodia reports",
            ),
        )
    }
)

#: Prodia's own default.
DEFAULT_CONFIDENCE_THRESHOLD = 0.5
