"""
What Runflow sells and what a deployment of it may be told.

SAM 3 can be called in three generations. The third is current: runs that are created and polled. The first two appear
on marketing pages alone: one call with a flat body, whose answer is the result.

Source: https://docs.runflow.io/models/meta/sam-3/image (price, fields, third generation),
https://www.runflow.io/models/meta/sam-3/image/api (first), https://www.runflow.io/api/models/meta/sam-3/image/llms.txt
(second), https://www.runflow.io/models/runflow/smart-segmentation, https://docs.runflow.io/guides/upload-large-files
(50 MiB), https://fal.ai/models/fal-ai/sam-3/image (1 to 32 masks), read 2026-11-20.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from providers.contract import Capabilities, Limits, ListPrice, Model, PriceUnit, PromptKind
from providers.deployment_checks import OptionRule, number_between

ENDPOINT = "https://api.runflow.io"

SAM3 = "meta/sam-3/image"

SMART = "runflow/smart-segmentation"

#: Path of the synchronous call of SAM 3 below `/v1`, by generation.
FLAT_PATHS = MappingProxyType({1: "run/sam-3/image", 2: "run/meta/sam-3/image"})

CURRENT_GENERATION = 3

MOST_MASKS = 32

#: Whose a run is, and whether it has a reference to be found by, hangs on these.
_ACCOUNT_OPTIONS = frozenset({"generation", "organization_id"})

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
            account_options=_ACCOUNT_OPTIONS,
        ),
        SMART: Model(
            name=SMART,
            family="smart-segmentation",
            capabilities=Capabilities(
                prompt_kinds=frozenset({PromptKind.TEXT}),  # "returns one or more mask/segmentation outputs"
                limits=Limits(max_bytes=50 * 1024 * 1024),
            ),
            list_price=ListPrice(
                usd="0.12",
                unit=PriceUnit.SUCCESS,
                valid_from="2026-11-20",
                source="https://www.runflow.io/models/runflow/smart-segmentation",
            ),
            account_options=_ACCOUNT_OPTIONS,
        ),
    }
)

DEFAULT_POLL_SECONDS = 0.5

#: Where Runflow's presigned upload addresses may lie besides the endpoint itself: its own hosts and the two stores that
#: its records and its published answers name (R2 by `r2_key`, S3 by host).
DEFAULT_ASSET_HOSTS = "*.runflow.io, *.r2.cloudflarestorage.com, *.amazonaws.com"

OPTIONS = MappingProxyType(
    {
        "generation": OptionRule(
            lambda value: type(value) is int and value in {1, 2, CURRENT_GENERATION},
            "3 (runs that are polled, the default), or 2 or 1 (one synchronous call of SAM 3)",
        ),
        "prompts_as": OptionRule(
            lambda value: value in {"json", "string"},
            "'json' (points and boxes as arrays, what generation 3 documents) or 'string' (as JSON text, what "
            "generations 1 and 2 document)",
        ),
        "polarity": OptionRule(
            lambda value: value in {"auto", "white", "black"},
            "which pixels of a Smart Segmentation mask are the object: 'white', 'black', or 'auto' (looked at, the "
            "default)",
        ),
        "organization_id": OptionRule(
            lambda value: isinstance(value, str) and re.fullmatch(r"[0-9A-Za-z-]{1,64}", value) is not None,
            "the id of the organization to be billed, where the key belongs to several",
        ),
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
