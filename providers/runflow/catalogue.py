"""
What Runflow sells and what a deployment of it may be told.

Source: https://docs.runflow.io/models/meta/sam-3/image (price, fields), https://docs.runflow.io/guides/upload-large-files
(50 MiB), https://fal.ai/models/fal-ai/sam-3/image (1 to 32 masks), read 2026-11-20.
"""

from __future__ import annotations

from types import MappingProxyType

from providers.contract import Capabilities, Limits, ListPrice, Model, PriceUnit, PromptKind
from providers.deployment_checks import OptionRule, number_between

ENDPOINT = "https://api.runflow.io"

SAM3 = "meta/sam-3/image"

MOST_MASKS = 32

MODELS = MappingProxyType(
    {
        SAM3: Model(
            name=SAM3,
            family="sam3",
            capabilities=Capabilities(
                prompt_kinds=frozenset({PromptKind.TEXT, PromptKind.OBJECT}),
                points=True,
                boxes=True,
                gives_scores=True,
                max_masks=MOST_MASKS,
                limits=Limits(max_bytes=50 * 1024 * 1024),
            ),
            list_price=ListPrice(
                usd="0.005",
                unit=PriceUnit.SUCCESS,
                valid_from="2026-04-05",
                source="https://docs.runflow.io/models/meta/sam-3/image",
            ),
        )
    }
)

DEFAULT_POLL_SECONDS = 0.5

#: Where Runflow's presigned upload addresses may lie besides the endpoint itself: its own hosts and the two stores that
#: its records and its published answers name (R2 by `r2_key`, S3 by host).
DEFAULT_ASSET_HOSTS = "*.runflow.io, *.r2.cloudflarestorage.com, *.amazonaws.com"

OPTIONS = MappingProxyType(
    {
        "picture_as": OptionRule(
            lambda value: value in {"url", "upload"},
            "'url' (send a picture's own address where it has one, the default) or 'upload' (always upload the bytes)",
        ),
        "poll_seconds": OptionRule(number_between(0.02, 60), "a number of seconds from 0.02 to 60"),
        "asset_hosts": OptionRule(
            lambda value: isinstance(value, str),
            "host names with commas between them, `*.` in front for all below: where pictures may be uploaded to",
        ),
    }
)
