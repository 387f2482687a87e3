"""
What Prodia sells here.

Both products have two names; either is a `model:` of the configuration, and is sent as it is written there.

Source: Prodia's guide "Segmenting Images" and https://docs.prodia.com/job-types/inference-sam3-segment-v1 (names,
limits, threshold; "10 MB" is read as the smaller 10,000,000 bytes), read 2026-11-20.

No price is published; `?price=true` reports each call's, and that settles it. What is reserved until then is the
highest figure that other people's published code names.

Neither product gives scores. SAM 3 leaves out what it is less sure of than its `confidence_threshold`, which is where
a question's `min_score` goes: "lower values return more masks, higher values only return high-confidence matches".
SAM 2 has no such setting, and returns all it finds.
"""

from __future__ import annotations

from types import MappingProxyType

from providers.contract import Capabilities, Limits, ListPrice, Model, PriceUnit, PromptKind

ENDPOINT = "https://inference.prodia.com/v2"

SAM2 = "inference.sam2.segment.v1"
SAM3 = "inference.sam3.segment.v1"

#: Prodia's own default.
DEFAULT_CONFIDENCE_THRESHOLD = 0.5

#: Masks of one answer that are read, where the deployment says nothing else; Prodia names no bound of its own.
MOST_MASKS = 256

_LIST_PRICE = ListPrice(
    usd="0.005",
    unit=PriceUnit.SUCCESS,
    valid_from="2026-11-20",
    source="not published: the highest figure in others' code; each call settles on what Prodia reports",
)

_SAM2 = Model(
    name=SAM2,
    family="sam2",
    capabilities=Capabilities(
        prompt_kinds=frozenset({PromptKind.AUTOMATIC}),
        limits=Limits(min_side=256, max_side=2048, max_bytes=10_000_000),
    ),
    list_price=_LIST_PRICE,
)

_SAM3 = Model(
    name=SAM3,
    family="sam3",
    capabilities=Capabilities(
        prompt_kinds=frozenset({PromptKind.TEXT}),
        limits=Limits(min_side=256, max_side=4096, max_bytes=10_000_000, max_prompt_characters=500),
    ),
    list_price=_LIST_PRICE,
)

MODELS = MappingProxyType(
    {
        SAM3: _SAM3,
        "inference.segment.v2": _SAM3,
        SAM2: _SAM2,
        "inference.segment.v1": _SAM2,
    }
)
